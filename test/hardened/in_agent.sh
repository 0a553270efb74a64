#!/bin/sh
# Has the planted faults in an agent whose reports go to $PGE_REPORTS (a
# directory): each must end it and be reported.
# usage: in_agent.sh AGENT
#
# SPDX-License-Identifier: PostgreSQL
set -u
agent=$1
passed=0 failed=0

# planted FAULT PATTERN
planted() {
	# Without the server's options.  (gcc's libubsan knows no log beside libasan.)
	if env -u ASAN_OPTIONS -u UBSAN_OPTIONS PGE_PLANTED_FAULT="$1" "$agent" --version \
		>/dev/null 2>"$PGE_REPORTS/said"; then
		echo "not ok - an agent with the planted fault \"$1\" ends well"
		failed=$((failed + 1))
	elif ! grep -rqaE "$2" "$PGE_REPORTS"; then
		echo "not ok - the planted fault \"$1\" of the agent was not reported"
		failed=$((failed + 1))
	else
		echo "ok - the planted fault \"$1\" of the agent was reported: $2"
		passed=$((passed + 1))
	fi
	rm -f "$PGE_REPORTS"/*
}

planted heap 'AddressSanitizer: heap-buffer-overflow'
planted undefined 'runtime error: shift exponent 40'
planted leak 'LeakSanitizer: detected memory leaks'
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
