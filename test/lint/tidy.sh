#!/usr/bin/env bash
# clang-tidy over src, with the checks of .clang-tidy: first over a file with
# planted faults, each of which must be reported.
# usage: tidy.sh [FILE.c ...]
#
# PGE_TIDY=short (make check): the analyzer gives up a function after the 75,000
# states that are its budget for a quick look, instead of 225,000; that is half the
# time.  "make check-hardened" has a run with all of them.
#
# Closing line: N passed, N failed; a file is a test, and so is each fault.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
cd "$(dirname "$0")/../.."
tidy=clang-tidy-14
pg_config=${PG_CONFIG:-pg_config}

skip() {
	echo "SKIP: $1"
	[ "${PGE_REQUIRE_ALL:-0}" = 1 ] && exit 1
	exit 77
}
command -v $tidy >/dev/null || skip "tidy needs $tidy, whose checks .clang-tidy chooses among"
"$pg_config" --includedir-server >/dev/null 2>&1 || skip "tidy needs the server's headers"

scratch=$(mktemp -d "${TMPDIR:-/tmp}/pge_tidy.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/src" "$scratch/out"
cp .clang-tidy "$scratch"
includes=(-Isrc -isystem "$("$pg_config" --includedir-server)" -isystem "$("$pg_config" --includedir)")
export tidy scratch
flags="-std=gnu11 -D_GNU_SOURCE -DPGE_TIDY ${includes[*]}"
[ "${PGE_TIDY:-}" != short ] || flags+=" -Xclang -analyzer-config -Xclang max-nodes=75000"
export flags

# One file: what clang-tidy says of it is in out/, by its name.
judge() {
	local out=$scratch/out/${1//\//_}
	# shellcheck disable=SC2086 # a list of words
	if $tidy --quiet "$1" -- $flags >"$out" 2>"$out.err"; then
		rm -f "$out" "$out.err"
	fi
}
export -f judge

cat >"$scratch/src/planted.c" <<'PLANTED'
#include <stdlib.h>
#include <string.h>
int planted(char *text, int n);
int planted(char *text, int n)
{
	char *copy = malloc(8);
	free(copy);
	if (n == n)
		memset(text, sizeof(text), 0);
	switch (n) { case 1: n = 2; break; case 2: n = 2; break; default: break; }
	if (strcmp(text, "x"))
		n = strlen(text);
	return copy[0] + n;
}
PLANTED
judge "$scratch/src/planted.c"
passed=0 failed=0
for fault in clang-analyzer-unix.Malloc misc-redundant-expression bugprone-suspicious-memset-usage \
	bugprone-branch-clone bugprone-narrowing-conversions; do
	if grep -q "\[$fault" "$scratch/out/"*planted.c 2>/dev/null; then
		passed=$((passed + 1))
	else
		echo "the planted $fault was not reported"
		failed=$((failed + 1))
	fi
done
rm -rf "$scratch/out"
mkdir "$scratch/out"

[ $# -gt 0 ] || set -- src/*.c src/*/*.c src/agent/kms/*.c
printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" bash -c 'judge "$0"'
for file in "$@"; do
	out=$scratch/out/${file//\//_}
	if [ -e "$out" ]; then
		failed=$((failed + 1))
		grep -E 'warning:|error:' "$out" || cat "$out.err"
	else
		passed=$((passed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
