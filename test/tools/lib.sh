# What the demo, the drill, the benchmark and the instruction counts share: who runs the server, and where it is.
# Sourced by bash scripts that have set $top.
#
# SPDX-License-Identifier: PostgreSQL

pge_ensure_packages() { "$top/test/tools/packages.sh" build "$@"; }

pge_bindir() { "${PG_CONFIG:-pg_config}" --bindir; }

# PostgreSQL refuses to run as root.
pge_server_user() { if [ "$(id -u)" = 0 ]; then echo postgres; else id -un; fi; }

pge_as_server_user() {
	if [ "$(id -u)" = 0 ]; then
		(cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/ "$@")
	else
		"$@"
	fi
}

# pge_stop_server BINDIR DATADIR: also waits for its process, since what that still
# writes would be in rm's way.
pge_stop_server() {
	local pid _
	[ -f "$2/postmaster.pid" ] || return 0
	pid=$(head -n 1 "$2/postmaster.pid")
	pge_as_server_user "$1/pg_ctl" -D "$2" -w -t 30 -m fast stop >/dev/null 2>&1 ||
		pge_as_server_user "$1/pg_ctl" -D "$2" -w -m immediate stop >/dev/null 2>&1 || true
	for _ in $(seq 600); do
		# (a zombie has no command line)
		[ -n "$(tr -d '\0' 2>/dev/null <"/proc/$pid/cmdline" || true)" ] || return 0
		sleep 0.1
	done
	echo "the server (PID $pid) does not stop" >&2
	return 1
}
