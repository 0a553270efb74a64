#!/usr/bin/env bash
# "make mutants": breaks the product on purpose, and wants each break noticed.
#
# All of it happens in a private directory, on a copy of the tree and of the
# server, as an unprivileged user, like "make check".  ONLY="NAME …" runs some;
# then test/LONG_RUNS.md is left alone.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL MAKEFILES
test/tools/packages.sh test
# shellcheck source=test/tools/long_runs.sh
. test/tools/long_runs.sh

as_user=()
[ "$(id -u)" != 0 ] || as_user=(setpriv --reuid=postgres --regid="$(id -g postgres)" --init-groups)
# The user must get there, and a socket's path has room for 107 bytes.
work=$(mktemp -d /tmp/pg_envelope_mutants.XXXXXX)
others=$(mktemp -d /tmp/pg_envelope_other.XXXXXX)
running=
tidy() {
	trap '' INT TERM HUP
	if [ -n "$running" ]; then
		kill -TERM "$running" 2>/dev/null || true
		wait "$running" || true
	fi
	test/tools/take_logs.sh "$work/logs" build/mutants postgres 2>/dev/null || true
	rm -rf "$work" "$others"
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

test/tools/copy_tree.sh "$work"
other=$(test/tools/other_user.sh "$others" postgres)
mapfile -t other <<<"$other"

pg_config=${PG_CONFIG:-pg_config}
set -m
(cd "$work/src" && exec env -u PGHOST -u PGPORT -u PGDATA -u PGUSER -u PGDATABASE -u PGPASSFILE -u PGSERVICE -u LANGUAGE \
	HOME="$work/home" TMPDIR="$work/tmp" LC_ALL=C.UTF-8 PGE_WORK="$work" PG_CONFIG="$pg_config" PYTHONDONTWRITEBYTECODE=1 ${other[0]:+"${other[@]}"} \
	PG_TEST_TIMEOUT_DEFAULT="${PG_TEST_TIMEOUT_DEFAULT:-60}" \
	"${as_user[@]}" test/tools/reaper.py "$work/left" python3 test/mutants/run.py) </dev/null &
running=$!
set +m
status=0
wait "$running" || status=$?
running=

if [ -z "${ONLY:-}" ]; then
	pge_record mutants "$(pge_tested_commit)" "$(cat "$work/closing" 2>/dev/null || echo 'did not finish'), $(((SECONDS + 59) / 60)) min"
fi
exit "$status"
