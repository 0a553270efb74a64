#!/usr/bin/env bash
# "make check": prepares a place for the suites (test/suites.sh) and tidies up
# after them.
#
# Everything happens in a private directory, on a copy of the tree and of the
# server, as an unprivileged user: the checkout may be unreadable for that user,
# and no system directory, running server or home directory is touched (but for
# the Debian packages that are missing, and build/check, where the logs go).
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL MAKEFILES
started=$SECONDS

# shellcheck disable=SC2086 # words
test/tools/packages.sh ${PGE_PACKAGES:-test}
tree=$(test/tools/tree_id.sh)

if [ "$(id -u)" = 0 ]; then
	user=postgres
	as_user=(setpriv --reuid=postgres --regid="$(id -g postgres)" --init-groups)
else
	user=$(id -un)
	as_user=()
fi

# The user must get there, and a socket's path has room for 107 bytes.
place=${TMPDIR:-/tmp}
if [ ${#place} -gt 40 ] || ! "${as_user[@]}" test -x "$place"; then
	place=/tmp
fi
work=$(mktemp -d "$place/pg_envelope_check.XXXXXX")
others=$(mktemp -d "$place/pg_envelope_other.XXXXXX")
suites=

tidy() {
	trap '' INT TERM HUP
	if [ -n "$suites" ]; then
		# The reaper ends all that came of it, then itself.
		kill -TERM "$suites" 2>/dev/null || true
		wait "$suites" || true
	fi
	if [ -d "$work/logs" ] && mkdir -p build/check 2>/dev/null; then
		test/tools/take_logs.sh "$work/logs" build/check/logs "$user" 2>/dev/null || true
	fi
	rm -rf build/check/results
	# For test/versions/run.sh: what each suite counted, of which tree.
	if [ -s "$work/totals" ] && [ -z "${PGE_SUITES:-}${PG_CONFIG:-}" ]; then
		cp -R "$work/results" build/check/results 2>/dev/null || true
		echo "$tree" >build/check/results/.tree || true
	fi
	rm -rf "$work" "$others"
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# What root does in there is done before copy_tree.sh gives it away.
# OpenBao is fetched once, to where it stays for who runs this; its user may not look there.
if bao=$(test/tools/openbao.sh); then
	cp "$bao" "$work/openbao"
	chmod 755 "$work/openbao"
fi
if moto=$(test/tools/moto.sh); then
	cp -R "$(dirname "$moto")" "$work/moto"
fi
other=$(test/tools/other_user.sh "$others" "$user")
mapfile -t other <<<"$other"
test/tools/copy_tree.sh "$work"
echo "Testing a copy of the tree in $work as $user; logs end in build/check/logs."

# A job of its own (set -m), so that Ctrl-C comes to us alone.
set -m
(cd "$work/src" && exec env -u PGHOST -u PGPORT -u PGDATA -u PGUSER -u PGDATABASE -u PGPASSFILE -u PGSERVICE \
	HOME="$work/home" TMPDIR="$work/tmp" PGE_WORK="$work" PGE_OPENBAO="$work/openbao" PGE_MOTO="$work/moto/python" ${other[0]:+"${other[@]}"} \
	"${as_user[@]}" test/tools/reaper.py "$work/left" test/suites.sh) </dev/null &
suites=$!
set +m
status=0
wait "$suites" || status=$?
suites=

passed=0 failed=0
if [ -s "$work/totals" ]; then
	read -r passed failed <"$work/totals"
else
	failed=1
fi
left=$(cat "$work/left" 2>/dev/null || echo 1)
if [ "$left" != 0 ]; then
	failed=$((failed + 1))
fi
echo "$((SECONDS - started)) s"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$status" = 0 ]
