# The demo's key service: a real OpenBao on loopback, with TLS and an audit log, whose
# least-privilege role is all that the agent has.  Sourced by demo.sh, which has $top, $dir
# and $log; everything is below $dir/openbao.
#
#	bao_start				it answers, and holds the KEK transit/keys/demo
#	bao_configuration		the lines of pg_envelope.kms_config_file
#	bao_calls FROM			what it was asked since its log had FROM bytes (bao_log_size)
#	bao_stop
#
# SPDX-License-Identifier: PostgreSQL
bao_dir=$dir/openbao

bao() {
	BAO_ADDR=https://127.0.0.1:$bao_port BAO_CACERT=$bao_dir/tls/vault-ca.pem BAO_TOKEN=$bao_token \
		HOME=$bao_dir "$bao_program" "$@"
}

bao_free_port() {
	perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 0, Listen => 1)->sockport'
}

bao_start() {
	local _
	bao_program=$("$top/test/tools/openbao.sh") || { echo "demo: OpenBao cannot be had" >&2; return 1; }
	bao_port=$(bao_free_port)
	bao_token=$(perl -e 'open R, "<:raw", "/dev/urandom" or die; read R, $b, 16; print "root-", unpack "H*", $b')
	mkdir -m 755 "$bao_dir" "$bao_dir/tls"
	(umask 077 && : >"$bao_dir/log")		# its root token stands there
	printf 'audit "file" "log" {\n  options {\n    file_path = "%s"\n  }\n}\n' "$bao_dir/audit.log" >"$bao_dir/config.hcl"
	env -i PATH="$PATH" HOME="$bao_dir" BAO_DEV_ROOT_TOKEN_ID="$bao_token" setsid "$bao_program" server -dev -dev-no-store-token -dev-tls \
		-dev-tls-cert-dir="$bao_dir/tls" -dev-listen-address="127.0.0.1:$bao_port" -config="$bao_dir/config.hcl" \
		</dev/null >"$bao_dir/log" 2>&1 &
	echo $! >"$bao_dir/pid"
	for _ in $(seq 600); do
		[ ! -f "$bao_dir/tls/vault-ca.pem" ] || ! bao status >/dev/null 2>&1 || { bao_set_up >>"$log" 2>&1; return; }
		kill -0 "$(cat "$bao_dir/pid")" 2>/dev/null || break
		sleep 0.1
	done
	echo "demo: OpenBao does not answer; the end of its log:" >&2
	tail -n 5 "$bao_dir/log" >&2
	return 1
}

# What README tells an administrator to do there.
bao_set_up() {
	local id
	bao secrets enable transit &&
		bao write transit/keys/demo type=aes256-gcm96 derived=true &&
		bao policy write pg_envelope - <<'HCL' &&
path "transit/encrypt/demo" { capabilities = ["update"] }
path "transit/decrypt/demo" { capabilities = ["update"] }
path "transit/keys/demo" { capabilities = ["read"] }
path "transit/keys/demo/rotate" { capabilities = ["update"] }
HCL
		bao auth enable approle &&
		bao write auth/approle/role/pg_envelope token_policies=pg_envelope token_ttl=1h token_max_ttl=24h || return
	for id in role_id secret_id; do
		(umask 077 && : >"$bao_dir/$id") || return
	done
	bao read -field=role_id auth/approle/role/pg_envelope/role-id >"$bao_dir/role_id" &&
		bao write -f -field=secret_id auth/approle/role/pg_envelope/secret-id >"$bao_dir/secret_id" || return
	if [ "$(id -u)" = 0 ]; then chown "$(pge_server_user)" "$bao_dir/role_id" "$bao_dir/secret_id"; fi
}

bao_configuration() {
	cat <<INI
[vault demo]
address = https://127.0.0.1:$bao_port
ca_file = $bao_dir/tls/vault-ca.pem
auth = approle
role_id_file = $bao_dir/role_id
secret_id_file = $bao_dir/secret_id
allow_keys = transit/keys/demo
INI
}

bao_log_size() { stat -c %s "$bao_dir/audit.log"; }

# A line for each path of the Transit engine that the agent's role called: requests, data keys in them.
bao_calls() {
	tail -c +$(($1 + 1)) "$bao_dir/audit.log" | perl -MJSON::PP -ne '
		my $entry = decode_json($_);
		my $request = $entry->{request};
		next if $entry->{type} ne "response" || $request->{path} !~ m{^transit/} || ($entry->{auth}{display_name} // "") ne "approle";
		my $batch = $request->{data}{batch_input};
		$requests{$request->{path}}++;
		$keys{$request->{path}} += ref $batch eq "ARRAY" ? @$batch : 1 if $request->{operation} eq "update";
		END { printf "%s %d %d\n", $_, $requests{$_}, $keys{$_} // 0 for sort keys %requests }'
}

bao_stop() {
	local pid _
	[ -f "$bao_dir/pid" ] || return 0
	pid=$(cat "$bao_dir/pid")
	# (its command line names our folder, or the number is another process by now)
	for _ in $(seq 100); do
		tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$bao_dir/" || return 0
		kill -KILL "$pid" 2>/dev/null || true
		sleep 0.05
	done
	echo "demo: OpenBao (PID $pid) does not stop" >&2
	return 1
}
