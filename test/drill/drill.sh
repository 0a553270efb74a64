#!/usr/bin/env bash
# The drill that a backup is for: seals, dumps, wipes, restores and opens, on a throwaway
# cluster.  A PASS for each claim; the first that does not hold is a FAIL that says what to
# do, and the end.  Nothing is left.
# usage: drill.sh [TENANTS [VALUES of each]]
# PGE_SERVER_BINDIR: use the server there (extension already installed), and build nothing.
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/test/tools/lib.sh"
tenants=${1:-20} each=${2:-100} told=
started=$SECONDS

bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
say() { printf '   %s\n' "$*"; }
as() { pge_as_server_user "$@"; }
psql_run() { as "$bin/psql" -XAtq -h "$dir/run" -U postgres -v ON_ERROR_STOP=1 -v VERBOSITY=verbose "$@"; }
q() { psql_run -d app -c "$1" 2>>"$log"; }

pass() { printf '   \033[32mPASS\033[0m  %s\n' "$1"; }
fail() {				# fail TITLE ADVICE
	told=yes
	printf '   \033[31mFAIL\033[0m  %s\n' "$1"
	say "The end of its log:"
	tail -n 8 "$log" | sed 's/^/   | /'
	say "What to do: $2"
	bold "The drill FAILED: what was dumped does not open"
	exit 1
}
holds() {				# holds TITLE ADVICE COMMAND...: shown, and run
	local title=$1 advice=$2; shift 2
	say "| ${*//$bin\//}"
	if as "$@" </dev/null >>"$log" 2>&1; then pass "$title"; else fail "$title" "$advice"; fi
}
same() {				# same TITLE ADVICE GOT WANTED
	if [ "$3" = "$4" ]; then pass "$1"
	else echo "got \"$3\", wanted \"$4\"" >>"$log"; fail "$1" "$2"; fi
}

clean_up() {
	local status=$?
	trap - EXIT
	trap '' INT TERM HUP
	if [ "$status" = 1 ] && [ -z "$told" ]; then
		say "The drill could not be prepared; the end of its log:"
		tail -n 15 "$log" | sed 's/^/   | /'
	fi
	pge_stop_server "$bin" "$dir/data" || exit 1
	rm -rf "$dir"
	exit "$status"
}

start_cluster() {
	as "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 -N >>"$log" 2>&1
	as tee -a "$dir/data/postgresql.conf" >/dev/null <<CONF
shared_preload_libraries = 'pg_envelope'
listen_addresses = ''
fsync = off
unix_socket_directories = '$dir/run'
CONF
	as "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w start >>"$log" 2>&1
}

# Every key table but the oids of roles, and every value as it opens.
keys_sql="SELECT md5(string_agg(line, ',' ORDER BY line COLLATE \"C\")) FROM (
  SELECT t::text AS line FROM envelope.keyring t UNION ALL SELECT t::text FROM envelope.kek t UNION ALL
  SELECT t::text FROM envelope.key t UNION ALL SELECT t::text FROM envelope.dek t UNION ALL
  SELECT t::text FROM envelope.wrapping t UNION ALL SELECT (key_id, role_name, rights)::text FROM envelope.key_grant) x"
open_sql="SELECT count(*) || ' ' || md5(string_agg(envelope_decrypt(ssn, tenant, envelope_bind('customers.ssn', id::text)), ',' ORDER BY id)) FROM customers"
needed_sql="SELECT string_agg(DISTINCT uri || coalesce(':' || kek_version, ''), ' ') FROM envelope.kek LEFT JOIN envelope.wrapping ON kek = name WHERE uri LIKE 'local:%'"

seal() {
	bold "Before: $tenants tenants with $each values each, in a cluster of this drill"
	start_cluster
	psql_run -d postgres -c "CREATE ROLE app_owner LOGIN" -c "CREATE DATABASE app OWNER app_owner" >>"$log" 2>&1
	psql_run -d app -v tenants="$tenants" -v each="$each" >>"$log" 2>&1 <<'SQL'
CREATE EXTENSION pg_envelope;
SELECT envelope_create_kek('old'), envelope_create_kek('main');
SELECT envelope_create_key('tenant-' || n, 'old', CASE n % 2 WHEN 0 THEN 'AES256_GCM' ELSE 'XAES_256_GCM' END) FROM generate_series(1, :tenants) n;
CREATE TABLE customers (id int PRIMARY KEY, tenant text NOT NULL, ssn bytea CHECK (envelope_is_encrypted(ssn)));
ALTER TABLE customers OWNER TO app_owner;
CREATE VIEW drawn AS SELECT i AS id, 'tenant-' || 1 + i / 2 % :tenants AS tenant, to_char(random() * 999999998, 'FM000-00-0000') AS ssn
  FROM generate_series(1, :tenants * :each) i;
INSERT INTO customers SELECT id, tenant, envelope_encrypt(ssn, tenant, envelope_bind('customers.ssn', id::text)) FROM drawn WHERE id % 2 = 0;
SELECT count(*) FROM rewrap_all('old', 'main');
SELECT envelope_rotate_key('tenant-' || n) FROM generate_series(1, :tenants) n;
INSERT INTO customers SELECT id, tenant, envelope_encrypt(ssn, tenant, envelope_bind('customers.ssn', id::text)) FROM drawn WHERE id % 2 = 1;
DROP VIEW drawn;
SQL
	keys=$(q "$keys_sql") values=$(q "$open_sql")
	say "${values% *} sealed values open, under $(q "SELECT count(DISTINCT (envelope_key_info(ssn)).dek_id) FROM customers") data keys of keyring $(q "SELECT uuid FROM envelope.keyring")"
}

dump() {
	local needed tables
	bold "1. Dump"
	holds "the roles are dumped" "look at the message above; pg_dumpall needs a superuser" \
		"$bin/pg_dumpall" -h "$dir/run" -U postgres --globals-only --file="$dir/backup/globals.sql"
	holds "the owner of the database dumps it" "look at the message above; another role needs pg_read_all_data" \
		"$bin/pg_dump" -h "$dir/run" -U app_owner --format=custom --file="$dir/backup/app.dump" app
	tables=$(as "$bin/pg_restore" --list "$dir/backup/app.dump" 2>>"$log" | grep -c ' TABLE DATA envelope ' || true)
	same "the dump has the rows of the six key tables" "dump without -n, -t, -N and -T, or with -e pg_envelope: README, Back up" "$tables" "6"
	holds "the keyring is copied" "look at the message above: README, Back up" \
		"$bin/pg_envelope_agent" keyring backup --keyring "$dir/data.pg_envelope/keyring" "$dir/backup/keyring"
	needed=$(q "$needed_sql")
	# shellcheck disable=SC2086 # words
	holds "the copy has every KEK, and every version of it, that the database needs" "copy the keyring after the dump, not before: README, Back up" \
		"$bin/pg_envelope_agent" keyring check --keyring "$dir/backup/keyring" $needed
}

wipe() {
	bold "2. Wipe"
	pge_stop_server "$bin" "$dir/data" || fail "the server stops" "stop it by hand: pg_ctl -D $dir/data stop"
	holds "data directory and keyring are removed" "look at the message above" rm -r "$dir/data" "$dir/data.pg_envelope"
	same "nothing is left but the copies" "remove what is there" "$(cd "$dir" && find . -type f ! -path './root/*' ! -name drill.log | sort | xargs)" \
		"./backup/app.dump ./backup/globals.sql ./backup/keyring"
}

restore() {
	bold "3. Restore, into a new cluster"
	holds "the keyring is in place" "bring the copy of the keyring: without it nothing opens. README, Lose the keyring" \
		"$bin/pg_envelope_agent" keyring restore --keyring "$dir/data.pg_envelope/keyring" "$dir/backup/keyring"
	start_cluster || fail "the new server starts" "look at the message above"
	# (That role postgres exists is said, and does not matter.)
	holds "the roles are there" "look at the message above" "$bin/psql" -X -q -h "$dir/run" -U postgres -d postgres -f "$dir/backup/globals.sql"
	holds "the database is restored" "restore as a superuser, where no database of that name is: README, Restore" \
		"$bin/pg_restore" -h "$dir/run" -U postgres --create --exit-on-error --jobs=2 --dbname=postgres "$dir/backup/app.dump"
	same "the key tables have the rows that they had, under the same keyring" "restore into an empty database: README, Restore" "$(q "$keys_sql" || true)" "$keys"
}

open_values() {
	local advice="read the SQLSTATE above: KE007 or KE012, bring the copy of the keyring (README, Lose the keyring); KE003, restore the key tables (README, Back up)"
	bold "4. Open, with a cold cache"
	say "| SELECT envelope_decrypt(ssn, tenant, …) FROM customers"
	same "every value opens to what it was" "$advice" "$(q "$open_sql" || true)" "$values"
	same "new values are sealed, and open" "$advice" \
		"$(q "SELECT envelope_decrypt(envelope_encrypt('078-05-1120', 'tenant-1'), 'tenant-1')" || true)" "078-05-1120"
	same "a key gets its next version" "$advice" "$(q "SELECT envelope_rotate_key('tenant-1')" || true)" "3"
}

place=${TMPDIR:-/tmp}
if [ ${#place} -gt 60 ] || ! pge_as_server_user test -x "$place"; then place=/tmp; fi
[ -n "${PGE_SERVER_BINDIR:-}" ] || pge_ensure_packages
dir=$(mktemp -d "$place/pg_envelope-drill.XXXXXX")
bin=${PGE_SERVER_BINDIR:-$dir/root$(pge_bindir)} log=$dir/drill.log
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir "$dir/root" "$dir/run" "$dir/backup"
chmod 711 "$dir"; chmod 700 "$dir/run" "$dir/backup"
: >"$log"
if [ "$(id -u)" = 0 ]; then chown "$(pge_server_user)" "$dir" "$dir/run" "$dir/backup"; fi
echo "drill: makes a throwaway cluster run by $(pge_server_user) in $dir"
[ -n "${PGE_SERVER_BINDIR:-}" ] || "$top/test/tools/private_server.sh" "$dir/root" "${PG_CONFIG:-pg_config}" >>"$log" 2>&1

seal
dump
wipe
restore
open_values
bold "The drill is passed ($((SECONDS - started)) s): what was dumped and wiped opens again; nothing of it is left here"
