# A DEK is in a session's own memory inside a transaction (that is the control)
# and in none of it after any kind of end.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::KeyBytes;
use Test::More;

# The fallback region can be read, so that we learn what to look for.
my $node = PgEnvelope::Cluster->new('memory', 'pg_envelope.harden_backends' => 'off',
	'pg_envelope.secret_memory' => 'fallback', 'max_prepared_transactions' => 1);
my $s = $node->session;
$s->query(q{SET client_min_messages = error});
$s->query(q{SELECT envelope_create_kek('main'), envelope_create_key('x', 'main'), envelope_create_key('g', 'main', 'AES256_GCM')});

sub contents
{
	return grep { defined } map { PgEnvelope::ProcMem::content($s->pid, $_) }
	  grep { !$_->{shared} } PgEnvelope::ProcMem::mappings($s->pid);
}

# How many copies.
sub holds
{
	my ($needle) = @_;
	my $copies = 0;
	$copies += PgEnvelope::ProcMem::copies($_, $needle) for contents();
	return $copies;
}

# How many of the runs of 8 bytes that the DEK has are found, each counted once.
sub pieces
{
	my ($dek) = @_;
	my @memory = contents();
	return scalar grep { my $piece = substr($dek, $_, 8); grep { index($_, $piece) >= 0 } @memory } 0 .. 24;
}

sub use_key
{
	my ($key) = @_;
	$s->query(qq{SELECT envelope_decrypt(envelope_encrypt('v', '$key'), '$key')});
	return;
}

# The context has a copy, and the cipher, or the one for deriving keys, another.
my %ciphers = (x => 2, g => 2);
for my $key ('x', 'g')
{
	use_key($key);
	my ($dek) = PgEnvelope::KeyBytes::dek($node, $key);
	ok(defined $dek, "$key: the DEK is found in the shared region") or next;

	# A miss brings it from the agent; each round begins with one.
	for my $end ('COMMIT', 'ROLLBACK', 'SELECT 1/0', 'ROLLBACK TO a', q{PREPARE TRANSACTION 'p'})
	{
		$s->query('SELECT envelope_cache_flush()');
		$s->query('BEGIN');
		$s->query('SAVEPOINT a');
		use_key($key);
		is(holds($dek), $ciphers{$key}, "$key: before $end only its ciphers hold it");
		is(pieces($dek), 25, "$key: and every piece of it");
		$s->try($end);
		is(pieces($dek), 0, "$key: no piece of it after $end");
		$s->query($end =~ /PREPARE/ ? q{ROLLBACK PREPARED 'p'} : 'ROLLBACK');
	}
}
# Inside a transaction, where nothing ends: prewarming, eviction, a flush.
use_key('x');
my ($dek) = PgEnvelope::KeyBytes::dek($node, 'x');
$s->query('SELECT envelope_cache_flush()');
$s->query('BEGIN');
is($s->query(q{SELECT envelope_prewarm(ARRAY['x'])}), '1', 'prewarmed');
is(holds($dek), 0, 'prewarming leaves no copy');
use_key('x');
is(holds($dek), 2, 'using it makes two');
$s->query('SET LOCAL pg_envelope.context_cache = 1');
use_key('g');
is(holds($dek), 0, 'making room wipes it');
use_key('x');
is(holds($dek), 2, 'used again');
$s->query('SELECT envelope_cache_flush()');
is(holds($dek), 0, 'the flushing session wipes its own');
$s->query(q{DO $$ BEGIN PERFORM envelope_encrypt('v', 'x'); RAISE 'caught'; EXCEPTION WHEN OTHERS THEN END $$});
is(holds($dek), 0, 'an exception block leaves none');
$s->query('COMMIT');

# Room is made of what was not used since the hand went by, not of the newest.
$s->query(q{SELECT envelope_create_key('e' || i, 'main') FROM generate_series(1, 5) i});
my %evicted;
for my $key (map { "e$_" } 1 .. 5)
{
	use_key($key);
	($evicted{$key}) = PgEnvelope::KeyBytes::dek($node, $key);
}
sub held { return join ' ', grep { holds($evicted{$_}) } sort keys %evicted; }

$s->query($_) for 'BEGIN', 'SET LOCAL pg_envelope.context_cache = 3';
use_key("e$_") for 1 .. 3;
is(held(), 'e1 e2 e3', 'three contexts have room');
use_key('e4');
is(held(), 'e2 e3 e4', 'the fourth has the place of the oldest, which is wiped');
use_key('e2');
use_key('e5');
is(held(), 'e2 e4 e5', 'one that is in use stays before one that is not, and the newest stays');
$s->query('SET LOCAL pg_envelope.context_cache = 1');
use_key('e1');
is(held(), 'e1', 'a smaller setting wipes the rest');
$s->query('SET LOCAL pg_envelope.context_cache = 100');
$s->query($_) for 'SAVEPOINT a';
use_key("e$_") for 2 .. 5;
is(held(), 'e1 e2 e3 e4 e5', 'places that were freed are taken again');
$s->query('ROLLBACK TO a');
is(held(), 'e1', 'a subtransaction takes its own along');
use_key("e$_") for 2, 3;
is(held(), 'e1 e2 e3', 'again');
$s->query('COMMIT');
is(held(), '', 'and the end takes all');
done_testing();
