#!/usr/bin/env bash
# Installs what is missing of the named sets of Debian packages, saying so; does
# nothing (and needs neither root nor a network) when nothing is missing.
# usage: packages.sh build|bench|openbao|functional|test|hardened|folders …
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail

# shellcheck source=test/tools/release.sh
. "$(dirname "$0")/release.sh"
build='gcc libc6-dev libcurl4-openssl-dev libjansson-dev libssl-dev make'
functional='gdb libipc-run-perl openssl perl pgbouncer python3 python3-venv systemd'
test="$functional $CLANG $indent $tidy libclang-rt-${CLANG#clang-}-dev spin valgrind"
hardened='dpkg-dev valgrind zlib1g-dev'
# The server of a pg_config that is named by its path is there already.
case ${PG_CONFIG:-} in
*/*) ;;
*) build+=" postgresql-$server postgresql-server-dev-$server" ;;
esac

wanted=
for set in "$@"; do
	case $set in
	build) wanted+=" $build" ;;
	bench) wanted+=" $build python3" ;;
	openbao) wanted+=" perl python3 python3-venv" ;;
	functional) wanted+=" $build $functional" ;;
	test) wanted+=" $build $test" ;;
	hardened) wanted+=" $hardened" ;;
	folders) wanted+=' debootstrap' ;;
	*) echo "packages.sh: no set \"$set\"" >&2; exit 2 ;;
	esac
done

if ! command -v dpkg-query >/dev/null; then
	echo "This is not Debian: the packages wanted are called there$wanted. Going on with what is here."
	exit 0
fi

missing=
for package in $wanted; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing+=" $package"
done
[ -n "$missing" ] || exit 0

root=()
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "These Debian packages are missing, and there is no sudo to install them:$missing" >&2
		exit 1
	fi
	root=(sudo)
fi

echo "Installing the Debian packages that are missing:$missing"
conf=/etc/postgresql-common/createcluster.d/pg_envelope.conf
if [ ! -e /usr/bin/pg_createcluster ] && [ ! -e $conf ]; then
	echo "  ($conf says beforehand that no cluster is made: nothing is left listening)"
	"${root[@]}" mkdir -p "$(dirname $conf)"
	echo 'create_main_cluster = false' | "${root[@]}" tee $conf >/dev/null
fi
unit=/etc/systemd/system/pgbouncer.service
if [[ " $missing " = *" pgbouncer "* ]] && [ ! -e $unit ] && [ ! -L $unit ]; then
	echo "  ($unit is masked beforehand: nothing is left listening)"
	"${root[@]}" mkdir -p "$(dirname $unit)"
	"${root[@]}" ln -s /dev/null $unit
fi
log=$(mktemp "${TMPDIR:-/tmp}/pg_envelope_apt.XXXXXX")
apt() {
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 "$@" >"$log" 2>&1 </dev/null || {
		tail -n 30 "$log" >&2
		echo "apt-get $1 failed; all of its output is in $log" >&2
		return 1
	}
}
# shellcheck disable=SC2086 # a list of words
fetch() { apt update && apt install -y --no-install-recommends $missing; }
# A mirror may change between the two: once more then.
fetch || fetch || exit 1
rm -f "$log"
