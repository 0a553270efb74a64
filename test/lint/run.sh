#!/usr/bin/env bash
# "make lint": each part tries itself on planted faults, then judges the tree.
# Closing line: N passed, N failed, over all parts.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
passed=0 failed=0 skipped=0

# part NAME COMMAND …: its lines, its sums; status 77 is a skip that said why.
part() {
	local name=$1 said status=0 p=0 f=0
	shift
	said=$("$@" 2>&1) || status=$?
	if [ "$status" = 77 ]; then
		echo "$said"
		skipped=$((skipped + 1))
		return
	fi
	grep -vE '^[0-9]+ passed, [0-9]+ failed' <<<"$said" || true
	read -r p _ f _ < <(grep -E '^[0-9]+ passed, [0-9]+ failed' <<<"$said" | tail -n 1 | tr -d ,) || true
	[ "$status" = 0 ] || [ "$f" != 0 ] || f=1
	echo "$name: $p passed, $f failed"
	passed=$((passed + p)) failed=$((failed + f))
}

rules() {
	if ! command -v python3 >/dev/null; then
		echo "SKIP: lint needs python3"
		[ "${PGE_REQUIRE_ALL:-0}" = 1 ] && exit 1
		exit 77
	fi
	PYTHONDONTWRITEBYTECODE=1 python3 "$here/lint.py" "$@"
}

# A file that nobody laid out has to be noticed, and left alone, and one that
# was laid out has to pass.
format() {
	local file status=0 p=0 f=0
	file=$(mktemp "${TMPDIR:-/tmp}/pge_format.XXXXXX.c")
	printf 'int planted( int  n )\n{\n    return n ;}\n' >"$file"
	cp "$file" "$file.was"
	"$here/format.pl" --check "$file" >/dev/null || status=$?
	if [ "$status" = 1 ] && cmp -s "$file" "$file.was"; then p=$((p + 1)); else f=$((f + 1)); echo "format: planted fault not reported"; fi
	status=0
	{ "$here/format.pl" "$file" && "$here/format.pl" --check "$file"; } >/dev/null || status=$?
	rm -f "$file" "$file.was"
	[ "$status" != 77 ] || { "$here/format.pl" --check; exit; }
	if [ "$status" = 0 ]; then p=$((p + 1)); else f=$((f + 1)); echo "format: what it laid out does not pass"; fi
	if "$here/format.pl" --check; then p=$((p + 1)); else f=$((f + 1)); fi
	echo "$p passed, $f failed"
	[ "$f" = 0 ]
}

part rules rules "$@"
part tidy "$here/tidy.sh"
part format format
part copies "$here/copies.sh"
[ "$skipped" = 0 ] || [ "$((passed + failed))" != 0 ] || exit 77
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
