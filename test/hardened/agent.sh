#!/usr/bin/env bash
# The agent as a program under clang's address, undefined-behaviour and leak
# sanitizers: the suites of the agent and of the keyring once more, on such a build.
# usage: agent.sh BUILD_DIR, where a copy of the tree is built
#
# What a sanitizer reports fails the run, whatever the suites make of it, and
# the planted faults (planted_agent.c) must be reported first.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
# shellcheck source=test/tools/release.sh
. "$top/test/tools/release.sh"
build=$1
passed=0 failed=0

if ! command -v "$CLANG" >/dev/null; then
	[ "${PGE_REQUIRE_ALL:-0}" = 1 ] && { echo "0 passed, 1 failed"; exit 1; }
	echo "SKIP: no $CLANG"
	exit 77
fi

export PGE_REPORTS=$build/reports
mkdir -p "$PGE_REPORTS"
tar -C "$top" --exclude='*.o' -cf - Makefile src test/hardened | tar -C "$build" -xf -
make -s -C "$build" -j2 CC="$CLANG" pg_envelope_agent \
	TEST_CPPFLAGS="-DPGE_TEST_BUILD -U_FORTIFY_SOURCE -DPGE_SANITIZER_LOG='\"$PGE_REPORTS/agent\"'" \
	TEST_CFLAGS='-O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all' \
	TEST_AGENT_OBJS='test/hardened/planted_fault.o test/hardened/planted_agent.o' \
	TEST_AGENT_LDFLAGS='-Wl,--wrap=_exit'
export PGE_AGENT=$build/pg_envelope_agent PGE_TEST_AGENT=$build/pg_envelope_agent

# part COMMAND …: adds what it says to have counted, and one if it does not end well.
part() {
	local status=0 line p=0 f=0 _
	"$@" >"$build/part.log" 2>&1 || status=$?
	cat "$build/part.log"
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$build/part.log" | tail -n 1 || true)
	[ -z "$line" ] || read -r p _ f _ <<<"${line//,/ }"
	[ "$status" = 0 ] || [ "$f" != 0 ] || f=1
	passed=$((passed + p)) failed=$((failed + f))
}

part "$here/in_agent.sh" "$PGE_AGENT"
part "$top/test/agent/run.sh"
part "$top/test/keyring/run"
part "$here/reports.sh"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
