# What differs between Debian's releases: $server, the major version of the server
# it brings, and CLANG, the compiler of the sanitizers.  Sourced by bash scripts.
#
# SPDX-License-Identifier: PostgreSQL

# shellcheck disable=SC1091,SC2034 # there on Debian; used where it is sourced
case $(VERSION_CODENAME= && . /etc/os-release 2>/dev/null && echo "$VERSION_CODENAME") in
trixie) server=17 clang=19 ;;
forky | sid) server=18 clang=21 ;;
*) server=15 clang=14 ;;
esac
export CLANG=${CLANG:-clang-$clang}
