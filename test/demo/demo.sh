#!/usr/bin/env bash
# The main job, shown on a million rows: seal on the way in, open, look for
# leaks, rotate the KEK and a DEK, lose the agent.  Every claim prints the SQL
# that proves it and ends PASS or FAIL; one FAIL makes the exit status 1.
# usage: demo.sh start [ROWS [TENANTS]] | stop
#	KMS=openbao		the rotation goes from the local keyring into a real OpenBao
#
# SPDX-License-Identifier: PostgreSQL
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/test/tools/lib.sh"

dir=${TMPDIR:-/tmp}/pg_envelope-demo-$(id -un)
log=$dir/demo.log
fails=0
worker= finished=
kms=${KMS:-local}
. "$top/test/demo/openbao.sh"

bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
say() { printf '   %s\n' "$*"; }
now() { printf '%s' "${EPOCHREALTIME/./}"; }		# microseconds
psql_run() { pge_as_server_user "$bin/psql" -XAtq -h "$dir/run" -U postgres -d demo -v ON_ERROR_STOP=1 "$@"; }
q() { psql_run -c "$1" 2>>"$log"; }

verdict() {			# verdict TITLE GOT WANTED
	if [ "$2" = "$3" ]; then printf '   \033[32mPASS\033[0m  %s\n' "$1"
	else printf '   \033[31mFAIL\033[0m  %s: got "%s", wanted "%s"\n' "$1" "$2" "$3"; fails=$((fails + 1)); fi
}
claim() {			# claim TITLE SQL WANTED
	local got
	printf '%s\n' "$2" | sed 's/^/   | /'
	got=$(q "$2") || got="(error; see $log)"
	say "→ $got"
	verdict "$1" "$got" "$3"
}
holds() {			# holds TITLE TEXT COMMAND...: a claim proved by a command
	local title=$1 text=$2; shift 2
	if "$@" >>"$log" 2>&1; then verdict "$title" "$text" "$text"; else verdict "$title" "no" "$text"; fi
}

stop_demo() {
	[ -d "$dir" ] || return 0
	[ -f "$dir/.pg_envelope-demo" ] || { echo "demo: $dir exists and is not ours; remove it yourself" >&2; exit 1; }
	pge_stop_server "$dir/root$(pge_bindir)" "$dir/data" || exit 1
	bao_stop || exit 1
	rm -rf "$dir" || exit 1
}
clean_up() {			# leaves the cluster running only after a whole run
	local status=$?
	trap - EXIT
	trap '' INT TERM
	if [ -z "$finished" ]; then
		if [ -n "$worker" ]; then kill -TERM -- "-$worker" 2>/dev/null || true; wait "$worker" || true; fi
		[ ! -f "$log" ] || { echo; echo "demo: stopped; the end of its log:"; tail -n 15 "$log"; }
		[ ! -s "$dir/stopped" ] || kill -CONT "$(cat "$dir/stopped")" 2>/dev/null || true
		stop_demo
	fi
	exit "$status"
}

start_cluster() {
	mkdir -p "$dir/root" "$dir/run" "$dir/export"
	chmod 711 "$dir"; chmod 700 "$dir/run" "$dir/export"
	"$top/test/tools/private_server.sh" "$dir/root" "${PG_CONFIG:-pg_config}" >>"$log" 2>&1
	# The server's user owns the folder: its keyring lies beside the data directory.
	if [ "$(id -u)" = 0 ]; then chown "$(pge_server_user)" "$dir" "$dir/run" "$dir/export"; fi
	pge_as_server_user "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >>"$log" 2>&1
	pge_as_server_user tee -a "$dir/data/postgresql.conf" >/dev/null <<CONF
shared_preload_libraries = 'pg_envelope'
listen_addresses = ''
unix_socket_directories = '$dir/run'
shared_buffers = '256MB'
max_wal_size = '4GB'
wal_keep_size = '8GB'
log_statement = 'all'
CONF
	if [ "$kms" = openbao ]; then
		bao_start
		bao_configuration >"$dir/kms.conf"
		if [ "$(id -u)" = 0 ]; then chown "$(pge_server_user)" "$dir/kms.conf"; fi
		echo "pg_envelope.kms_config_file = '$dir/kms.conf'" | pge_as_server_user tee -a "$dir/data/postgresql.conf" >/dev/null
	fi
	pge_as_server_user "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w start >>"$log" 2>&1
	pge_as_server_user "$bin/createdb" -h "$dir/run" -U postgres demo
}

load() {
	bold "1. Load $rows customers of $tenants tenants, sealed on the way in"
	perl "$top/test/demo/customers.pl" "$rows" "$tenants" >"$dir/customers.csv"
	local schema
	schema=$(cat <<'SQL'
CREATE EXTENSION pg_envelope;
SELECT envelope_create_kek('main');
CREATE TABLE customers (id bigint PRIMARY KEY, tenant text NOT NULL, name text NOT NULL,
    ssn bytea CHECK (envelope_is_encrypted(ssn)));
CREATE VIEW customers_in AS SELECT id, tenant, name, NULL::text AS ssn FROM customers;
CREATE FUNCTION seal_customer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO customers VALUES (NEW.id, NEW.tenant, NEW.name,
        envelope_encrypt(NEW.ssn, NEW.tenant, envelope_bind('customers.ssn', NEW.id::text)));
    RETURN NEW;
END $$;
CREATE TRIGGER seal INSTEAD OF INSERT ON customers_in FOR EACH ROW EXECUTE FUNCTION seal_customer();
SQL
)
	printf '%s\n' "$schema" | sed 's/^/   | /'
	psql_run -c "$schema" >>"$log" 2>&1
	local sql="SELECT count(envelope_create_key('tenant-' || to_char(n, 'FM0000'), 'main')) FROM generate_series(1, $tenants) n"
	claim "every tenant has a key" "$sql" "$tenants"
	say "| COPY customers_in FROM STDIN (FORMAT csv)"
	local t0 t1
	t0=$(now)
	psql_run -c "COPY customers_in FROM STDIN (FORMAT csv)" <"$dir/customers.csv" >>"$log" 2>&1
	t1=$(now)
	load_us=$((t1 - t0))
	claim "every row is there" "SELECT count(*) FROM customers" "$rows"
	claim "NULL stays NULL" "SELECT count(*) FROM customers WHERE ssn IS NULL" "$(awk -F, '$4 == ""' "$dir/customers.csv" | wc -l)"
	claim "the SSN column holds sealed values and nothing else" \
		"SELECT count(*) FROM customers WHERE ssn IS NOT NULL AND NOT envelope_is_encrypted(ssn)" "0"
}

# What the CSV says, in the shape of the SQL below.
csv_digest() {			# csv_digest [TENANT]
	perl -MDigest::MD5 -F, -lane '
		BEGIN { $want = shift @ARGV; $md5 = Digest::MD5->new; $sep = "" }
		next if $want ne "" && $F[1] ne $want;
		$ssn = defined $F[3] && $F[3] ne "" ? $F[3] : "(null)";
		$ssn = "" if $ssn eq "\"\"";
		$md5->add($sep, $F[0], "|", $ssn); $sep = ",";
		END { print $md5->hexdigest }' "${1:-}" "$dir/customers.csv"
}
open_sql() {			# open_sql WHERE
	cat <<SQL
SELECT md5(string_agg(id || '|' || coalesce(
           envelope_decrypt(ssn, tenant, envelope_bind('customers.ssn', id::text)), '(null)'), ',' ORDER BY id))
FROM customers $1
SQL
}

open_values() {
	bold "2. Open what was sealed"
	local id
	for id in 7 89 97 100; do
		claim "row $id opens to what the CSV has" \
			"SELECT coalesce(envelope_decrypt(ssn, tenant, envelope_bind('customers.ssn', id::text)), '(null)') FROM customers WHERE id = $id" \
			"$(awk -F, -v id=$id 'NR == id {v = $4; if (v == "") v = "(null)"; if (v == "\"\"") v = ""; print v; exit}' "$dir/customers.csv")"
	done
	claim "a whole tenant opens to what the CSV has (digest)" "$(open_sql "WHERE tenant = 'tenant-0001'")" "$(csv_digest tenant-0001)"
	local t0 t1 t2
	t0=$(now); q "SELECT count(octet_length(ssn)) FROM customers" >>"$log"; t1=$(now)
	q "SELECT count(envelope_decrypt(ssn, tenant, envelope_bind('customers.ssn', id::text))) FROM customers" >>"$log"; t2=$(now)
	open_us=$((t2 - t1 - (t1 - t0)))
	claim "every value of every tenant opens to what the CSV has (digest)" "$(open_sql "")" "$(csv_digest)"
	claim "bytes of one row do not open in another" \
		"DO \$\$ BEGIN PERFORM envelope_decrypt(a.ssn, a.tenant, envelope_bind('customers.ssn', '2')) FROM customers a WHERE id = 1;
  RAISE 'opened'; EXCEPTION WHEN SQLSTATE 'KE001' THEN NULL; END \$\$; SELECT 'refused with KE001'" "refused with KE001"
}

look_for_leaks() {
	bold "3. Look for 1,000 of the SSNs where an attacker would"
	awk -F, '$4 ~ /^[0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][0-9][0-9]$/' "$dir/customers.csv" |
		perl -F, -lane 'BEGIN { srand 1; $n = 0 } $n++; if (@s < 1000) { push @s, $F[3] } elsif (rand($n) < 1000) { $s[rand @s] = $F[3] } END { print for @s }' >"$dir/ssns"
	sed -n '500p' "$dir/customers.csv" | cut -d, -f3 >"$dir/control"
	q "CHECKPOINT"
	pge_as_server_user "$bin/pg_dump" -h "$dir/run" -U postgres demo -f "$dir/export/demo.sql"
	say "sampled: $(wc -l <"$dir/ssns") SSNs; looked for as text, hex and base64 (all alignments); control: the name \"$(cat "$dir/control")\""
	local place path
	for place in "data files:$dir/data/base" "WAL:$dir/data/pg_wal" "dump:$dir/export" "server log:$dir/data/server.log"; do
		path=${place#*:}
		say "| test/tools/canary_scan.pl ssns $path"
		local out=0 text
		text=$(perl "$top/test/tools/canary_scan.pl" "$dir/ssns" "$path" 2>>"$log") || out=$?
		say "→ $(tail -n 1 <<<"$text")"
		verdict "${place%%:*}: no SSN" "$out" "0"
		if [ "$place" != "server log:$dir/data/server.log" ]; then
			out=0; perl "$top/test/tools/canary_scan.pl" "$dir/control" "$path" >>"$log" 2>&1 || out=$?
			verdict "${place%%:*}: the control is found, so the scan can find things" "$out" "1"
		fi
	done
	local out=0
	echo "FROM STDIN (FORMAT csv)" >"$dir/control-log"
	perl "$top/test/tools/canary_scan.pl" "$dir/control-log" "$dir/data/server.log" >>"$log" 2>&1 || out=$?
	verdict "server log: the control (our COPY statement) is found" "$out" "1"
	out=0; perl "$top/test/tools/canary_scan.pl" "$dir/ssns" "$dir/customers.csv" >>"$log" 2>&1 || out=$?
	verdict "the CSV itself: the SSNs are found" "$out" "1"
}

digest_sql="SELECT pg_relation_filenode('customers') || ' ' || md5(string_agg(md5(ctid::text || ' ' || xmin::text || ' ' || coalesce(encode(ssn, 'hex'), '')), '' ORDER BY id)) FROM customers"

rotate_kek() {
	local before lsn wal t0 t1 calls_from=0
	if [ "$kms" = openbao ]; then
		bold "4. Rotate the KEK into OpenBao: $tenants data keys are wrapped anew, no row of customers is touched"
		sed 's/^/   | /' "$dir/kms.conf"
		claim "OpenBao's KEK is taken, after it wrapped and unwrapped" \
			"SELECT envelope_create_kek('next', 'openbao://demo')" "vault://127.0.0.1:$bao_port/transit/keys/demo"
		calls_from=$(bao_log_size)
	else
		bold "4. Rotate the KEK: $tenants data keys are wrapped anew, no row of customers is touched"
		q "SELECT envelope_create_kek('next')" >>"$log"
	fi
	before=$(q "$digest_sql")
	lsn=$(q "SELECT pg_current_wal_insert_lsn()")
	t0=$(now)
	claim "every DEK is under the new KEK" "SELECT outcome || ' ' || count(*) FROM rewrap_all('main', 'next') GROUP BY outcome" "rewrapped $tenants"
	t1=$(now)
	wal=$(q "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$lsn')")
	rewrap_ms=$(((t1 - t0) / 1000)) rewrap_wal=$wal
	say "$rewrap_ms ms, $wal bytes of WAL for $tenants keys; the table itself has $(q "SELECT pg_size_pretty(pg_table_size('customers'))")"
	claim "ctid, xmin, ssn of every row and the relfilenode are as before" "$digest_sql" "$before"
	claim "the old KEK wraps nothing that lives" "SELECT count(*) FROM envelope.wrapping WHERE kek = 'main' AND wrapped IS NOT NULL" "0"
	if [ "$kms" = openbao ]; then look_at_calls "$calls_from"; fi
	claim "and every value still opens" "$(open_sql "")" "$(csv_digest)"
}

look_at_calls() {		# look_at_calls FROM: what OpenBao's audit log shows of the rotation
	local calls path requests keys
	calls=$(bao_calls "$1")
	say "| $bao_dir/audit.log, by the agent's role:"
	while read -r path requests keys; do say "→ $path: $requests requests, $keys data keys"; done <<<"$calls"
	verdict "its audit log shows that every data key was wrapped there, once" "$(awk '$1 == "transit/encrypt/demo" {print $3}' <<<"$calls")" "$tenants"
	verdict "and unwrapped again before it was stored" "$(awk '$1 == "transit/decrypt/demo" {print $3}' <<<"$calls")" "$tenants"
	claim "and no table holds a KEK of it, only its name" "SELECT uri FROM envelope.kek WHERE name = 'next'" "vault://127.0.0.1:$bao_port/transit/keys/demo"
}

rotate_dek() {
	bold "5. Rotate one tenant's DEK"
	claim "tenant-0002 seals with version 2 from now on" "SELECT envelope_rotate_key('tenant-0002')" "2"
	claim "its old values open as before" "$(open_sql "WHERE tenant = 'tenant-0002'")" "$(csv_digest tenant-0002)"
	claim "a new value has version 2, a value of yesterday version 1" \
		"SELECT string_agg(v::text, ' ') FROM (SELECT (envelope_key_info(envelope_encrypt('x', 'tenant-0002'))).version AS v
  UNION ALL SELECT (envelope_key_info(ssn)).version FROM customers WHERE id = 2) x" "2 1"
	claim "envelope_reencrypt moves a value to version 2 when you want it to" \
		"SELECT (envelope_key_info(envelope_reencrypt(ssn, tenant, envelope_bind('customers.ssn', id::text)))).version FROM customers WHERE id = 2" "2"
}

lose_agent() {
	bold "6. Kill the agent: cached keys go on, cold ones wait for its return"
	pge_as_server_user "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w -m fast restart >>"$log" 2>&1
	claim "after a restart one key is brought into the cache" "SELECT envelope_prewarm(ARRAY['tenant-0003'])" "1"
	local keeper agent want cold_pid state t0 t1
	keeper=$(q "SELECT value FROM envelope_status() WHERE name = 'keeper_pid'")
	agent=$(q "SELECT value FROM envelope_status() WHERE name = 'agent_pid'")
	say "| kill -STOP $keeper (the keeper, so that it does not start another at once); kill -9 $agent (the agent)"
	echo "$keeper" >"$dir/stopped"		# whoever cleans up must wake it
	kill -STOP "$keeper"; kill -9 "$agent"
	claim "cached: a value of tenant-0003 opens without an agent" \
		"SELECT envelope_decrypt(ssn, tenant, envelope_bind('customers.ssn', id::text)) FROM customers WHERE id = 3" "$(awk -F, 'NR == 3 {print $4}' "$dir/customers.csv")"
	want=$(awk -F, 'NR == 4 {print $4}' "$dir/customers.csv")
	local sql="SELECT envelope_decrypt(ssn, tenant, envelope_bind('customers.ssn', id::text)) FROM customers WHERE id = 4"
	say "| $sql"
	t0=$(now)
	q "$sql" >"$dir/cold" & cold_pid=$!
	while :; do				# it ends by itself, if only after kms_timeout
		state=$(q "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND state = 'active'")
		[ "$state" = 0 ] || break
		kill -0 $cold_pid 2>/dev/null || break
	done
	verdict "cold: a value of tenant-0004 waits" "$state" "1"
	kill -CONT "$keeper"; rm "$dir/stopped"
	wait $cold_pid || true
	t1=$(now)
	verdict "and opens when the agent is back ($(((t1 - t0) / 1000)) ms)" "$(cat "$dir/cold")" "$want"
	claim "another agent is at work" "SELECT value::bigint <> $agent FROM envelope_status() WHERE name = 'agent_pid'" "t"
	say "| grep -c 'terminating any other active server processes' $dir/data/server.log"
	verdict "the server itself was not disturbed" "$(grep -c 'terminating any other active server processes' "$dir/data/server.log" || true)" "0"
}

table() {
	local n value
	n=$(q "SELECT count(ssn) FROM customers")
	value=$(q "SELECT round(avg(octet_length(ssn)), 1) FROM customers WHERE octet_length(ssn) > 45")
	bold "What it cost (this machine, $(nproc) cores, one session)"
	printf '   %-44s %14s\n' "rows" "$rows" "sealed values" "$n" "data keys" "$(q "SELECT count(*) FROM envelope.dek")" \
		"load, CSV to sealed row, per row" "$(awk "BEGIN {printf \"%.2f us\", $load_us / $rows}")" \
		"open, per value, scan subtracted" "$(awk "BEGIN {printf \"%.2f us\", $open_us / $n}")" \
		"bytes of a sealed SSN (45 more than plain)" "$value" \
		"KEK rotation of all keys" "$rewrap_ms ms" "WAL of that rotation" "$rewrap_wal bytes"
}

show() {
	start_cluster
	load; open_values; look_for_leaks; rotate_kek; rotate_dek; lose_agent; table
	rm -f "$dir/customers.csv" "$dir/ssns"		# the only plaintext there was
	[ $fails = 0 ] || exit $some_failed
}

case ${1:-} in
stop) stop_demo; echo "demo: nothing of it is left"; exit 0 ;;
start) ;;
*) echo "usage: demo.sh start [ROWS [TENANTS]] | stop" >&2; exit 2 ;;
esac
case $kms in
local | openbao) ;;
*) echo "demo: KMS=$kms is none that it knows: local, openbao" >&2; exit 2 ;;
esac
rows=${2:-1000000} tenants=${3:-1000} some_failed=20
started=$(now)
if [ "$kms" = openbao ]; then pge_ensure_packages openbao; else pge_ensure_packages; fi
stop_demo
mkdir -m 711 "$dir"; touch "$dir/.pg_envelope-demo"; : >"$log"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
echo "demo: builds, and makes a throwaway cluster run by $(pge_server_user) in $dir; noise goes to $log"
bin=$dir/root$(pge_bindir)

# A job of its own (set -m), so that Ctrl-C comes to us alone, in a wait: bash may
# lose one that comes while it starts a command.
set -m
(set +m; trap - EXIT INT TERM; show) </dev/null &
worker=$!
set +m
status=0
wait "$worker" || status=$?
case $status in
0) verdict="All claims hold" ;;
"$some_failed") verdict="Some claims FAILED" status=1 ;;
*) exit "$status" ;;
esac
finished=yes
bold "$verdict ($((($(now) - started) / 1000000)) s). Try it, then make demo-stop:"
echo "   $([ "$(id -u)" = 0 ] && echo "sudo -u $(pge_server_user) ")$bin/psql -h $dir/run -U postgres demo"
exit $status
