#!/usr/bin/env bash
# A throwaway cluster with the extension preloaded, for trying things by hand.
# usage: scratch.sh start DIR [setting=value …] | psql DIR [psql arguments] | restart DIR | stop DIR
# As root the server runs as the user postgres.  PGE_SERVER_BINDIR: use the server
# there (extension already installed) instead of making a private one in DIR.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
verb=$1 dir=$2; shift 2
pg_config=${PG_CONFIG:-pg_config}
bin=${PGE_SERVER_BINDIR:-$dir/root$($pg_config --bindir)}
as() { if [ "$(id -u)" = 0 ]; then (cd / && setpriv --reuid=postgres --regid=postgres --init-groups env HOME="$dir" "$@"); else "$@"; fi; }
case $verb in
start)
	mkdir -p "$dir"
	if [ -z "${PGE_SERVER_BINDIR:-}" ]; then
		mkdir -p "$dir/root"
		"$here/private_server.sh" "$dir/root" "$pg_config" >/dev/null
	fi
	if [ ! -d "$dir/data" ]; then
		mkdir -p "$dir/run"
		mkdir -m 700 -p "$dir/keyring"
		if [ "$(id -u)" = 0 ]; then chown postgres "$dir" "$dir/run" "$dir/keyring"; fi
		as "$bin/pg_envelope_agent" keyring create --test --keyring "$dir/keyring/keyring" >"$dir/run/keyring.log"
		as "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 -N >"$dir/run/initdb.log"
		{
			echo "shared_preload_libraries = 'pg_envelope'"
			echo "listen_addresses = ''"
			echo "unix_socket_directories = '$dir/run'"
			echo "fsync = off"
			echo "pg_envelope.keyring_file = '$dir/keyring/keyring'"
			for s in "$@"; do echo "$s"; done
		} | as tee -a "$dir/data/postgresql.conf" >/dev/null
	fi
	as "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w start >&2 ;;
psql) as "$bin/psql" -X -h "$dir/run" -U postgres "$@" ;;
restart) as "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w -m fast restart >&2 ;;
stop) as "$bin/pg_ctl" -D "$dir/data" -w -m fast stop >&2 ;;
esac
