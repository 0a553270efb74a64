#!/usr/bin/env bash
# "make check-hardened": our tests on servers that notice more.
# usage: run.sh [asan] [discard-caches] [valgrind] [tidy]; without names all four
#
#	asan			server, library and agent with assertions and the address and
#					undefined-behaviour sanitizers: regress, isolation, TAP
#	discard-caches	server with assertions that throws its caches away whenever it
#					may (debug_discard_caches = 1): regress, isolation
#	valgrind		server with its notes to valgrind, under memcheck: regress
#	tidy			no server: clang-tidy, whose analyzer follows each function as far as
#					it can (in "make check" it has a third of that)
#
# Each run first has a planted fault, which must be reported.  How it ended is
# written to test/LONG_RUNS.md.  PGE_HARDENED_SUITES="NAME …" runs these suites of
# test/suites.sh instead (with build and reports), and PGE_TAP="FILE …" of tap these
# files; what is written says so.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL MAKEFILES
export PGE_HARDENED_DIR=${PGE_HARDENED_DIR:-/var/tmp/pg_envelope-hardened}
[ $# -gt 0 ] || set -- asan discard-caches valgrind tidy
test/tools/packages.sh test hardened
# shellcheck source=test/tools/long_runs.sh
. test/tools/long_runs.sh

# Such servers are slow, and each test that waits is right to wait for them.
export PG_TEST_TIMEOUT_DEFAULT=${PG_TEST_TIMEOUT_DEFAULT:-300} PGCTLTIMEOUT=${PGCTLTIMEOUT:-600}
in_backend=test/hardened/in_backend.sh
flags='-fsanitize=address,undefined -fno-sanitize-recover=all'

# Empty, and for whoever runs the tests.
reports_in() {
	export PGE_REPORTS=$PGE_HARDENED_DIR/reports-$1
	rm -rf "$PGE_REPORTS"
	mkdir -m 1777 "$PGE_REPORTS"
	chmod 1777 "$PGE_REPORTS"
}

# The keeper lets the agent see no such settings, so those are built in.
run_asan() {
	PG_CONFIG=$(test/hardened/build_server.sh asan) || return 1
	reports_in asan
	export PG_CONFIG PGE_SUITES="build planted-agent reports ${PGE_HARDENED_SUITES:-regress isolation tap}"
	export TEST_CFLAGS=$flags
	export TEST_CPPFLAGS="-U_FORTIFY_SOURCE -DPGE_SANITIZER_LOG='\"$PGE_REPORTS/agent\"'"
	export TEST_AGENT_OBJS='test/hardened/planted_fault.o test/hardened/planted_agent.o'
	export TEST_AGENT_LDFLAGS=-Wl,--wrap=_exit
	# A backend frees its memory by exiting, so a leak says nothing.
	export ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0:log_path=$PGE_REPORTS/server
	export UBSAN_OPTIONS=print_stacktrace=1:log_path=$PGE_REPORTS/server
	export PGE_PLANTED="$in_backend heap heap-buffer-overflow $in_backend undefined shift.exponent.40"
	test/run.sh
}

run_discard-caches() {
	PG_CONFIG=$(test/hardened/build_server.sh valgrind) || return 1
	export PG_CONFIG PGE_SUITES="build ${PGE_HARDENED_SUITES:-regress isolation}"
	# Between a request and its answer a backend may look at a thousand rows.
	export PGE_CLUSTER_SETTINGS='debug_discard_caches=1 pg_envelope.kms_timeout=600000'
	# All takes a hundred times as long as elsewhere, and these half an hour each.
	export PGE_REGRESS_WITHOUT='damaged_rows rewrap_many text_validity'
	export PGE_PLANTED="$in_backend stale what.was.freed"
	test/run.sh
}

run_valgrind() {
	PG_CONFIG=$(test/hardened/build_server.sh valgrind) || return 1
	reports_in valgrind
	export PG_CONFIG PGE_SUITES="build reports ${PGE_HARDENED_SUITES:-regress}"
	export PGE_VALGRIND=$PGE_HARDENED_DIR/src/src/tools/valgrind.supp
	export PGE_PLANTED="$in_backend uninitialised VALGRINDERROR-BEGIN"
	test/run.sh
}

run_tidy() {
	test/lint/tidy.sh
}

status=0
log=$(mktemp "${TMPDIR:-/tmp}/pg_envelope_hardened.XXXXXX")
export TEST_OBJS='test/hardened/planted_fault.o test/hardened/planted_sql.o'
for run in "$@"; do
	case $run in
	asan | discard-caches | valgrind | tidy) ;;
	*) echo "run.sh: no run \"$run\"" >&2; exit 2 ;;
	esac
	echo "== $run"
	from=$SECONDS commit=$(pge_tested_commit)
	export PGE_HARDENED_RUN=$run
	("run_$run") 2>&1 | tee "$log" || status=1
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1 || true)
	only=${PGE_HARDENED_SUITES:+, only: $PGE_HARDENED_SUITES}
	[ -z "${PGE_TAP:-}" ] || only+=", $(wc -w <<<"$PGE_TAP") of $(find test/t -name '*.pl' | wc -l) TAP files"
	pge_record "hardened-$run" "$commit" "${line:-did not finish}, $(((SECONDS - from + 59) / 60)) min$only"
done
rm -f "$log"
exit $status
