#!/usr/bin/env bash
# Counts the instructions of one seal and one open in a backend that runs under
# callgrind, and compares them with expected.txt (see there, and counts.py).
# usage: run.sh [--write]		--write: the figures become expected.txt
#
# Deterministic, so a busy machine does not matter.  Takes about 20 s.
#
# SPDX-License-Identifier: PostgreSQL
set -Eeuo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
# shellcheck source=test/tools/lib.sh
. "$top/test/tools/lib.sh"
pg_config=${PG_CONFIG:-pg_config}
rows=500

for needed in valgrind python3; do
	command -v $needed >/dev/null || { echo "skipped: no $needed"; exit 77; }
done
[ -e /usr/include/valgrind/callgrind.h ] || { echo "skipped: no valgrind/callgrind.h"; exit 77; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/pge_instr.XXXXXX")
chmod 755 "$dir"
# Another module comes in: the server is a copy of our own.
bindir=$("$pg_config" --bindir)
if [ -n "${PGE_BINDIR:-}" ]; then
	mkdir "$dir/root"
	cp -R "${PGE_BINDIR%"$bindir"}/." "$dir/root"
else
	"$top/test/tools/private_server.sh" "$dir/root" "$pg_config" >"$dir/build.log" 2>&1
fi
export PGE_SERVER_BINDIR=$dir/root$bindir
scratch() { "$top/test/tools/scratch.sh" "$1" "$dir" "${@:2}"; }
finish() {
	pge_stop_server "$PGE_SERVER_BINDIR" "$dir/data" || true
	rm -rf "$dir"
}
exec 3>&1
failed() {
	trap - ERR
	echo "run.sh failed in line $1; what the server and the programs said:" >&3
	cat "$dir"/*.log "$dir"/*/*.log 2>/dev/null | tail -n 40 >&3
}
trap 'failed $LINENO' ERR
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

gcc -O2 -fPIC -shared -Wall -Werror -isystem "$("$pg_config" --includedir-server)" \
	-o "$dir/root$("$pg_config" --pkglibdir)/meter.so" "$here/meter.c"
scratch start autovacuum=off jit=off max_parallel_workers_per_gather=0 >>"$dir/build.log" 2>&1
mkdir -m 777 "$dir/counts"

"$here/counts.py" sql-prepare "$rows" | scratch psql -q -v ON_ERROR_STOP=1 >>"$dir/build.log" 2>&1
scratch stop >/dev/null 2>&1

# The same server again, now under callgrind (whose own files need a place to write).
cat >"$dir/postgres" <<VALGRIND
#!/bin/sh
cd '$dir/counts' && TMPDIR='$dir/counts' exec valgrind --tool=callgrind --quiet --instr-atstart=no \\
	--trace-children=yes --trace-children-skip='*agent*,/proc/self/fd/*,/dev/fd/*,/bin/*,/usr/bin/*' \\
	--callgrind-out-file='$dir/counts/out.%p' '$PGE_SERVER_BINDIR/postgres' "\$@"
VALGRIND
chmod 755 "$dir/postgres"
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else "$@"; fi; }
as "$PGE_SERVER_BINDIR/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w -t 180 -p "$dir/postgres" start >>"$dir/build.log" 2>&1
"$here/counts.py" sql-measure "$rows" | scratch psql -q -v ON_ERROR_STOP=1 >"$dir/measure.log" 2>&1
# (callgrind writes once more when the server has told that it is gone)
pge_stop_server "$PGE_SERVER_BINDIR" "$dir/data"

# What OpenSSL and libc choose their code by, as far as valgrind plays it.
processor=$(grep -m1 '^flags' /proc/cpuinfo | tr ' ' '\n' | grep -xE 'aes|pclmulqdq|ssse3|avx|avx2|bmi2|movbe|adx|sha_ni|erms' | sort | tr '\n' ' ' || true)
server=$("$PGE_SERVER_BINDIR/postgres" --version | sed -E 's/.* ([0-9]+)(\.[0-9]+)?.*/\1/')
trap - ERR
"$here/counts.py" "${1:---check}" "$rows" "$dir/counts" "$here/expected.txt" \
	"gcc $(gcc -dumpversion), PostgreSQL $server" "OpenSSL $(openssl version | cut -d' ' -f2), ${processor% }"
