# More requests are under way than calls only as long as their answers come soon: where a key service takes one
# call at a time, nobody's deadline is spent in the agent's queue.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

# With one more under way for each answer, the last would be asked for at half time.
my ($deks, $delay_ms, $timeout_ms) = (160, 50, 2500);
my $node = PgEnvelope::Cluster->new('main', test_build => 1, 'pg_envelope.kms_timeout' => $timeout_ms,
	'pg_envelope.kms_concurrency' => 1, client_min_messages => 'error');
$node->safe_psql('postgres', $_) for q{SELECT envelope_create_kek('a')},
  "SELECT count(envelope_create_key('k' || i, 'a')) FROM generate_series(1, $deks) i", 'SELECT envelope_cache_flush()';
cmp_ok($deks * $delay_ms / 2, '>', $timeout_ms, 'who asked for ever more would wait in vain for the last');
$node->set_provider_delay($delay_ms);
is($node->safe_psql('postgres', 'SELECT envelope_prewarm()'), $deks, 'a prewarm gets them all');
$node->stop;
done_testing();
