#!/bin/sh
# Runs each test program; prints a line per program and the total.
# A program that does not reach its closing line counts as one failure; exit
# code 77, where a needed tool is missing, as one only with PGE_REQUIRE_ALL=1.
#
# SPDX-License-Identifier: PostgreSQL
set -u
build=$1
shift
passed=0
failed=0
for name in "$@"; do
	log=$build/$name.log
	start=$(date +%s)
	"$build/$name" >"$log" 2>&1
	code=$?
	end=$(date +%s)
	if [ "$code" -eq 77 ] && [ "${PGE_REQUIRE_ALL:-0}" != 1 ]; then
		grep '^SKIP: ' "$log" || echo "SKIP: $name"
		continue
	fi
	line=$(tail -n 1 "$log")
	p=$(printf '%s\n' "$line" | sed -n 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p')
	f=$(printf '%s\n' "$line" | sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p')
	if [ -z "$p" ]; then
		p=$(grep -c '^ok ' "$log")
		f=1
	fi
	# An exit code that the counts do not explain: a sanitizer, a leak.
	if [ "$code" -ne 0 ] && [ "$f" -eq 0 ]; then
		f=1
	fi
	printf '%-28s %5d passed %3d failed %4d s\n' "$name" "$p" "$f" $((end - start))
	if [ "$f" -ne 0 ]; then
		grep -A2 '^not ok' "$log" | head -n 40
		[ "$code" -gt 1 ] && tail -n 40 "$log"
		echo "	exit code $code; all of it: $log"
	fi
	passed=$((passed + p))
	failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
