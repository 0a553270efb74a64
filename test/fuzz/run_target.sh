#!/bin/sh
# Runs one fuzz target for FUZZ_SECONDS; says how many inputs it tried and how many
# edges of the code they reached.
# usage: run_target.sh BUILD TARGET SEEDS
#
# SPDX-License-Identifier: PostgreSQL
set -u
build=$1 name=$2 seeds=$3
log=$build/$name.log
mkdir -p "$build/corpus/$name"
rm -f "$build/$name"-crash-* "$build/$name.status"
count=$(find "$seeds" -type f 2>/dev/null | wc -l)
if [ "$count" -eq 0 ]; then
	echo "$name: no seeds in $seeds"
	exit 1
fi
if "$build/$name" -max_total_time="$FUZZ_SECONDS" -timeout=120 -rss_limit_mb=1024 -print_final_stats=1 \
	-artifact_prefix="$build/$name-" "$build/corpus/$name" "$seeds" >"$log" 2>&1; then
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
	printf '%-28s ok, %s seeds, %s runs, %s edges\n' "$name" "$count" "$runs" "$edges"
	[ "${runs:-0}" -gt "$count" ] && [ "${edges:-0}" -gt 0 ] && exit 0
	echo "$name: it ran nothing but its seeds, or saw no code"
	exit 1
fi
printf '%-28s FAILED, all of it: %s\n' "$name" "$log"
grep -m 1 -A 15 'ERROR: ' "$log"
tail -n 12 "$log"
exit 1
