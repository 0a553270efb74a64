#!/bin/sh
# The agent as a daemon, without a server.  PGE_TEST_AGENT: a program built with
# -DPGE_TEST_BUILD; without it the claims that need a slow key service are skipped.
#
# SPDX-License-Identifier: PostgreSQL
here=$(dirname "$0")
if ! command -v python3 >/dev/null; then
	[ "${PGE_REQUIRE_ALL:-0}" = 1 ] && { echo "0 passed, 1 failed"; exit 1; }
	echo "SKIP: no python3"
	exit 77
fi
program=${PGE_TEST_AGENT:-${PGE_AGENT:-./pg_envelope_agent}}
# (One that dies without a closing line has failed, too.)
for test in serve_test service_test; do
	python3 "$here/$test.py" "$program" || true
done | awk '/^[0-9]+ passed, [0-9]+ failed$/ { p += $1; f += $3; closed++; next } { print; fflush() }
	END { f += 2 - closed; print p + 0 " passed, " f + 0 " failed"; exit f > 0 }'
