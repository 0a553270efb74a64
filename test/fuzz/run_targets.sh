#!/bin/sh
# Runs each fuzz target for FUZZ_SECONDS on its committed seeds; a line per
# target and the total.  What is new goes below the build directory.
#
# SPDX-License-Identifier: PostgreSQL
set -u
build=$1
shift
passed=0
failed=0
for name in "$@"; do
	log=$build/$name.log
	mkdir -p "$build/corpus/$name"
	seeds=$(find "corpus/$name" -type f 2>/dev/null | wc -l)
	if [ "$seeds" -eq 0 ]; then
		echo "$name: no seeds in corpus/$name"
		failed=$((failed + 1))
		continue
	fi
	if "$build/$name" -max_total_time="${FUZZ_SECONDS:-10}" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
		-artifact_prefix="$build/$name-" "$build/corpus/$name" "corpus/$name" >"$log" 2>&1; then
		runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
		printf '%-28s ok, %s seeds, %s runs\n' "$name" "$seeds" "$runs"
		passed=$((passed + 1))
	else
		printf '%-28s FAILED, all of it: %s\n' "$name" "$log"
		tail -n 40 "$log"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
