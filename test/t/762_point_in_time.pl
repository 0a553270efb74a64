# Point-in-time recovery to before and to after a rotation, of a KEK's version and onto another
# KEK, with the keyring of then and of now, and with one that the old KEK was destroyed in: what
# a keyring has opens, what it lacks is named, and the right copy mends that.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PgEnvelope::Cluster->new('main', start => 0, allows_streaming => 1);
$node->enable_archiving;
PgEnvelope::Cluster::replace_file(my $services = $node->basedir . '/kms.conf', "[local]\nallow_destroy = on\n");
$node->append_conf('postgresql.conf', "pg_envelope.kms_config_file = '$services'");
$node->start;
$node->create_extension;
$node->safe_psql('postgres', q{SET client_min_messages = error;
	SELECT envelope_create_kek('main'); SELECT envelope_create_key('acme', 'main');
	CREATE TABLE t AS SELECT 1 AS i, envelope_encrypt('before', 'acme') AS sealed});
$node->backup('base');
my $then = slurp_file($node->keyring_file);
$node->safe_psql('postgres', q{SELECT pg_create_restore_point('before')});
$node->safe_psql('postgres', qq{SET client_min_messages = error; $_}) for q{SELECT envelope_rotate_kek('main')},
  q{SELECT envelope_rotate_key('acme')}, q{INSERT INTO t VALUES (2, envelope_encrypt('after', 'acme'))}, q{SELECT pg_create_restore_point('after')},
  q{SELECT envelope_create_kek('next')}, q{SELECT count(*) FROM rewrap_all('main', 'next')}, q{SELECT pg_create_restore_point('moved')}, q{SELECT envelope_disable_key('acme')};
my $now = slurp_file($node->keyring_file);
my ($kek, $next) = split /\n/, $node->safe_psql('postgres', q{SELECT uri FROM envelope.kek ORDER BY name});
$node->safe_psql('postgres', qq{SELECT envelope_destroy_kek('main', '$kek', true)});
my $destroyed = slurp_file($node->keyring_file);
my %name_of = ($then => 'then', $now => 'now', $destroyed => 'destroyed');
my $segment = $node->safe_psql('postgres', q{SELECT pg_walfile_name(pg_switch_wal())});
$node->poll_query_until('postgres', qq{SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver}) or die 'nothing is archived';
$node->stop;

# The server as it was at $point, with that keyring.
sub recovered
{
	my ($point, $keyring) = @_;
	my $copy = PostgreSQL::Test::Cluster::new('PgEnvelope::Cluster', "${point}_$name_of{$keyring}", PgEnvelope::Cluster::install_path(0));
	$copy->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
	$copy->append_conf('postgresql.conf', "archive_mode = off\nrecovery_target_name = '$point'\nrecovery_target_action = 'promote'\n"
		. "pg_envelope.keyring_file = '" . $copy->keyring_file . "'\n");
	mkdir $copy->basedir . '/keyring', 0700 or die $!;
	PgEnvelope::Cluster::replace_file($copy->keyring_file, $keyring);
	$copy->start;
	$copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'no end of recovery';
	return $copy;
}
my $all = q{SELECT string_agg(envelope_decrypt(sealed, 'acme'), ' ' ORDER BY i) FROM t};
my $kek_version = q{SELECT max(kek_version) FROM envelope.wrapping};

my ($shared, $own);			# sealed by a server that lives on beside this one, before and after it rotated the key
for my $keyring ($then, $now)
{
	my $copy = recovered('before', $keyring);
	my $which = $keyring eq $now ? 'the keyring of now' : 'the keyring of then';
	is($copy->safe_psql('postgres', $all), 'before', "before the rotation, $which: what was there opens");
	is($copy->safe_psql('postgres', q{SELECT version FROM envelope_key_info(envelope_encrypt('x', 'acme'))}), '1', 'and the version of then seals');
	$shared = $copy->safe_psql('postgres', q{SELECT envelope_encrypt('shared', 'acme')});
	my ($out, $err) = $copy->try(q{SET client_min_messages = error; SELECT envelope_rotate_kek('main')});
	is($out, $keyring eq $now ? '3' : '2', 'it goes on to the version that its keyring has not given out') or diag($err);
	$copy->safe_psql('postgres', q{SELECT envelope_rotate_key('acme')});
	$own = $copy->safe_psql('postgres', q{SELECT envelope_encrypt('own', 'acme')});
	$copy->stop;
}

my $copy = recovered('after', $now);
is($copy->safe_psql('postgres', $all), 'before after', 'after the rotation, the keyring of now: all opens');
is($copy->safe_psql('postgres', "SELECT envelope_decrypt('$shared', 'acme')"), 'shared', 'it opens what another server that went on from here seals');
$copy->fails_with("SELECT envelope_decrypt('$own', 'acme')", 'KE003', 'but not since that one has rotated the key');
$copy->stop;

$copy = recovered('after', $then);
is($copy->safe_psql('postgres', "$all WHERE i = 1"), 'before', 'after the rotation, the keyring of then: what it has the KEK for opens');
my $err = $copy->fails_with("$all WHERE i = 2", 'KE012', 'the rest fails');
like($err, qr/^DETAIL:  Version 2 of KEK "\Q$kek\E" is not in the keyring\.$/m, 'and names the KEK that is missing');
PgEnvelope::Cluster::replace_file($copy->keyring_file, $now);
is($copy->safe_psql('postgres', $all), 'before after', 'with the keyring of now it opens, without a restart');
$copy->stop;

# Onto another KEK, to after it and to before it.
sub lacks
{
	my ($point, $keyring, $version, $uri, $name) = @_;
	my $recovered = recovered($point, $keyring);
	my $error = $recovered->fails_with($all, 'KE012', $name);
	like($error, qr/^DETAIL:  Version $version of KEK "\Q$uri\E" is not in the keyring\.$/m, 'and names the KEK that is missing');
	PgEnvelope::Cluster::replace_file($recovered->keyring_file, $now);
	is($recovered->safe_psql('postgres', $all), 'before after', 'with the keyring of before the destruction it opens');
	$recovered->stop;
	return;
}
lacks('moved', $then, 1, $next, 'after the rewrap, the keyring of then: nothing opens');
lacks('after', $destroyed, '[12]', $kek, 'before the rewrap, a keyring without the old KEK: nothing opens');
done_testing();
