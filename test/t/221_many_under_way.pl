# More requests are under way than calls only as long as their answers come soon: where a key service takes one
# call at a time, nobody's deadline is spent in the agent's queue; and where the answer is "too many", at once, none more.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use File::Copy;
use PostgreSQL::Test::Utils;
use Test::More;

# With one more under way for each answer, the last would be asked for at half time.
my ($deks, $delay_ms, $timeout_ms) = (160, 100, 5000);
my $node = PgEnvelope::Cluster->new('main', test_build => 1, 'pg_envelope.kms_timeout' => $timeout_ms,
	'pg_envelope.kms_concurrency' => 1, client_min_messages => 'error');
$node->safe_psql('postgres', $_) for q{SELECT envelope_create_kek('a')},
  "SELECT count(envelope_create_key('k' || i, 'a')) FROM generate_series(1, $deks) i", 'SELECT envelope_cache_flush()';
cmp_ok($deks * $delay_ms / 2, '>', $timeout_ms, 'who asked for ever more would wait in vain for the last');
$node->set_provider_delay($delay_ms);
is($node->safe_psql('postgres', 'SELECT envelope_prewarm()'), $deks, 'a prewarm gets them all');
$node->stop;

# An agent that refuses everything, soon (t/613 has more of it): a copy of perl.
my $bindir = PgEnvelope::Cluster::own_programs(PostgreSQL::Test::Utils::tempdir_short() . '/root');
copy($^X, "$bindir/pg_envelope_agent") or die "$^X: $!";
chmod 0755, "$bindir/pg_envelope_agent";
local $ENV{PGE_BINDIR} = $bindir;
my $fake = PgEnvelope::Cluster->new('fake', start => 0, plain_keyring => 1, 'pg_envelope.kms_timeout' => '60s', 'pg_envelope.kms_concurrency' => 1);
my $data = $fake->data_dir;
copy("$FindBin::RealBin/../tools/fake_agent.pl", "$data/serve") or die $!;
$fake->start;
$fake->create_extension;
$fake->poll_query_until('postgres', q{SELECT value = 'ready' FROM envelope_status() WHERE name = 'agent_state'}) or die 'no agent is ready';
$fake->safe_psql('postgres', q{
	INSERT INTO envelope.keyring VALUES (gen_random_uuid());
	INSERT INTO envelope.kek (name, uri) VALUES ('a', 'local:a'), ('b', 'local:b');
	INSERT INTO envelope.key (key_id, kek, algorithm) SELECT 'k' || i, 'a', 'AES256_GCM' FROM generate_series(1, 100) i;
	INSERT INTO envelope.dek (dek_id, key_id, version, purpose, algorithm, keyring, check_value, state)
		SELECT i, 'k' || i, 1, 'aead', 'AES256_GCM', uuid, sha256(''), 'active' FROM generate_series(1, 100) i, envelope.keyring;
	INSERT INTO envelope.wrapping (dek_id, seq, kek, kek_version, wrapped) SELECT dek_id, 1, 'a', '1', '\\x01010000' FROM envelope.dek});

# How many requests were under way at most, of a rewrap of a hundred data keys.
sub most_under_way
{
	my ($status) = @_;
	unlink "$data/fake_agent.seen";
	PgEnvelope::Cluster::replace_file("$data/fake_agent.connection", "one by one, status=$status\n");
	is($fake->safe_psql('postgres', q{SELECT count(*) FROM rewrap_all('a', 'b', dry_run => true) WHERE outcome = 'failed' AND detail LIKE '%The fake says so.'}), '100', "all are answered with $status");
	my @most = slurp_file("$data/fake_agent.seen") =~ /^most (\d+)$/mg;
	return $most[-1];
}
cmp_ok(most_under_way(21), '>', 10, 'for other answers that come soon, more and more are under way');
is(most_under_way(22), 1, 'and for "too many" not one more');
$fake->stop;
done_testing();
