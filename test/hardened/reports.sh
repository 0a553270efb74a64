#!/bin/sh
# Shows what sanitizers or valgrind have reported in $PGE_REPORTS, logs or
# directories of them, and in the logs that are named; fails if there is anything.
# usage: reports.sh [LOG …]
#
# SPDX-License-Identifier: PostgreSQL
set -u
pattern='AddressSanitizer|LeakSanitizer|runtime error:|VALGRINDERROR-BEGIN|TRAP: '
# shellcheck disable=SC2086 # words
found=$(grep -rlaE "$pattern" $PGE_REPORTS "$@")
if [ -z "$found" ]; then
	echo "1 passed, 0 failed"
	exit 0
fi
echo "not ok - reported:"
for file in $found; do
	echo "---- $file"
	grep -aE -A 25 "$pattern" "$file" | head -n 120
done
echo "0 passed, $(echo "$found" | wc -l) failed"
exit 1
