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
exec python3 "$here/serve_test.py" "${PGE_TEST_AGENT:-${PGE_AGENT:-./pg_envelope_agent}}"
