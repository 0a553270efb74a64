#!/usr/bin/env bash
# Seal and open at 11 bytes beside the yardstick and pgcrypto, in one run.
# Each figure: nanoseconds per value of "SELECT count(f(v)) FROM t" less the
# scan without f, one session, no parallel workers; median, minimum and maximum
# of ROUNDS interleaved rounds.
# usage: bench.sh [ROWS [ROUNDS]]
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/test/tools/lib.sh"
rows=${1:-200000} rounds=${2:-5}
pge_ensure_packages
dir=$(mktemp -d "${TMPDIR:-/tmp}/pg_envelope-bench.XXXXXX")
log=$dir/bench.log
server_running=
finish() {
	[ -z "$server_running" ] || pge_as_server_user "$bin/pg_ctl" -D "$dir/data" -w -m fast stop >/dev/null 2>&1 || true
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM
chmod 711 "$dir"; mkdir "$dir/root" "$dir/run"
"$top/test/tools/private_server.sh" "$dir/root" >"$log" 2>&1
bin=$dir/root$(pge_bindir)
cc -O2 -fPIC -shared -isystem "$("${PG_CONFIG:-pg_config}" --includedir-server)" -o "$dir/root$("${PG_CONFIG:-pg_config}" --pkglibdir)/yardstick.so" "$top/test/bench/yardstick.c" -lcrypto
if [ "$(id -u)" = 0 ]; then chown "$(pge_server_user)" "$dir" "$dir/run"; fi
pge_as_server_user "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >>"$log" 2>&1
pge_as_server_user tee -a "$dir/data/postgresql.conf" >/dev/null <<CONF
shared_preload_libraries = 'pg_envelope'
listen_addresses = ''
unix_socket_directories = '$dir/run'
shared_buffers = '512MB'
autovacuum = off
jit = off
max_parallel_workers_per_gather = 0
CONF
pge_as_server_user "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w start >>"$log" 2>&1
server_running=yes
q() { pge_as_server_user "$bin/psql" -XAtq -h "$dir/run" -U postgres -d postgres -v ON_ERROR_STOP=1 "$@"; }

q >>"$log" 2>&1 <<SQL
CREATE EXTENSION pg_envelope;
CREATE EXTENSION pgcrypto;
CREATE FUNCTION yardstick_noop(text) RETURNS text AS 'yardstick' LANGUAGE C VOLATILE;
CREATE FUNCTION yardstick_seal_xaes(text) RETURNS bytea AS 'yardstick' LANGUAGE C VOLATILE;
CREATE FUNCTION yardstick_open_xaes(bytea) RETURNS text AS 'yardstick' LANGUAGE C VOLATILE;
CREATE FUNCTION yardstick_seal_gcm(text) RETURNS bytea AS 'yardstick' LANGUAGE C VOLATILE;
CREATE FUNCTION yardstick_open_gcm(bytea) RETURNS text AS 'yardstick' LANGUAGE C VOLATILE;
SELECT envelope_create_kek('main');
SELECT envelope_create_key('xaes', 'main');
SELECT envelope_create_key('gcm', 'main', 'AES256_GCM');
CREATE TABLE t AS SELECT v, v::bytea AS b, envelope_encrypt(v, 'xaes') AS xaes, envelope_encrypt(v, 'gcm') AS gcm,
	yardstick_seal_xaes(v) AS yxaes, yardstick_seal_gcm(v) AS ygcm,
	encrypt_iv(v::bytea, '0123456789abcdef0123456789abcdef', '0123456789abcdef', 'aes') AS raw
	FROM (SELECT to_char(100000000 + n, 'FM000"-"00"-"0000') AS v FROM generate_series(1, $rows) n) x;
CREATE TABLE p AS SELECT v, pgp_sym_encrypt(v, 'passphrase') AS pgp FROM t LIMIT 2000;
VACUUM ANALYZE t;
SQL

names=(); exprs=(); tables=()
add() { names+=("$1"); exprs+=("$2"); tables+=("${3:-t}"); }
add "scan alone" "v"
add "scan alone, PGP table" "v" p
add "no-op C function" "yardstick_noop(v)"
add "seal: yardstick XAES, key per value" "yardstick_seal_xaes(v)"
add "seal: yardstick GCM, one key" "yardstick_seal_gcm(v)"
add "seal: ours, XAES_256_GCM" "envelope_encrypt(v, 'xaes')"
add "seal: ours, AES256_GCM" "envelope_encrypt(v, 'gcm')"
add "seal: pgcrypto encrypt_iv (no tag)" "encrypt_iv(b, '0123456789abcdef0123456789abcdef', '0123456789abcdef', 'aes')"
add "seal: pgcrypto PGP" "pgp_sym_encrypt(v, 'passphrase')" p
add "open: yardstick XAES, key per value" "yardstick_open_xaes(yxaes)"
add "open: yardstick GCM, one key" "yardstick_open_gcm(ygcm)"
add "open: ours, XAES_256_GCM" "envelope_decrypt(xaes, 'xaes')"
add "open: ours, AES256_GCM" "envelope_decrypt(gcm, 'gcm')"
add "open: pgcrypto decrypt_iv (no tag)" "decrypt_iv(raw, '0123456789abcdef0123456789abcdef', '0123456789abcdef', 'aes')"
add "open: pgcrypto PGP" "pgp_sym_decrypt(pgp, 'passphrase')" p

# One session: the same backend warms up once, then runs every round.
{
	for i in "${!exprs[@]}"; do echo "SELECT count(${exprs[i]}) FROM ${tables[i]};"; done	# warm up
	echo '\timing on'
	for r in $(seq "$rounds"); do for i in "${!exprs[@]}"; do
		echo "\\echo case $i"; echo "SELECT count(${exprs[i]}) FROM ${tables[i]};"
	done; done
} | q >"$dir/times" 2>>"$log"

echo "what: count(f(v)) over $rows values of 11 bytes, less the scan; $rounds interleaved rounds, one session, no parallelism, no JIT"
echo "on:   $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores; PostgreSQL $("$bin/postgres" --version | awk '{print $3}'); $(openssl version | cut -d' ' -f1,2); cores awake (a busy loop of queries)"
printf '%s\n' "${names[@]}" >"$dir/names"
awk -v rows="$rows" '
	FNR == NR {name[n++] = $0; next}
	$1 == "case" {c = $2} $1 == "Time:" {t[c, ++k[c]] = $2 * 1e6}
	function rowsof(c) { return name[c] ~ /PGP/ ? 2000 : rows }
	function sorted(c, a,   i, j, x, base) {
		base = name[c] ~ /PGP/ ? 1 : 0
		for (i = 1; i <= k[c]; i++) { a[i] = (t[c, i] - (c > 1 ? t[base, i] : 0)) / rowsof(c) }
		for (i = 2; i <= k[c]; i++) { x = a[i]; for (j = i - 1; j >= 1 && a[j] > x; j--) a[j + 1] = a[j]; a[j + 1] = x }
	}
	END {
		printf "%-40s %10s %10s %10s  ns per value\n", "", "median", "min", "max"
		for (c = 0; c < n; c++) {
			sorted(c, a); m[c] = a[int((k[c] + 1) / 2)]
			printf "%-40s %10.0f %10.0f %10.0f\n", name[c], m[c], a[1], a[k[c]]; delete a
		}
		printf "seal: ours XAES is yardstick %+.0f ns, 1/%.1f of pgcrypto raw, 1/%.0f of PGP\n", m[5] - m[3], m[7] / m[5], m[8] / m[5]
		printf "seal: ours GCM is yardstick %+.0f ns\n", m[6] - m[4]
		printf "open: ours XAES is yardstick %+.0f ns, 1/%.1f of pgcrypto raw, 1/%.0f of PGP\n", m[11] - m[9], m[13] / m[11], m[14] / m[11]
		printf "open: ours GCM is yardstick %+.0f ns\n", m[12] - m[10]
	}' "$dir/names" "$dir/times"
