#!/usr/bin/env bash
# "make check-crash": test/t/633_crash_points.pl with each point, each operation that
# comes by, and everything that can happen there.  How it ended is written to
# test/LONG_RUNS.md.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL MAKEFILES
# shellcheck source=test/tools/long_runs.sh
. test/tools/long_runs.sh

log=$(mktemp "${TMPDIR:-/tmp}/pg_envelope_crash.XXXXXX")
commit=$(pge_tested_commit) status=0
PGE_CRASH=all PGE_SUITES="build tap" PGE_TAP=test/t/633_crash_points.pl test/run.sh 2>&1 | tee "$log" || status=$?
line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1 || true)
rm -f "$log"
pge_record crash "$commit" "${line:-did not finish}, $(((SECONDS + 59) / 60)) min"
exit $status
