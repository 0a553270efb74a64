#!/usr/bin/env bash
# "make bench-kms": what the way to a key service costs, against a stub whose answers take
# 10 ms.  Builds, starts one throwaway server, and hands over to bench_kms.py.
# usage: bench_kms.sh
#	BENCH_QUICK=1	few data keys: shows that the program works, not how fast anything is
#	BENCH_OUTPUT=DIR	where kms.txt and kms.tsv go (default: build/bench)
#	PGE_BINDIR=DIR	a server with the extension installed, instead of building one
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../../.." && pwd)
# shellcheck source=test/tools/lib.sh
. "$top/test/tools/lib.sh"
pg_config=${PG_CONFIG:-pg_config}
output=${BENCH_OUTPUT:-$top/build/bench}
"$top/test/tools/packages.sh" bench
dir=$(mktemp -d "${TMPDIR:-/tmp}/pg_envelope-bench-kms.XXXXXX")
log=$dir/bench.log
started=

exec 3>&2		# for finish, which may begin where standard error is the log
finish() {
	local status=$?
	trap - EXIT INT TERM
	[ -z "$started" ] || pge_as_server_user "$bin/pg_ctl" -D "$dir/data" -w -m fast stop >/dev/null 2>&1 || true
	if [ "$status" != 0 ]; then
		tail -n 15 "$log" "$dir/data/server.log" >&3 2>/dev/null || true
		echo "bench-kms: ended with status $status" >&3
	fi
	rm -rf "$dir"
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

logged() { "$@" >>"$log" 2>&1; }

build_stub() {
	local warnings=(-D_GNU_SOURCE -O2 -Wall -Wextra -Werror)
	cc "${warnings[@]}" -o "$dir/stub" "$here"/stub{,_calls,_vault,_aws,_seal}.c -lssl -lcrypto -ljansson &&
		cc "${warnings[@]}" -o "$dir/load" "$here/load.c" -lssl -lcrypto -lpthread &&
		openssl req -x509 -newkey rsa:2048 -nodes -keyout "$dir/stub.key" -out "$dir/stub.pem" -days 2 \
			-subj /CN=stub -addext subjectAltName=IP:127.0.0.1
}

echo "bench-kms: builds, then measures; takes some minutes on a quiet machine" >&2
chmod 711 "$dir"
mkdir -p "$output"
mkdir "$dir/run"
if [ -n "${PGE_BINDIR:-}" ]; then
	root=${PGE_BINDIR%"$(pge_bindir)"}
else
	root=$dir/root
	mkdir "$root"
	logged "$top/test/tools/private_server.sh" "$root" "$pg_config"
fi
logged build_stub
bin=$root$(pge_bindir)

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
echo 'the token of the stub' | tr ' ' - >"$dir/token"
chmod 600 "$dir/token"
for kind in batches one; do
	cat <<INI
[vault $kind]
address = https://127.0.0.1:$port
ca_file = $dir/stub.pem
auth = token_file
token_file = $dir/token
allow_keys = transit/keys/$kind*
INI
	if [ "$kind" = one ]; then echo "batch_size = 1"; fi
done >"$dir/kms.conf"
printf '%s\n' '[default]' 'aws_access_key_id = AKIAOFTHESTUB' 'aws_secret_access_key = of-the-stub' >"$dir/credentials"
chmod 600 "$dir/credentials"
cat >>"$dir/kms.conf" <<INI
[aws stub]
region = eu-west-1
endpoint = https://127.0.0.1:$port
ca_file = $dir/stub.pem
auth = profile:default
credentials_file = $dir/credentials
allow_keys = arn:aws:kms:eu-west-1:111122223333:key/*
INI
if [ "$(id -u)" = 0 ]; then chown "$(pge_server_user)" "$dir" "$dir/run" "$dir/token" "$dir/credentials" "$dir/kms.conf"; fi
logged pge_as_server_user "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 -N
printf '%s\n' "port = 5432" "listen_addresses = ''" "unix_socket_directories = '$dir/run'" "autovacuum = off" \
	"max_connections = 550" "shared_buffers = '256MB'" "max_wal_size = '4GB'" "shared_preload_libraries = 'pg_envelope'" \
	"pg_envelope.harden_backends = off" "pg_envelope.cache_size = 4096" "pg_envelope.kms_timeout = 60s" \
	"pg_envelope.kms_config_file = '$dir/kms.conf'" |
	pge_as_server_user tee -a "$dir/data/postgresql.conf" >/dev/null
started=yes
logged pge_as_server_user "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w start

BENCH_DIR=$dir BENCH_BIN=$bin BENCH_STUB_PORT=$port PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$top/test/bench \
	python3 "$here/bench_kms.py" "$top" "$output"
