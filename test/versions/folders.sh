# Folders with other releases of Debian, which are made once a week and kept in $cache:
# what the tests need of packages and of PyPI is in them.  Sourced by run.sh, which sets
# $top, $cache, $work and $logs.
#
# SPDX-License-Identifier: PostgreSQL

# shellcheck source=test/tools/debian_root.sh
. "$top/test/tools/debian_root.sh"

running=
# started COMMAND …: as it is, but a signal reaches us at once, and end_running() it.
started() {
	local status=0
	"$@" </dev/null &
	running=$!
	wait "$running" || status=$?
	running=
	return $status
}

# (unshare ignores SIGTERM, and its namespaces end with it.)
end_running() {
	[ -n "$running" ] || return 0
	if [ "$(cat "/proc/$running/comm")" = unshare ]; then kill -KILL "$running"; else kill -TERM "$running"; fi 2>/dev/null
	wait "$running"
}

# alone COMMAND …, in namespaces that end with it, and with us.
alone() { started unshare --mount --pid --fork --mount-proc --kill-child "$@"; }

# enter FOLDER ro|rw TMP COMMAND …
enter() { alone "$top/test/versions/inside.sh" "$@"; }

week=$(date -u +%G%V)
# What a folder depends on; a week later it is another one.
folder() {
	local key
	key=$({ debian_mirror; cat "$top"/test/versions/folders.sh "$top"/test/tools/{packages,release,debian_root,pip_install,moto,openbao}.sh \
		"$top"/test/tools/*_requirements.txt; } | sha256sum | cut -c1-16)
	echo "$cache/$1-$week-$key"
}

# (debootstrap mounts, and leaves that behind when it is killed.  timeout of coreutils 9.10
# cannot be the first process of a namespace.)
bootstrap() {
	local release=$1 root=$2 mirror security
	mirror=$(debian_mirror) security=$(debian_mirror -security)
	rm -rf --one-file-system "$root"
	alone bash -c 'timeout 600 debootstrap "$@"; exit $?' _ \
		--variant=minbase "$release" "$root" ${mirror:+"$mirror"} || return
	if [ "$release" != sid ]; then
		sed -i "s/^\(deb [^ ]* \)$release main\$/&\n\1$release-updates main/" "$root/etc/apt/sources.list"
		[ -z "$security" ] || echo "deb $security $release-security main" >>"$root/etc/apt/sources.list"
	fi
	echo 'Acquire::Retries "5";' >"$root/etc/apt/apt.conf.d/80retries"
	# Nothing that is installed starts anything.
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	debian_network "$root"
}

# Packages and what comes from PyPI.
furnish() {
	local root=$1 tmp
	tmp=$(mktemp -d "$work/furnish.XXXXXX")
	mkdir -p "$tmp/tree/test"
	cp -R "$top/test/tools" "$tmp/tree/test/"
	enter "$root" rw "$tmp" bash -c 'timeout 900 bash -euc "$0"; exit $?' 'cd /tmp/tree
		apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq -y dist-upgrade
		test/tools/packages.sh functional; test/tools/moto.sh; test/tools/openbao.sh; apt-get clean' || return
	rm -rf --one-file-system "$tmp"
}

# Makes RELEASE's folder if it is not there; three tries, since mirrors have bad minutes, but
# none after a quarter of an hour.  Others may use it at the same time, and none removes it
# before we end or prepare the next.
prepare() {
	local release=$1 root log=$logs/$1-prepare.log try old from=$SECONDS
	root=$(folder "$release")
	exec 9>"$cache/lock-$release"
	flock -s 9
	: >"$log"
	[ ! -d "$root" ] || return 0
	flock 9
	make_folder && flock -s 9
}

# For prepare(), whose variables it uses.
make_folder() {
	for try in 1 2 3; do
		[ ! -d "$root" ] || return 0
		if { bootstrap "$release" "$root.new" && furnish "$root.new"; } >>"$log" 2>&1; then
			mv "$root.new" "$root"
			for old in "$cache/$release"-*; do
				[ "$old" = "$root" ] || rm -rf --one-file-system "$old"
			done
			return 0
		fi
		echo "making $release: try $try failed" >>"$log"
		rm -rf --one-file-system "$root.new"
		[ $((SECONDS - from)) -lt 900 ] || break
		[ "$try" = 3 ] || sleep 10
	done
	return 1
}
