# The number of a data key that is taken is drawn again, until there is none.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

# The test build draws from 1 to 255 under this name.
$ENV{PGE_TEST_DEK_ID_8_BITS} = 1;
my $node = PgEnvelope::Cluster->new('main', test_build => 1);
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	SELECT envelope_create_kek('main');
	SELECT envelope_create_key('k' || i, 'main') FROM generate_series(1, 253) i;
});
is($node->safe_psql('postgres', 'SELECT count(*), min(dek_id) > 0, max(dek_id) < 256 FROM envelope.dek'),
	'253|t|t', 'clashes on the way to 253 keys of 255');

# A number that an open transaction has taken cannot be seen; the row can be waited for.
my $one = $node->session;
my $two = $node->session;
$one->query(q{BEGIN; SELECT envelope_create_key('k254', 'main'), envelope_create_key('k255', 'main')});
$two->send(q{SELECT envelope_create_key('waits', 'main')});
ok($two->busy, 'the second waits for the first to end');
$one->query('ROLLBACK');
is(($two->wait)[0], '1', 'and has the number when that rolls back');

$one->query(q{BEGIN; SELECT envelope_create_key('last', 'main')});
$two->send(q{SELECT envelope_create_key('too late', 'main')});
ok($two->busy, 'again');
$one->query('COMMIT');
like(($two->wait)[1], qr/54000: +could not find a free number/, 'drawn again, with none left');
is($node->safe_psql('postgres',
	q{SELECT count(*) FROM envelope.key WHERE key_id = 'too late'}), '0', 'and nothing half made');
is($node->safe_psql('postgres',
	q{SELECT count(DISTINCT dek_id), count(*) FROM envelope.wrapping}), '255|255',
	'one wrapped key for each number');
$node->stop;
done_testing();
