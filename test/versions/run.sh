#!/usr/bin/env bash
# "make check-versions": the suites that are about the server, on each PostgreSQL that
# we support and Debian has: 15 (bookworm), 17 (trixie), 18 (sid), with the OpenSSL and
# libcurl of that release, and with an upgrade from 15 by pg_upgrade and by dump and restore.
# usage: run.sh [trixie] [sid]; without names both, beside bookworm
#	PGE_SUITES="NAME …"		these alone
#
# The release of this machine is tested as it is here (or just was: what "make check"
# of the same tree counted is taken), the others in a folder made by debootstrap,
# which is kept for a week in ${XDG_CACHE_HOME:-$HOME/.cache}/pg_envelope/versions and
# which the tests cannot write to.  Each release has to run as many tests as 15, and a
# skip is a failure.  Debian's unstable cannot be pinned: what fails there is told,
# and does not count.
#
# Repeated are the suites whose outcome the server, OpenSSL or libcurl may change: the build, unit,
# keyring, agent, regress, isolation and tap, which has the drill and the demo in it.  Not
# repeated are those that look at our code alone: lint, model, fuzz, interop, instructions,
# clang's build, and those under the sanitizers.
#
# All of it happens in mount and PID namespaces, so nothing stays mounted and nothing
# keeps running.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=test/tools/release.sh
. "$top/test/tools/release.sh"
cd "$top"
suites=${PGE_SUITES:-build unit keyring agent regress isolation tap}
unset PGE_SUITES
logs=$top/build/check-versions
declare -A debian=([bookworm]='15, Debian 12' [trixie]='17, Debian 13' [sid]="18, Debian's unstable")
declare -A major=([bookworm]=15 [trixie]=17 [sid]=18)
passed=0 failed=0

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/pg_envelope/versions
# shellcheck source=test/versions/folders.sh
. "$top/test/versions/folders.sh"

# A release whose folder could not be made is not tried again.
prepared() {
	[ ! -e "$work/unmade-$1" ] || return 1
	prepare "$1" && return
	: >"$work/unmade-$1"
	return 1
}

# --- the runs ---------------------------------------------------------------

# The sum of the suites in the log of test/run.sh, and of what they ran.
sum_of() { sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$1" | tail -n 1; }

# Lines "SUITE TESTS".
tests_of() { sed -nE 's/^([a-z-]+) +([0-9]+) passed +([0-9]+) failed.*/\1 \2 \3/p' "$1" | awk '{ print $1, $2 + $3 }'; }

versions_here='pg_config --version; openssl version | cut -d" " -f1,2; curl-config --version'

copy_of_tree() {
	mkdir -p "$1"
	tar -C "$top" --exclude=./.git --exclude=./build --exclude='*.o' --exclude='*.so' --exclude=./pg_envelope_agent -cf - . |
		tar -C "$1" --no-same-owner -xf -
}

# Whether this machine has that release.
is_here() { [ "${major[$1]}" = "$server" ] && command -v dpkg >/dev/null; }

# What "make check" counted, if that was of this tree, in its words.
just_checked() {
	local results=$top/build/check/results suite p f sum_p=0 sum_f=0
	[ "$(cat "$results/.tree" 2>/dev/null)" = "$("$top/test/tools/tree_id.sh")" ] || return
	for suite in $suites; do
		read -r p f <"$results/$suite" || return
		printf '%-14s %6d passed %4d failed\n' "$suite" "$p" "$f"
		sum_p=$((sum_p + p)) sum_f=$((sum_f + f))
	done
	echo "$sum_p passed, $sum_f failed"
}

run_here() {
	if just_checked >"$logs/$1.log" 2>/dev/null; then
		echo '  (as "make check" has just run them: not counted again)'
		again=1
		return 0
	fi
	started env PGE_REQUIRE_ALL=1 PGE_SUITES="$suites" "$top/test/run.sh" >"$logs/$1.log" 2>&1
}

run_in_folder() {
	local release=$1 root tmp knows_more= status=0
	root=$(folder "$release")
	tmp=$(mktemp -d "$work/$release.XXXXXX")
	copy_of_tree "$tmp/tree"
	[ ! -d "$work/old" ] || cp -R "$work/old" "$tmp/old"
	# (The lock of its folder is ours.  18 of a week ago may know less than 15 of today, as 15.20's attribute versions.)
	[ "$release" != sid ] || knows_more=1
	enter "$root" ro "$tmp" PGE_OLD_KNOWS_MORE=$knows_more PGE_REQUIRE_ALL=1 PGE_SUITES="$suites" PGE_PACKAGES=functional CI="${CI:-}" bash -euc 'cd /tmp/tree
		if [ -d /tmp/old ]; then eval "$(test/versions/old_server.sh use /tmp/old)"; fi
		exec test/run.sh' >"$logs/$release.log" 2>&1 9>&- || status=$?
	rm -rf "$logs/$release"
	cp -R "$tmp/tree/build/check/logs" "$logs/$release" 2>/dev/null || true
	rm -rf --one-file-system "$tmp"
	return $status
}

versions_of() {
	local release=$1
	if is_here "$release"; then
		bash -c "$versions_here"
	else
		enter "$(folder "$release")" ro "$(mktemp -d "$work/tmp.XXXXXX")" bash -c "$versions_here"
	fi | paste -sd, | sed 's/,/, /g'
}

# A server of 15 with the library as built there, for the upgrades.
make_old_server() {
	local tmp=$work/bookworm-old
	copy_of_tree "$tmp/tree"
	if is_here bookworm; then
		"$tmp/tree/test/versions/old_server.sh" make "$work/old"
	else
		enter "$(folder bookworm)" ro "$tmp" /tmp/tree/test/versions/old_server.sh make /tmp/old && mv "$tmp/old" "$work/old"
	fi >"$logs/old-server.log" 2>&1
	chmod -R go+rX "$work/old"
}

# Of a release that counts: what it passed and failed is added.
count() {
	local release=$1 what=$2 p=$3 f=$4
	if [ "$release" = sid ] && [ "$f" != 0 ]; then
		echo "!! PostgreSQL ${debian[$release]}: $what: reported, not counted"
		f=0
	fi
	passed=$((passed + p)) failed=$((failed + f))
}

run_release() {
	local release=$1 status=0 p=0 f=0 n again=
	echo "== PostgreSQL ${debian[$release]}"
	if ! is_here "$release" && ! prepared "$release"; then
		tail -n 20 "$logs/$release-prepare.log" | sed 's/^/  | /'
		count "$release" 'its folder could not be made' 0 1
		return
	fi
	echo "  $(versions_of "$release")"
	if is_here "$release"; then run_here "$release" || status=$?; else run_in_folder "$release" || status=$?; fi
	grep -vE '^(Testing a copy|[0-9]+ passed, [0-9]+ failed$)' "$logs/$release.log" | sed 's/^/  /' || true
	read -r p f < <(sum_of "$logs/$release.log") || f=1
	[ -z "$again" ] || p=0
	[ "$status" = 0 ] || [ "$f" != 0 ] || f=1
	tests_of "$logs/$release.log" | sort >"$work/tests-$release"
	n=$(awk '{ n += $2 } END { print n + 0 }' "$work/tests-$release")
	echo "  $n tests run"
	count "$release" "$f failed" "$p" "$f"
	[ "$release" != bookworm ] || return 0
	if diff "$work/tests-bookworm" "$work/tests-$release" >"$work/differ"; then
		echo "  as many as on 15"
		count "$release" 'as many tests as on 15' 1 0
	else
		sed -n 's/^< /  on 15:      /p; s/^> /  here:       /p' "$work/differ"
		count "$release" 'not as many tests as on 15' 0 1
	fi
}

skip() {
	echo "skipped: check-versions: $1"
	if [ "${CI:-}" = true ] || [ "${PGE_REQUIRE_ALL:-0}" = 1 ]; then
		echo '0 passed, 1 failed'
		exit 1
	fi
	echo '0 passed, 0 failed'
	exit 0
}

[ "$(id -u)" = 0 ] || skip 'only root can make folders with other releases of Debian'
"$top/test/tools/packages.sh" test folders || skip 'the packages it needs are missing'
command -v debootstrap >/dev/null || skip 'there is no debootstrap'
mkdir -p "$cache" "$logs"
work=$(mktemp -d "${TMPDIR:-/tmp}/pg_envelope_versions.XXXXXX")
chmod 755 "$work"
preparing=
tidy() {
	trap '' INT TERM HUP
	end_running || true
	[ -z "$preparing" ] || kill -KILL -- "-$preparing" 2>/dev/null || true
	wait
	rm -rf --one-file-system "$work"
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

started=$SECONDS
[ $# -gt 0 ] || set -- trixie sid
run_release bookworm
if ! make_old_server; then
	tail -n 20 "$logs/old-server.log"
	failed=$((failed + 1))
fi
if [ "$*" = 'trixie sid' ] && prepared trixie; then
	# The mirror is slow and the processor idle then: the next one's folder meanwhile.
	set -m
	prepared sid &
	preparing=$!
	set +m
fi
for release in "$@"; do
	run_release "$release"
done
echo "$((SECONDS - started)) s"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
