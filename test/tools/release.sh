# What differs between Debian's releases: $server, the major version of the server
# it brings, CLANG, the compiler of the sanitizers, and $indent, the package of
# pg_bsd_indent.  Sourced by bash scripts.
#
# SPDX-License-Identifier: PostgreSQL

# shellcheck disable=SC1091,SC2034 # there on Debian; used where it is sourced
case $(VERSION_CODENAME= && . /etc/os-release 2>/dev/null && echo "$VERSION_CODENAME") in
trixie) server=17 clang=19 indent=postgresql-server-dev-17 ;;
forky | sid) server=18 clang=21 indent=postgresql-server-dev-18 ;;
*) server=15 clang=14 indent=pg-bsd-indent ;;
esac
export CLANG=${CLANG:-clang-$clang}
