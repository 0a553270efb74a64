#!/usr/bin/env bash
# Does what a newcomer does: on a fresh Debian 12 with only make and sudo, runs the
# commands of README's first screen on a clean export of HEAD, once as root and
# once as a user with sudo whose home is closed to others; each on a fresh folder.
# usage: newcomer.sh [root|user …]          (as root; default: both)
#	NEWCOMER_CACHE=DIR	keeps the bare Debian there for the next run
#	NEWCOMER_LOGS=DIR	where the logs go (default: build/newcomer)
#
# Everything runs in a mount and a PID namespace of its own, so nothing stays
# mounted and nothing keeps running.  The network is this machine's: apt needs it.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=test/tools/debian_root.sh
. "$top/test/tools/debian_root.sh"

# --- inside the namespaces: newcomer.sh --inside FOLDER WHO COMMAND … ------

# Processes other than this script and what it is running to find out.
others() {
	local stat pid comm
	for stat in /proc/[0-9]*/stat; do
		pid=${stat//[!0-9]/}
		[ "$pid" = 1 ] || [ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ] && continue
		comm=$(cat "/proc/$pid/comm" 2>/dev/null) || continue
		if [ "$comm" != cat ] && ! grep -q '^State:.*Z' "/proc/$pid/status" 2>/dev/null; then
			echo "$pid $comm"
		fi
	done
	return 0
}

inside() {
	local root=$1 who=$2 command from status failed=0 log stop=
	shift 2
	mount --make-rprivate /
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
	for command in "$@"; do
		log=$logs/$who-${command//[^a-z]/-}.log from=$SECONDS status=0
		chroot "$root" /usr/bin/env -i TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin \
			su - "$who" -c "cd pg_envelope && $command" >"$log" 2>&1 </dev/null || status=$?
		printf '%-10s %-12s %4d s  exit %d  %s\n' "$who" "$command" $((SECONDS - from)) $status \
			"$(grep -v '^make:' "$log" | tail -n 1)"
		if [ $status != 0 ]; then
			tail -n 40 "$log" | sed 's/^/  | /'
			failed=1
		fi
		if [ "$command" = 'make demo' ]; then stop=1; fi
	done
	if [ -n "$stop" ]; then
		chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
			su - "$who" -c "cd pg_envelope && make demo-stop" >"$logs/$who-make-demo-stop.log" 2>&1 || failed=1
	fi
	left=$(others)
	if [ -n "$left" ]; then
		echo "$who: still running afterwards:"
		echo "$left"
		failed=1
	fi
	return $failed
}

logs=${NEWCOMER_LOGS:-$top/build/newcomer}
if [ "${1:-}" = --inside ]; then
	shift
	inside "$@"
	exit
fi

# --- outside ---------------------------------------------------------------

[ "$(id -u)" = 0 ] || { echo "newcomer.sh: run it as root (debootstrap, chroot)" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "newcomer.sh: install debootstrap first" >&2; exit 2; }

# The commands: indented lines that begin with "make" between the marks.
mapfile -t commands < <(git -C "$top" show HEAD:README.md |
	sed -n '/<!-- first screen -->/,/<!-- \/first screen -->/s/^    \(make\( [^#]*[^# ]\)\{0,1\}\) *\(#.*\)\{0,1\}$/\1/p')
[ ${#commands[@]} -gt 0 ] || { echo "newcomer.sh: README's first screen names no command" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/pg_envelope_newcomer.XXXXXX")
# Nothing is mounted out here; --one-file-system is the second lock on that door.
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$logs"
cache=${NEWCOMER_CACHE:-$work/cache}
mkdir -p "$cache"

if [ ! -f "$cache/bookworm.tar" ]; then
	echo "making a bare Debian 12 with make and sudo ..."
	debootstrap --variant=minbase --include=make,sudo bookworm "$work/bare" "$(debian_mirror)" >"$logs/debootstrap.log" 2>&1 ||
		{ tail -n 20 "$logs/debootstrap.log"; exit 1; }
	tar -C "$work/bare" -cf "$cache/bookworm.tar.new" .
	mv "$cache/bookworm.tar.new" "$cache/bookworm.tar"
	rm -rf --one-file-system "$work/bare"
fi

# This machine's way to the packages.
copy_apt() {
	local root=$1 file
	rm -f "$root/etc/apt/sources.list"
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources \
		/etc/apt/trusted.gpg.d/* /usr/share/keyrings/* /etc/apt/keyrings/*; do
		[ ! -f "$file" ] || install -D -m 644 "$file" "$root$file"
	done
	debian_network "$root"
}

prepare() {
	local root=$1 who=$2 home=/root
	mkdir "$root"
	tar -C "$root" -xf "$cache/bookworm.tar"
	copy_apt "$root"
	if [ "$who" != root ]; then
		home=/home/$who
		chroot "$root" useradd -m -s /bin/bash "$who"
		echo "$who ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/newcomer"
		chmod 440 "$root/etc/sudoers.d/newcomer"
	fi
	mkdir "$root$home/pg_envelope"
	git -C "$top" archive HEAD | tar -C "$root$home/pg_envelope" -xf -
	chroot "$root" chown -R "$who:" "$home"
	chmod 700 "$root$home"
}

status=0
[ $# -gt 0 ] || set -- root user
for who in "$@"; do
	[ "$who" = root ] || who=newcomer
	prepare "$work/$who" "$who"
	NEWCOMER_LOGS=$logs unshare --mount --pid --fork --mount-proc --kill-child \
		"$0" --inside "$work/$who" "$who" "${commands[@]}" || status=1
	rm -rf --one-file-system "${work:?}/$who"
done
exit $status
