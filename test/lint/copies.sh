#!/usr/bin/env bash
# No struct that holds key or token bytes is copied by an assignment, of which the compiler
# may keep a part in a register and spill that to the stack: pge_secret_copy does it.
#
# A member that is const is given to each such struct, in copies of their headers;
# then the compiler itself names every assignment, of what they stand in, too.
# Closing line: N passed, N failed.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
holders=(PgeSecret:base/secret.h HttpCredential:agent/kms/http_credential.h AwsIssued:agent/kms/kms_aws_issued.h)
work=$(mktemp -d "${TMPDIR:-/tmp}/pge_copies.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

verdict() {
	if [ "$1" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'not ok - %s\n' "$2"
	fi
}

# The tree's own headers stand behind the copies.
cp -R "$top/src" "$work/src"
for holder in "${holders[@]}"; do
	file=$work/src/${holder#*:} name=${holder%%:*}
	sed -i "s/^} $name;/	const char no_copy;\n} $name;/" "$file"
	grep -q no_copy "$file" || { echo "not ok - $name is not in ${holder#*:}"; failed=$((failed + 1)); }
done
server=$("${PG_CONFIG:-pg_config}" --includedir-server)
compile() {
	"${CC:-gcc}" -fsyntax-only -std=gnu11 -w -D_GNU_SOURCE -DPGE_TEST_BUILD -I"$work/src" \
		-I"$server" "$@" 2>&1
}

# Planted: an assignment of each, and of what one stands in.
for holder in "${holders[@]}"; do
	name=${holder%%:*}
	printf '#include "%s"\ntypedef struct Outer { int n; %s held; } Outer;\nvoid f(Outer *a, const Outer *b);\nvoid f(Outer *a, const Outer *b) { *a = *b; }\n' \
		"${holder#*:}" "$name" >"$work/planted.c"
	status=0
	compile "$work/planted.c" >"$work/said" || status=$?
	verdict $((status == 0)) "an assignment of $name is noticed"
	printf '#include "base/secret.h"\n#include "%s"\nvoid f(%s *a);\nvoid f(%s *a) { pge_secret_copy(a, a + 1, sizeof(*a)); }\n' \
		"${holder#*:}" "$name" "$name" >"$work/planted.c"
	status=0
	compile "$work/planted.c" >"$work/said" || status=$?
	verdict "$status" "its copy by pge_secret_copy is not"
done

while read -r file; do
	status=0
	said=$(compile "$file") || status=$?
	verdict "$status" "${file#"$work/"} copies no key by an assignment"
	[ "$status" = 0 ] || grep -E 'error' <<<"$said" | sed "s~$work/~  ~"
done < <(grep -rlE 'secret|credential|aws_issued|keyring|kms\.h|requests\.h|agent\.h|dek' --include='*.c' "$work/src")
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
