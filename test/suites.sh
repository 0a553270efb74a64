#!/usr/bin/env bash
# Runs the suites, for test/run.sh: as an unprivileged user, in a copy of the tree
# in $PGE_WORK/src, a line per suite with its seconds.  Leaves the sums in
# $PGE_WORK/totals.
#
# A suite is there when its files are (see the list below); dropping files in is
# all it takes to join.  What a suite may use:
#	PGE_BINDIR, PGE_TEST_BINDIR	private servers with the extension installed,
#								as built for users and with -DPGE_TEST_BUILD
#	PGE_AGENT, PGE_TEST_AGENT	the agent of either build
#	PGE_PGXS_DIR				where pg_regress, isolationtester, Cluster.pm are
#	TMPDIR, HOME				private and short enough for sockets
#	PGE_REQUIRE_ALL=1			(CI) what cannot be tested fails
# For test/hardened/run.sh, which also sets TEST_CFLAGS and the like for the builds:
#	PGE_SUITES="NAME …"			these alone
#	PGE_TAP="FILE …"			these files of test/t alone
#	PGE_CLUSTER_SETTINGS="setting=value …"	of the clusters of regress and isolation
#	PGE_REGRESS_WITHOUT="NAME …"	tests of regress that are left out
#	PGE_PLANTED="PROGRAM ARGUMENT …"	which starts regress (in_backend.sh)
#	PGE_VALGRIND=FILE			the server runs under valgrind with these suppressions
# What it owes us: status 0 or not, a closing line "N passed, N failed" (else it
# counts as one test), and for what it leaves out a line "SKIP: reason" (or
# "skipped: reason"); status 77 skips it altogether.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail

# shellcheck source=test/tools/release.sh
. test/tools/release.sh
work=$PGE_WORK
pg_config=${PG_CONFIG:-pg_config}
require_all=${PGE_REQUIRE_ALL:-0}
[ "${CI:-}" != true ] || require_all=1
export PGE_REQUIRE_ALL=$require_all
export LC_ALL=C.UTF-8
# What hangs is a failure sooner than PostgreSQL's 180 s.
export PG_TEST_TIMEOUT_DEFAULT=${PG_TEST_TIMEOUT_DEFAULT:-60}
unset LANGUAGE

pgxs_test=$(dirname "$("$pg_config" --pgxs)")/../test
PGE_PGXS_DIR=$(cd "$pgxs_test" && pwd)
export PGE_PGXS_DIR PG_REGRESS=$PGE_PGXS_DIR/regress/pg_regress
export PGE_BINDIR=$work/root$("$pg_config" --bindir)
export PGE_TEST_BINDIR=$work/test-root$("$pg_config" --bindir)
export PGE_AGENT=$PGE_BINDIR/pg_envelope_agent PGE_TEST_AGENT=$PGE_TEST_BINDIR/pg_envelope_agent
mkdir "$work/results"

# --- one suite -----------------------------------------------------------

# Reads what the suite said of itself; prints "passed failed".
count() {
	local log=$1 status=$2 line passed=0 failed=0
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1 || true)
	if [ -n "$line" ]; then
		read -r passed _ failed _ <<<"${line//,/ }"
	elif [ "$status" = 0 ]; then
		passed=1
	fi
	# A suite that ends badly has failed, whatever it says.
	if [ "$status" != 0 ] && [ "$failed" = 0 ]; then
		failed=1
	fi
	echo "$passed $failed"
}

# suite NAME COMMAND …: one line on the terminal, all else in its log.
suite() {
	local name=$1 log=$work/logs/$1.log from=$EPOCHREALTIME status=0 passed failed skips text
	shift
	[[ " ${PGE_SUITES:-$name} " = *" $name "* ]] || return 0
	# (What bash starts in the background ignores SIGINT; tests may not.)
	env --default-signal=INT,QUIT "$@" >"$log" 2>&1 </dev/null || status=$?
	skips=$(sed -nE 's/^#* *(SKIP|skipped): */  skipped: /p' "$log" | sort -u)
	if [ "$status" = 77 ]; then
		passed=0 failed=0 status=0
		[ -n "$skips" ] || skips="  skipped: (no reason given)"
	else
		read -r passed failed < <(count "$log" "$status")
	fi
	if [ -n "$skips" ] && [ "$require_all" = 1 ]; then
		failed=$((failed + $(wc -l <<<"$skips"))) status=1
	fi
	printf -v text '%-14s %6d passed %4d failed %7.1f s' "$name" "$passed" "$failed" \
		"$(awk "BEGIN { print $EPOCHREALTIME - $from }")"
	[ -z "$skips" ] || text+=$'\n'$skips
	if [ "$failed" != 0 ]; then
		text+=$'\n'"  ---- the end of $name.log:"$'\n'$(tail -n 60 "$log" | sed 's/^/  | /')
	fi
	echo "$text"
	echo "$passed $failed" >"$work/results/$name"
}

# --- what the suites stand on --------------------------------------------

copy_of_tree() {
	cp -R "$work/src" "$1"
}

build() {
	copy_of_tree "$work/test-src" && copy_of_tree "$work/clang-src" && copy_of_tree "$work/ubsan-src" &&
		make -j2 && test/tools/private_server.sh "$work/root" "$pg_config" &&
		export TEST_CPPFLAGS="-DPGE_TEST_BUILD ${TEST_CPPFLAGS:-}" &&
		make -C "$work/test-src" -j2 &&
		"$work/test-src/test/tools/private_server.sh" "$work/test-root" "$pg_config" || return
	[ -z "${PGE_VALGRIND:-}" ] || test/hardened/wrap_postgres.sh "$PGE_BINDIR" "$PGE_VALGRIND"
}

# What it has to say, it says without optimising, too.
build_clang() {
	make -C "$work/clang-src" -j2 CC="$CLANG" TEST_CFLAGS=-O0
}

# on_cluster NAME BINDIR INPUTDIR DATABASE TESTS PROGRAM …: pg_regress, or a program like
# it, on a cluster of its own, and its counts.
on_cluster() {
	local name=$1 bindir=$2 inputdir=$3 database=$4 tests=$5 status=0
	shift 5
	export PGE_SERVER_BINDIR=$bindir
	# shellcheck disable=SC2086 # words
	test/tools/scratch.sh start "$work/$name" log_statement=none ${PGE_CLUSTER_SETTINGS:-} || return 1
	# shellcheck disable=SC2086 # names
	PATH=$bindir:$PATH PGHOST=$work/$name/run PGUSER=postgres "$@" --inputdir="$inputdir" --outputdir="$work/$name" \
		--bindir="$bindir" --dbname="$database" --load-extension=pg_envelope $tests |
		tee "$work/tmp/$name.out" || status=$?
	test/tools/scratch.sh stop "$work/$name" || status=1
	[ "$status" = 0 ] || cat "$work/$name"/regression.diffs "$work/$name"/output_iso/regression.diffs 2>/dev/null || true
	regress_counts "$work/tmp/$name.out"
	return $status
}

# The closing line of pg_regress in our words.
regress_counts() {
	sed -nE 's/^#? *All ([0-9]+) tests passed.*/\1 passed, 0 failed/p
		s/^#? *([0-9]+) of ([0-9]+) tests failed.*/\1 \2/p' "$1" |
		awk '/passed/ { print; next } { print $2 - $1 " passed, " $1 " failed" }'
}

# regress NAME BINDIR: the tests of sql/, behind the planted faults if there are any.
regress() {
	local name=$1 bindir=$2 tests without
	# There is more than this if the sanitizers' options name a log.
	export PGE_REPORTS="${PGE_REPORTS:-} $work/$name/data/server.log"
	tests=$(cd sql && ls -- *.sql | sed 's/\.sql$//' | sort)
	for without in ${PGE_REGRESS_WITHOUT:-}; do
		tests=$(grep -vx "$without" <<<"$tests")
		echo "SKIP: hardened-$PGE_HARDENED_RUN: $without takes too long there"
	done
	# shellcheck disable=SC2086 # words
	on_cluster "$name" "$bindir" . contrib_regression "$tests" ${PGE_PLANTED:-} "$PG_REGRESS"
}

# All of sql/ on the packaged server with the library (and the agent) built to
# report undefined behaviour.
ubsan() {
	local status=0 bindir
	# (UBSAN_OPTIONS would not be seen: the server overwrites its environment
	# with its title before it loads us.)
	export TEST_CFLAGS='-fsanitize=undefined -fno-sanitize-recover=all'
	export TEST_OBJS='test/hardened/planted_fault.o test/hardened/planted_sql.o'
	make -C "$work/ubsan-src" -j2
	bindir=$("$work/ubsan-src/test/tools/private_server.sh" "$work/ubsan-root" "$pg_config")
	export PGE_PLANTED='test/hardened/in_backend.sh undefined runtime.error:.shift.exponent.40'
	regress ubsan "$bindir" || status=1
	PGE_REPORTS=$work/ubsan/data/server.log test/hardened/reports.sh >"$work/tmp/ubsan.reports" || status=1
	[ "$status" = 0 ] || cat "$work/tmp/ubsan.reports"
	return $status
}

isolation() {
	local tests
	tests=$(cd test/isolation/specs && ls -- *.spec | sed 's/\.spec$//' | sort)
	install -m 600 test/isolation/kms.conf "$work/tmp/isolation.conf" # the agent takes none that others may write
	# (Who is held up for a test waits as long as isolationtester does for a step.)
	PGE_CLUSTER_SETTINGS="pg_envelope.kms_timeout=$((2 * PG_TEST_TIMEOUT_DEFAULT))s ${PGE_CLUSTER_SETTINGS:-}"
	export PGE_CLUSTER_SETTINGS="$PGE_CLUSTER_SETTINGS pg_envelope.kms_config_file='$work/tmp/isolation.conf'"
	on_cluster isolation "$PGE_TEST_BINDIR" test/isolation isolation_regression "$tests" "$PGE_PGXS_DIR/isolation/pg_isolation_regress"
}

# What a test says on its standard error goes to a log of its own: show the ends
# of those of tests that failed or died, and keep all.
tap() {
	local status=0 log
	# These last longest; at the end they would run alone.
	local long='636_history 633_crash_points 611_damaged_keyring 911_drill 910_demo 033_dump_matrix 610_interrupted_waits 912_operations 635_errors_keep_nothing'
	mkdir -p "$work/tap/tmp_check"
	# The first name is 15's, the next two those of later versions.
	TESTDIR=$work/tap TESTDATADIR=$work/tap/tmp_check TESTLOGDIR=$work/tap/tmp_check/log \
		PG_TEST_PORT_DIR=$work/tmp/ports PERL5LIB=$PGE_PGXS_DIR/perl \
		test/tools/tap.pl --jobs 3 --first "$long" ${PGE_TAP:-test/t/*.pl} >"$work/tmp/tap.out" || status=$?
	cat "$work/tmp/tap.out"
	if [ "$status" != 0 ]; then
		cp -R "$work/tap/tmp_check/log" "$work/logs/tap-logs"
		for log in "$work"/tap/tmp_check/log/regress_log_*; do
			if grep -qE '(^|\) )not ok ' "$log" || ! grep -qE '(^|\) )1\.\.[0-9]+' "$log"; then
				echo "---- ${log##*/}: what failed, and its end:"
				grep -E -A 6 '(^|\) )not ok ' "$log" | cut -c 1-400 | head -n 40 || true
				echo "----"
				tail -n 6 "$log" | cut -c 1-400
			fi
		done
	fi
	return $status
}

each() {
	local program
	for program in "$@"; do
		"$program" || return
	done
}

# --- the list ------------------------------------------------------------

# Suites that bear company, three at a time on two cores: some wait now and then.
together() {
	while [ "$(jobs -rp | wc -l)" -ge 3 ]; do
		wait -n || true
	done
	"$@" &
}

export -f build build_clang copy_of_tree on_cluster regress_counts regress ubsan isolation tap each
export work pg_config
there() { compgen -G "$1" >/dev/null; }
run() { suite "$1" bash -euo pipefail -c '"$@"' "$@"; }

run build build
if [ "$(cut -d' ' -f2 "$work/results/build")" = 0 ]; then
	[ -z "${TEST_AGENT_OBJS:-}" ] || run planted-agent test/hardened/in_agent.sh "$PGE_AGENT"
	# The long ones first.
	! there test/model/run.sh || together suite model test/model/run.sh
	! there test/lint/run.sh || together suite lint env PGE_TIDY=short test/lint/run.sh
	! there test/unit/Makefile || together suite unit make -C test/unit check
	! there test/interop/run.sh || together suite interop test/interop/run.sh
	! there test/unit/Makefile || together suite asan make -C test/unit asan ASAN_CC="$CLANG"
	together run build-clang build_clang
	! there 'test/keyring/run*' || together suite keyring test/keyring/run*
	! there 'test/agent/run*' || together suite agent test/agent/run*
	! there test/hardened/agent.sh || together suite asan-agent test/hardened/agent.sh "$work/asan-agent"
	! there 'sql/*.sql' || together run regress regress regress "$PGE_BINDIR"
	! there 'sql/*.sql' || together run ubsan ubsan
	! there test/instructions/run.sh || together suite instructions test/instructions/run.sh
	! there 'test/isolation/specs/*.spec' || together run isolation isolation
	wait
	# Servers wait much.  The fuzzers take what that leaves of the machine, and no more.
	! there test/fuzz/Makefile || suite fuzz nice -n 19 make -C test/fuzz -j2 check CC="$CLANG" FUZZ_JOBS=3 FUZZ_SECONDS="${FUZZ_SECONDS:-10}" &
	! there 'test/t/*.pl' || run tap tap
	wait
	# shellcheck disable=SC2046 # words
	[ -z "${PGE_REPORTS:-}" ] || run reports test/hardened/reports.sh \
		$(find "$work" -path '*/data/server.log' -o -path '*/tmp_check/log/*' -type f)
fi

awk '{ p += $1; f += $2 } END { print p, f }' "$work"/results/* >"$work/totals"
