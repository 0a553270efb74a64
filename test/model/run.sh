#!/usr/bin/env bash
# Searches the model of the key cache (cache.pml, protocol.md) completely: no
# error wanted for the protocol, a counterexample wanted for every mistake.
# usage: run.sh [small | full] [PATTERN]
#   small	what "make check" runs: under a minute of one core
#   full	also the large configurations: hours, up to 10 GB of memory each
# A line per search: name, states, seconds, verdict.  Exit 77: skipped.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
size=${1:-small} pattern=${2:-.}
case $size in small | full) ;; *) echo "usage: run.sh [small | full] [PATTERN]" >&2; exit 2 ;; esac

for tool in spin gcc; do
	command -v "$tool" >/dev/null && continue
	if [ "${PGE_REQUIRE_ALL:-}" = 1 ] || [ "${CI:-}" = true ]; then
		echo "$tool is missing"; echo "0 passed, 1 failed"; exit 1
	fi
	echo "SKIP: $tool is missing"; exit 77
done
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT

# name | wanted | -D options.  Wanted: "none" (no error, the whole state space
# searched), P1 … P9 (that property violated, with the others not looked at),
# "deadlock", "cycle" (a value that never ends, under weak fairness), "no cycle".
first="-DFIRST_MEMO -DFIRST_STAMP -DFIRST_ASK -DFIRST_JOIN"
searches() {
	cat <<-LIST
		disable, revoke, enable or flush | none | -DVALUES=1 -DCOMMANDS=1
		one backend, two commands, expiry | none | -DBACKENDS=1 -DEXPIRIES=1
		two slots, expiry | none | -DSLOTS=2 -DEXPIRIES=1 -DCOMMANDS=0
		creator that rolls back or commits | none | -DCREATOR=0 -DVALUES=3 -DCOMMANDS=0
		creator and one command | none | -DBACKENDS=1 -DCREATOR=0 -DVALUES=3 -DCOMMANDS=1
		agent dies | none | -DAGENT_DEATHS=1 -DVALUES=1 -DCOMMANDS=1
		crash restart, two backends | none | -DCRASHES=1 -DVALUES=1 -DCOMMANDS=0
		crash restart, one command | none | -DCRASHES=1 -DBACKENDS=1 -DCOMMANDS=1
		variant: a purged value is used once | none | -DVARIANT_USE_ONCE -DVALUES=1 -DCOMMANDS=1
		service away: grace, one backend | none | -DOUTAGES=1 -DEXPIRIES=2 -DBACKENDS=1 -DVALUES=2 -DCOMMANDS=1
		service away: grace, two backends | none | -DOUTAGES=1 -DEXPIRIES=1 -DVALUES=1 -DVALUES_OTHERS=2 -DCOMMANDS=0
		service refuses | none | -DREVOCATIONS=1 -DVALUES=2 -DVALUES_OTHERS=1 -DCOMMANDS=0
		service refuses, and is away | none | -DREVOCATIONS=1 -DOUTAGES=1 -DEXPIRIES=1 -DVALUES=1 -DVALUES_OTHERS=1 -DCOMMANDS=0
		endless commits | no cycle | -DENDLESS_COMMITS -DBACKENDS=1 -DVALUES=1 -DCOMMANDS=0
		mutant: no compare after the answer | P2 | -DMUTANT_NO_COMPARE -DBACKENDS=1 -DCOMMANDS=1
		mutant: epoch loaded after the row | P1 | -DMUTANT_EPOCH_AFTER_ROW -DBACKENDS=1 -DCOMMANDS=1
		mutant: bump before commit | P1 | -DMUTANT_BUMP_BEFORE_COMMIT -DBACKENDS=1 -DCOMMANDS=1
		mutant: generation not read again | P3 | -DMUTANT_GEN_NOT_REREAD
		mutant: context not checked | P8 | -DMUTANT_CONTEXT_UNCHECKED -DEXPIRIES=1 -DCOMMANDS=0
		mutant: memo hears only sinval | P1 | -DMUTANT_MEMO_STICKY -DBACKENDS=1 -DCOMMANDS=1
		mutant: uncommitted DEK published | P4 | -DMUTANT_UNCOMMITTED_PUBLISHED -DCREATOR=0 -DVALUES=3 -DCOMMANDS=0
		mutant: rollback keeps the memo | P3 | -DMUTANT_ROLLBACK_KEEPS -DCREATOR=0 -DVALUES=3 -DCOMMANDS=0
		mutant: two writers of a slot | P3 | -DMUTANT_TWO_WRITERS
		mutant: no look after publishing | P9 | -DMUTANT_NO_LOOK_AFTER -DBACKENDS=1 -DCOMMANDS=1
		mutant: EOF not heard | deadlock | -DMUTANT_EOF_NOT_HEARD -DBACKENDS=1 -DAGENT_DEATHS=1 -DCOMMANDS=0
		mutant: crash restart wipes nothing, slot | P5 | -DMUTANT_CRASH_NO_WIPE -DCRASHES=1 -DCOMMANDS=0
		mutant: crash restart wipes nothing, bytes | P2 | -DMUTANT_CRASH_NO_WIPE -DCRASHES=1 -DCOMMANDS=0
		mutant: no full barrier after publishing | P9 | -DMUTANT_NO_FULL_BARRIER -DBACKENDS=1 -DCOMMANDS=1
		mutant: grace without a word of the service | P11 | -DMUTANT_TTL_IGNORED -DOUTAGES=1 -DEXPIRIES=1 -DBACKENDS=1 -DCOMMANDS=0
		mutant: grace although it refuses | P10 | -DMUTANT_GRACE_FOR_REFUSED -DREVOCATIONS=1 -DOUTAGES=1 -DEXPIRIES=1 -DBACKENDS=1 -DVALUES=3 -DCOMMANDS=0
		mutant: contexts go on into grace | P8 | -DMUTANT_NOT_OUTDATED -DOUTAGES=1 -DEXPIRIES=1 -DBACKENDS=1 -DCOMMANDS=0
		mutant: wiper gives up when a slot is outdated | P9 | -DMUTANT_WIPER_GIVES_UP -DOUTAGES=1 -DEXPIRIES=1 -DBACKENDS=1 -DVALUES=1 -DCOMMANDS=1
		mutant: refusal neither counts nor wipes | P10 | -DMUTANT_REFUSAL_DOES_NOT_WIPE -DREVOCATIONS=1 -DOUTAGES=1 -DEXPIRIES=1 -DBACKENDS=1 -DVALUES=3 -DCOMMANDS=0
		mutant: refusal wipes and does not count | P10 | -DMUTANT_REFUSAL_NOT_COUNTED -DREVOCATIONS=1 -DVALUES=2 -DCOMMANDS=0
		mutant: refusals not looked at after publishing | P9 | -DMUTANT_REFUSALS_NOT_LOOKED_AT_AFTER -DREVOCATIONS=1 -DVALUES=1 -DCOMMANDS=0
		mutant: private context after a refusal | P10 | -DMUTANT_PRIVATE_UNCHECKED -DREVOCATIONS=1 -DVALUES=2 -DCOMMANDS=0
		first design: disable | P1 | $first -DNO_REVOKE -DBACKENDS=1 -DCOMMANDS=1
		first design: revoked grant | P1 | $first -DBACKENDS=1 -DCOMMANDS=1
		first design: enable | P6 | $first
		first design: compare, then publish | P2 | -DFIRST_MEMO -DFIRST_STAMP -DFIRST_ASK -DBACKENDS=1 -DCOMMANDS=1
		first design: calls joined across a flush | P2 | -DFIRST_JOIN -DCOMMANDS=1
		first design: memo alone | P1 | -DFIRST_MEMO -DNO_REVOKE -DBACKENDS=1 -DCOMMANDS=1
		first design: bytes left in a slot | P9 | -DFIRST_STAMP -DFIRST_ASK -DBACKENDS=1 -DCOMMANDS=1
		first design: agent asked again for every commit | cycle | -DFIRST_ASK -DENDLESS_COMMITS -DBACKENDS=1 -DVALUES=1 -DCOMMANDS=0
	LIST
	[ "$size" = full ] || return 0
	cat <<-LIST
		large: two backends, two commands | none |
		large: expiry and a command | none | -DEXPIRIES=1 -DCOMMANDS=1
		large: creator, two keys | none | -DCREATOR=0 -DVALUES=4 -DCOMMANDS=0
		large: two slots, a command | none | -DSLOTS=2 -DCOMMANDS=1
		large: agent dies | none | -DAGENT_DEATHS=1 -DCOMMANDS=1
		large: crash restart | none | -DCRASHES=1 -DCOMMANDS=1
		large: three backends | none | -DBACKENDS=3 -DVALUES=1 -DCOMMANDS=1
		large: creator, two keys, a command | none | -DCREATOR=0 -DVALUES=3 -DCOMMANDS=1
		large: three values, a command | none | -DVALUES=3 -DCOMMANDS=1
		large: three commands | none | -DVALUES=1 -DCOMMANDS=3
		large: variant, a purged value is used once | none | -DVARIANT_USE_ONCE
		large mutant: slot of before a refusal | P9 | -DMUTANT_REFUSALS_NOT_COMPARED -DREVOCATIONS=1 -DOUTAGES=1 -DEXPIRIES=1 -DCOMMANDS=0
		large: service refuses, and is away | none | -DREVOCATIONS=1 -DOUTAGES=1 -DEXPIRIES=1 -DCOMMANDS=0
		large: grace and a command | none | -DOUTAGES=1 -DEXPIRIES=1 -DCOMMANDS=1
		large: endless commits | no cycle | -DENDLESS_COMMITS -DVALUES=1 -DCOMMANDS=0
	LIST
}

build() {	# options of spin, of gcc; gcc optimises only where the search is long
	rm -rf "$tmp/build"; mkdir "$tmp/build"; cd "$tmp/build"
	cp "$here/cache.pml" .
	spin -a $1 cache.pml >build.log 2>&1 && gcc $2 -DCOLLAPSE -DMEMLIM=10500 -w -o pan pan.c >>build.log 2>&1
}

verdict() {	# wanted; reads the checker's output
	case $1 in
		none | "no cycle")
			grep -q 'errors: 0$' out && grep -q '^State-vector' out &&
			! grep -qiE 'not completed|search depth too small|out of memory|memory limit' out ;;
		P*) grep -qE '^pan:[0-9]+: assertion violated' out ;;
		deadlock) grep -q '^pan:[0-9]*: invalid end state' out ;;
		cycle) grep -q '^pan:[0-9]*: acceptance cycle' out ;;
	esac
}

search() {	# wanted, options -> "states verdict" in $states and $said
	local wanted=$1 options=$2 gcc=-O0 pan=""
	case $wanted in
		none) gcc="-O1 -DSAFETY" ;;
		*cycle) gcc="-O1 -DNFAIR=3" pan="-a -f" ;;
		P*) gcc="-O0 -DSAFETY" options+=" -DONLY=${wanted#P}" ;;
		deadlock) gcc="-O0 -DSAFETY" ;;
	esac
	states=- said="does not build"
	build "$options" "$gcc" || return 1
	./pan -m200000 $pan >out 2>&1 || true
	states=$(grep -oE '[0-9.e+]+ states, (stored|visited)' out | head -1 | cut -d' ' -f1)
	if verdict "$wanted"; then
		case $wanted in
			none) said="no error" ;;
			"no cycle") said="every value ends" ;;
			*) said="found: $wanted" ;;
		esac
		return 0
	fi
	said="WANTED $wanted: $(grep -m1 -oE '^pan:[0-9]+: .*|errors: [0-9]+|.*not completed.*' out || tail -1 out)"
	return 1
}

passed=0 failed=0
while IFS='|' read -r name wanted options; do
	read -r name <<<"$name"; read -r wanted <<<"$wanted"
	[[ $name =~ $pattern ]] || continue
	start=$(date +%s%N)
	if search "$wanted" "$options"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	ms=$((($(date +%s%N) - start) / 1000000))
	printf '%-50s %12s states %4d.%d s  %s\n' "$name" "${states:--}" $((ms / 1000)) $((ms % 1000 / 100)) "$said"
done < <(searches)
if [ "$size" = small ]; then echo "not run here: the 15 large configurations of test/model/run.sh full"; fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
