#!/usr/bin/env bash
# One TAP test in a form that takes too long for make check; how it ended is written to
# test/LONG_RUNS.md.
# usage: long_tap.sh RUN NAME; RUN is the row's name, test/t/NAME.pl the test
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL MAKEFILES
# shellcheck source=test/tools/long_runs.sh
. test/tools/long_runs.sh

run=$1 name=$2 status=0
log=$(mktemp "${TMPDIR:-/tmp}/pg_envelope_$run.XXXXXX")
commit=$(pge_tested_commit)
rm -f build/check/logs/tap.log
PGE_SUITES="build tap" PGE_TAP="test/t/$name.pl" test/run.sh 2>&1 | tee "$log" || status=$?
line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1 || true)
# How much was claimed, which the line counts as one test, and what the test says it did.
said=$(sed -nE 's/^Files=1, Tests=([0-9]+),.*/, \1 claims/p; s/^# ([0-9]+ operations) in .*/, \1/p' build/check/logs/tap.log 2>/dev/null | tr -d '\n' || true)
rm -f "$log"
pge_record "$run" "$commit" "${line:-did not finish}$said, $(((SECONDS + 59) / 60)) min"
exit $status
