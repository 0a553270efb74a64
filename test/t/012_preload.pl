# Without the preload nothing breaks but what needs it, and that says what to do.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PgEnvelope::Cluster->new('main');

# Settings, while preloaded.
is($node->safe_psql('postgres',
		q{SELECT string_agg(name || '=' || setting || coalesce(unit, ''), ' ' ORDER BY name)
		FROM pg_settings WHERE name LIKE 'pg\_envelope.%' AND name !~ 'keyring'}),
	'pg_envelope.agent=spawn pg_envelope.agent_socket=/run/pg_envelope/agent.sock pg_envelope.agent_user='
	  . ' pg_envelope.allow_key_loss= pg_envelope.allow_materialized_views=off pg_envelope.cache_grace=0s pg_envelope.cache_idle=0s pg_envelope.cache_size=1024 pg_envelope.cache_ttl=300s'
	  . ' pg_envelope.context_cache=1024 pg_envelope.harden_backends=on pg_envelope.kms_concurrency=16'
	  . ' pg_envelope.kms_config_file= pg_envelope.kms_timeout=10000ms pg_envelope.require_key_id=off pg_envelope.secret_memory=prefer',
	'the settings and their defaults');
$node->safe_psql('postgres', 'CREATE ROLE plain LOGIN');
$node->fails_with('SHOW pg_envelope.keyring_passphrase_command', '42501',
	'the passphrase command is for superusers', user => 'plain');
$node->fails_with('SHOW pg_envelope.keyring_file', '42501', 'so is the keyring file', user => 'plain');
$node->fails_with("SET pg_envelope.$_ = 1", '42501', "$_ cannot be set by others", user => 'plain')
  for qw(context_cache require_key_id);
$node->fails_with("SET pg_envelope.$_ = 1", '55P02', "$_ is of the server") for qw(cache_ttl cache_grace cache_idle kms_timeout cache_size agent_socket agent_user);
$node->fails_with('SET pg_envelope.agent = external', '55P02', 'and so is agent');
$node->fails_with('SET pg_envelope.cash_size = 1', '42602', 'a misspelt setting is refused');
$node->fails_with("ALTER SYSTEM SET pg_envelope.$_", '22023', "a control character is refused: $_")
  for q{keyring_passphrase_command = E'a\x07b'}, q{kms_config_file = E'/a\u0085b'};
$node->fails_with('SELECT * FROM envelope_status()', '42501', 'the status is not for everyone', user => 'plain');
$node->safe_psql('postgres', 'GRANT pg_monitor TO plain');
my ($out, $err) = $node->try('SELECT count(*) > 9 FROM envelope_status()', user => 'plain');
is($out, 't', 'but for monitoring');

# An agent_user of a server that starts its agent would be followed by nobody.
$node->stop;
my $before = slurp_file($node->data_dir . '/postgresql.conf');
my $from = -s $node->logfile;
$node->append_conf('postgresql.conf', "pg_envelope.agent_user = 'nobody'");
is($node->start(fail_ok => 1), 0, 'agent_user without agent = external: the server does not start');
like(slurp_file($node->logfile, $from), qr/FATAL:.*"pg_envelope\.agent_user" is "nobody", and "pg_envelope\.agent" is "spawn".*HINT:  Add pg_envelope\.agent = external to postgresql\.conf/s, 'and says which line it misses');
unlink $node->data_dir . '/postgresql.conf';
append_to_file($node->data_dir . '/postgresql.conf', $before);
$node->start;

# A keyring file that no setting names lies beside the data directory.
$node->append_conf('postgresql.conf', "pg_envelope.keyring_file = ''");
$node->restart;
ok($node->poll_query_until('postgres', qq{SELECT value IN ('@{[ $node->data_dir ]}.pg_envelope/keyring')
	FROM envelope_status() WHERE name = 'agent_keyring_file'}), 'the default of the keyring file');
$node->stop;

# In an upgrade of the server we keep quiet.
my $conf = $node->data_dir . '/postgresql.conf';
my $at = -s $node->logfile;
command_ok([ $node->installed_command('pg_ctl'), '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '-b', 'start' ],
	'a server in binary upgrade starts');
$node->_update_pid(1);
is($node->keeper_pid, undef, 'without a keeper');
unlike(substr(slurp_file($node->logfile), $at), qr/pg_envelope agent|WARNING/, 'and silently');
$node->stop;

# Not preloaded.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\npg_envelope.cache_size = 7\npg_envelope.cache_ttl = 7");
$node->start;
is($node->keeper_pid, undef, 'no preload, no keeper');
($out, $err) = $node->try(q{LOAD 'pg_envelope'});
is($err, '', 'the library loads without a word');
is($node->safe_psql('postgres', q{LOAD 'pg_envelope'; SHOW pg_envelope.cache_ttl}), '7s', 'and has the settings that it can');
is($node->safe_psql('postgres', q{SELECT envelope_bind('a')}), '1:a,', 'what needs no preload works');
$err = $node->fails_with('SELECT * FROM envelope_status()', 'KE015', 'what needs it fails');
like($err, qr/shared_preload_libraries = 'pg_envelope'/, 'with the line to add');
done_testing();
