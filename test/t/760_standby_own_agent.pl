# A standby with an agent and a keyring copy of its own: the base backup is taken without a
# warning; it opens although the primary's keyring is gone; what the primary disables, rotates
# and destroys counts there by replay, also when nobody was connected to it then, and although
# it has the DEK in its memory; what its copy of the keyring lacks is named.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use File::Copy;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PgEnvelope::Cluster->new('primary', start => 0, allows_streaming => 1);
PgEnvelope::Cluster::replace_file(my $services = $primary->basedir . '/kms.conf', "[local]\nallow_destroy = on\n");
$primary->append_conf('postgresql.conf', "pg_envelope.kms_config_file = '$services'");
$primary->start;
$primary->create_extension;
my @keys = qw(disabled rotated destroyed revoked);
$primary->safe_psql('postgres', q{SET client_min_messages = error; SELECT envelope_create_kek('main'); CREATE ROLE reader LOGIN});
$primary->safe_psql('postgres', qq{SELECT envelope_create_key('$_', 'main'), envelope_grant('$_', 'reader', '{encrypt,decrypt}')}) for @keys;
$primary->safe_psql('postgres', q{CREATE TABLE t AS SELECT key_id, envelope_encrypt('of ' || key_id, key_id) AS sealed FROM envelope.key;
	GRANT SELECT, INSERT ON t TO reader});

# The agent is there and has its socket in the data directory.
$primary->wait_for_agent;
my ($out, $err) = run_command([ $primary->installed_command('pg_basebackup'), '-D', $primary->backup_dir . '/base',
	'-h', $primary->host, '-p', $primary->port, '--checkpoint', 'fast', '--no-sync' ]);
is($err, '', 'pg_basebackup of a living server warns of nothing');
ok(-s $primary->backup_dir . '/base/PG_VERSION', 'and has made one');

my $standby = PostgreSQL::Test::Cluster::new('PgEnvelope::Cluster', 'standby', PgEnvelope::Cluster::install_path(0));
$standby->init_from_backup($primary, 'base', has_streaming => 1);
my $keyring = $standby->keyring_file;

sub copy_keyring
{
	PgEnvelope::Cluster::replace_file($keyring, slurp_file($primary->keyring_file));
	return;
}
mkdir $standby->basedir . '/keyring', 0700 or die $!;
copy_keyring();
$standby->append_conf('postgresql.conf', "pg_envelope.keyring_file = '$keyring'");
$standby->start;
$primary->wait_for_catchup($standby);

sub opened
{
	my ($key) = @_;
	return "SELECT envelope_decrypt(sealed, '$key') FROM t WHERE key_id = '$key' LIMIT 1";
}

# A session that comes, does that and is gone, process and all.
sub visit
{
	my ($sql, %params) = @_;
	my $session = $standby->session(%params);
	my ($got, $said) = $session->try($sql);
	my $pid = $session->pid;
	$session->close;
	PgEnvelope::Cluster::wait_until(sub { !-e "/proc/$pid" }, "the end of backend $pid");
	return $said eq '' ? $got : $said =~ s/^psql:\S+ //r;
}
sub unwraps { return visit(q{SELECT value FROM envelope_status() WHERE name = 'unwraps'}) }

isnt($standby->wait_for_agent, $primary->agent_pid, 'each has an agent of its own');
move($primary->keyring_file, $primary->keyring_file . '.away') or die $!;
is(visit(opened($_)), "of $_", "the standby opens by its own keyring: $_") for @keys;
move($primary->keyring_file . '.away', $primary->keyring_file) or die $!;

# Nobody is connected to the standby while it replays.
sub meanwhile
{
	my ($sql) = @_;
	$primary->safe_psql('postgres', "SET client_min_messages = error; $sql");
	$primary->wait_for_catchup($standby);
	return;
}
my $asked = unwraps();
is(visit(opened('disabled')), 'of disabled', 'a DEK is in the memory of the standby');
meanwhile(q{SELECT envelope_disable_key('disabled')});
like(visit(opened('disabled')), qr/^ERROR:  KE004:/, 'disabled while nobody was connected: a later session is refused');
like(visit(q{SELECT envelope_encrypt('x', 'disabled')}), qr/^ERROR:  KE004:/, 'and seals nothing');
meanwhile(q{SELECT envelope_enable_key('disabled')});
is(visit(opened('disabled')), 'of disabled', 'enabled: the next one opens');
is(unwraps(), $asked, 'all along the DEK was in memory: the agent was not asked');

is(visit(opened('revoked'), user => 'reader'), 'of revoked', 'who has the right opens');
meanwhile(q{SELECT envelope_revoke('revoked', 'reader')});
like(visit(opened('revoked'), user => 'reader'), qr/^ERROR:  42501:/, 'revoked while nobody was connected');

my $version = q{SELECT version FROM envelope_key_info(envelope_encrypt('x', 'rotated'))};
is(visit($version), '1', 'the first version seals');
meanwhile(q{SELECT envelope_rotate_key('rotated')});
is(visit($version), '2', 'rotated while nobody was connected: the second does');
is(visit(opened('rotated')), 'of rotated', 'and the first one opens as before');

meanwhile($_) for q{SELECT envelope_disable_key('destroyed')}, q{SELECT envelope_destroy_key('destroyed')};
like(visit(opened('destroyed')), qr/^ERROR:  KE005:/, 'destroyed while nobody was connected');

# The primary's keyring has a version that the copy lacks.
meanwhile($_) for q{SELECT envelope_rotate_kek('main')},
  q{SELECT envelope_create_key('late', 'main'); INSERT INTO t VALUES ('late', envelope_encrypt('of late', 'late'))};
my $kek = $primary->safe_psql('postgres', q{SELECT uri FROM envelope.kek});
like(visit(opened('late')), qr/^ERROR:  KE012: .*^DETAIL:  Version 2 of KEK "\Q$kek\E" is not in the keyring\.$/ms, 'a copy of before envelope_rotate_kek: what it lacks is named');
is(visit(opened('rotated')), 'of rotated', 'all else opens');
copy_keyring();
is(visit(opened('late')), 'of late', 'a newer copy is read without a word to the server');

# A new KEK takes over, and the old one is destroyed: by replay, with nobody connected.
meanwhile(q{SELECT envelope_create_kek('next')});
my $next = $primary->safe_psql('postgres', q{SELECT uri FROM envelope.kek WHERE name = 'next'});
meanwhile(q{SELECT count(*) FROM rewrap_all('main', 'next')});
is(visit(opened('late')), 'of late', 'rewrapped while nobody was connected: what is in memory opens');
like(visit(q{SELECT envelope_cache_flush(); } . opened('late')), qr/^ERROR:  KE012: .*^DETAIL:  Version 1 of KEK "\Q$next\E" is not in the keyring\.$/ms, 'a copy of before the new KEK: the error names it');
copy_keyring();
is(visit(q{SELECT envelope_cache_flush() * 0 + envelope_prewarm()}), '5', 'with a newer copy all data keys are unwrapped');
meanwhile(qq{SELECT envelope_destroy_kek('main', '$kek', true)});
is(visit(q{SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM envelope.kek}), 'main destroyed, next enabled', 'a KEK destroyed while nobody was connected');
copy_keyring();
is(visit(q{SELECT envelope_cache_flush() * 0 + envelope_prewarm()}), '5', 'nothing that lives needs it');
is(visit(opened($_)), "of $_", "all opens: $_") for qw(disabled rotated late);

# What changes nothing can be asked here.
is(visit(q{SELECT count(*) FROM envelope_verify('t', 'sealed') WHERE key_id IS NULL}), '0', 'envelope_verify');
is(visit(q{SELECT jsonb_array_length(envelope_export_keyring() -> 'keys')}), '5', 'envelope_export_keyring');
like(visit($_), qr/^ERROR:  25006:/, "not here: $_") for q{SELECT envelope_import_keyring(envelope_export_keyring())}, q{SELECT envelope_mark_compromised('rotated', 1)},
  q{SELECT envelope_disable_key('rotated')}, q{SELECT envelope_destroy_key('disabled')}, q{SELECT envelope_revoke('rotated', 'reader')};

$standby->stop;
$primary->stop;
done_testing();
