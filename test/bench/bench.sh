#!/usr/bin/env bash
# "make bench": what pg_envelope costs beside the cipher alone, a yardstick and
# pgcrypto, and whether its targets are held.  Builds, starts three throwaway
# servers, and hands over to bench.py.  Method and reading: README.md here.
# usage: bench.sh
#	BENCH_QUICK=1	every row with few repetitions, under a minute: shows that
#					the program works, not how fast anything is
#	BENCH_OUTPUT=DIR	where table.txt, plot.svg and measurements.tsv go (default: build/bench)
#	PGE_BINDIR=DIR	a server with the extension installed, instead of building one
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=test/tools/lib.sh
. "$top/test/tools/lib.sh"
pg_config=${PG_CONFIG:-pg_config}
output=${BENCH_OUTPUT:-$top/build/bench}
"$top/test/tools/packages.sh" bench
dir=$(mktemp -d "${TMPDIR:-/tmp}/pg_envelope-bench.XXXXXX")
log=$dir/bench.log
servers=()

exec 3>&2		# for finish, which may begin where standard error is the log
finish() {
	local status=$? server
	trap - EXIT INT TERM
	for server in "${servers[@]}"; do
		pge_as_server_user "$bin/pg_ctl" -D "$dir/$server" -w -m fast stop >/dev/null 2>&1 || true
	done
	if [ "$status" != 0 ]; then
		tail -n 15 "$log" >&3 || true
		echo "bench: ended with status $status" >&3
	fi
	rm -rf "$dir"
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

logged() { "$@" >>"$log" 2>&1; }

# --- what is measured ------------------------------------------------------

# The product, built to draw a salt for every value: what the refinement that
# keeps a salt for a transaction (src/crypto/aead.c) saves.
build_each_salt() {
	mkdir "$dir/src" "$dir/each-salt"
	tar -C "$top" --exclude='*.o' --exclude='*.so' --exclude='*.d' -cf - Makefile pg_envelope.control src |
		tar -C "$dir/src" -xf -
	make -C "$dir/src" -j2 PG_CONFIG="$pg_config" TEST_CPPFLAGS=-DPGE_XAES_SALT_USES=1 pg_envelope.so
	cp -a "$root/." "$dir/each-salt"
	rm -f "$dir/each-salt$("$pg_config" --pkglibdir)/pg_envelope.so"
	cp "$dir/src/pg_envelope.so" "$dir/each-salt$("$pg_config" --pkglibdir)/"
}

build_yardstick() {
	cc -O2 -Wall -Wextra -Werror -Wno-declaration-after-statement -fPIC -shared -isystem "$("$pg_config" --includedir-server)" \
		-o "$dir/yardstick.so" "$top"/test/bench/{cipher,yardstick,measure}.c -lcrypto
}

echo "bench: builds, then measures; takes some minutes on a quiet machine" >&2
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
logged build_each_salt
logged build_yardstick
bin=$root$(pge_bindir)

# --- the servers -----------------------------------------------------------

if [ "$(id -u)" = 0 ]; then chown "$(pge_server_user)" "$dir" "$dir/run"; fi
logged pge_as_server_user "$bin/initdb" -D "$dir/product" -U postgres -A trust -E UTF8 --locale=C.UTF-8 -N
for server in each_salt without; do
	pge_as_server_user cp -a "$dir/product" "$dir/$server"
done

# start NAME PORT BINDIR [setting = value …]
# (harden_backends would hide from us what memory a backend has.)
start() {
	local name=$1 port=$2 bindir=$3
	shift 3
	printf '%s\n' "port = $port" "listen_addresses = ''" "unix_socket_directories = '$dir/run'" "autovacuum = off" \
		"jit = off" "max_parallel_workers_per_gather = 0" "parallel_setup_cost = 0" "parallel_tuple_cost = 0" \
		"shared_buffers = '512MB'" "max_wal_size = '8GB'" "$@" |
		pge_as_server_user tee -a "$dir/$name/postgresql.conf" >/dev/null
	logged pge_as_server_user "$bindir/pg_ctl" -D "$dir/$name" -l "$dir/$name/server.log" -w start
	servers+=("$name")
}
preload="shared_preload_libraries = 'pg_envelope'" harden="pg_envelope.harden_backends = off"
start product 5432 "$bin" "$preload" "$harden" "pg_envelope.cache_size = 4096"
start each_salt 5433 "$dir/each-salt$(pge_bindir)" "$preload" "$harden"
start without 5434 "$bin"

BENCH_DIR=$dir BENCH_BIN=$bin PYTHONDONTWRITEBYTECODE=1 python3 "$top/test/bench/bench.py" "$top" "$output"
