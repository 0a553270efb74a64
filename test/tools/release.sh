# What differs between Debian's releases: $server, the major version of the server
# it brings, CLANG, the compiler of the sanitizers, and $indent, the package of
# pg_bsd_indent, and $tidy, that of clang-tidy 14, where there is one.  Sourced by
# bash scripts.
#
# SPDX-License-Identifier: PostgreSQL

# shellcheck disable=SC1091,SC2034 # there on Debian; used where it is sourced
case $(VERSION_CODENAME= && . /etc/os-release 2>/dev/null && echo "$VERSION_CODENAME") in
trixie) server=17 clang=19 indent=postgresql-server-dev-17 tidy= ;;
forky | sid) server=18 clang=21 indent=postgresql-server-dev-18 tidy= ;;
*) server=15 clang=14 indent=pg-bsd-indent tidy=clang-tidy-14 ;;
esac
export CLANG=${CLANG:-clang-$clang}
