#!/bin/sh
# Runs each fuzz target for FUZZ_SECONDS on its committed seeds, FUZZ_JOBS (2) at a
# time; a line per target and the total.  What is new goes below the build
# directory.
# usage: run_targets.sh BUILD TARGET …
#
# SPDX-License-Identifier: PostgreSQL
set -u
build=$1
shift
export FUZZ_SECONDS="${FUZZ_SECONDS:-10}"

# The control first: a crash that is there must be found, and reported by the
# very script that runs the targets.  (It ends with that; what runs beside us may leave us little.)
mkdir -p "$build/control"
printf 'seed' >"$build/control/seed"
if FUZZ_SECONDS=300 sh ./run_target.sh "$build" planted_crash "$build/control" >"$build/control.log" 2>&1 ||
	! grep -q 'AddressSanitizer: heap-buffer-overflow' "$build/control.log"; then
	echo "planted_crash                was NOT found: no run here can be trusted"
	cat "$build/control.log"
	echo "0 passed, 1 failed"
	exit 1
fi
echo "planted_crash                found, as it must be"

printf '%s\n' "$@" | xargs -P "${FUZZ_JOBS:-2}" -I{} \
	sh -c 'sh ./run_target.sh "$1" "$2" "corpus/$2" >"$1/$2.said" 2>&1; echo $? >"$1/$2.status"; cat "$1/$2.said"' - "$build" {}
passed=0
failed=0
for name in "$@"; do
	if [ "$(cat "$build/$name.status")" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
