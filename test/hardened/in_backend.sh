#!/bin/sh
# Has a planted fault in a backend, sees that it is reported, and only then
# becomes the command.
# usage: in_backend.sh FAULT PATTERN COMMAND …, with PGHOST and PGUSER set and the
# reports in $PGE_REPORTS, logs or directories of them
#
# SPDX-License-Identifier: PostgreSQL
set -eu
fault=$1 pattern=$2
shift 2
sql() { psql -Xqd postgres -v ON_ERROR_STOP=1 -c "$1"; }

sql "CREATE FUNCTION planted_fault(text) RETURNS void LANGUAGE c AS '\$libdir/pg_envelope', 'envelope_planted_fault'"
# It may take the backend with it, and so all the others: the server has seen that
# when it has ended this one.
sql 'SELECT pg_sleep(300)' >/dev/null 2>&1 &
another=$!
until [ "$(psql -XAtqd postgres -c "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(300)' AND state = 'active'")" = 1 ]; do
	kill -0 "$another" || { echo "not ok - no other session"; exit 1; }
	sleep 0.1
done
status=0
sql "SELECT planted_fault('$fault')" || status=$?
[ "$status" = 2 ] || sql "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(300)'" >/dev/null
! wait "$another" || { echo "not ok - the server has not seen that a backend is gone"; exit 1; }
tries=0
until sql 'DROP FUNCTION planted_fault(text)' 2>/dev/null; do
	tries=$((tries + 1))
	[ "$tries" -le 600 ] || { echo "not ok - the server has not come back"; exit 1; }
	sleep 0.1
done
# shellcheck disable=SC2086 # words
found=$(grep -rlaE "$pattern" $PGE_REPORTS || true)
if [ -z "$found" ]; then
	echo "not ok - the planted fault \"$fault\" was not reported, so nothing would be"
	exit 1
fi
echo "ok - the planted fault \"$fault\" was reported: $pattern"
# Emptied and not removed: a server may be writing there.
for file in $found; do
	: >"$file"
done
exec "$@"
