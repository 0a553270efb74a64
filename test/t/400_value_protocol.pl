# What must not open, and what must not stay, when keys change in unusual ways.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

my $node = PgEnvelope::Cluster->new('protocol');
my $admin = $node->session;
$admin->query($_) for q{SET client_min_messages = error},
  q{SELECT envelope_create_kek('main'), envelope_create_key('acme', 'main')},
  q{CREATE TABLE t AS SELECT i, envelope_encrypt('value ' || i, 'acme') AS sealed FROM generate_series(1, 5) i},
  q{CREATE ROLE reader LOGIN}, q{GRANT SELECT ON t TO reader},
  q{SELECT envelope_grant('acme', 'reader', ARRAY['decrypt'])};
my $open = q{SELECT count(envelope_decrypt(sealed, 'acme')) FROM t};

#
# A key that only this transaction has enabled is its own: the cache of all
# must not have it when the transaction rolls back.
#
$admin->query(q{SELECT envelope_disable_key('acme')});
is($node->status('cache_used'), '0', 'a disabled key has no slot');
$admin->query('BEGIN');
$admin->query(q{SELECT envelope_enable_key('acme')});
is($admin->query($open), '5', 'who enables a key opens its values at once');
is($admin->query(q{SELECT envelope_prewarm(ARRAY['acme'])}), '0', 'but prewarms nothing');
is($node->status('cache_used'), '0', 'and the others get no slot of it');
$admin->query('ROLLBACK');
is($node->status('cache_used'), '0', 'nor after it rolled back');
$node->fails_with($open, 'KE004', 'disabled it is');
$admin->query(q{SELECT envelope_enable_key('acme')});
is($admin->query($open), '5', 'enabled for all');
is($node->status('cache_used'), '1', 'the cache of all has it');

#
# To lock a row is not to write it: the DEK is shared as ever.
#
$admin->query('SELECT envelope_cache_flush()');
my $asked = $node->status('unwraps');
$admin->query('BEGIN');
$admin->query(q{SELECT 1 FROM envelope.key JOIN envelope.dek USING (key_id) WHERE key_id = 'acme' FOR UPDATE});
is($admin->query($open), '5', 'who has locked the rows of a key opens');
$admin->query('COMMIT');
is($admin->query($open), '5', 'and again') for 1 .. 2;
is($node->status('unwraps') - $asked, 1, 'with one unwrap');

#
# A key that one long statement uses all the time is not idle.
#
$admin->query(q{ALTER SYSTEM SET pg_envelope.cache_idle = 2});
$admin->query(q{SELECT pg_reload_conf()});
PgEnvelope::Cluster::wait_until(sub { $admin->query('SHOW pg_envelope.cache_idle') eq '2s' }, 'the reload');
is($admin->query($open), '5', 'the key is cached');
# Each turn looks at the clock.  On a machine that stood still for longer than from one turn's
# beginning to the next one's end, nothing used the key all the time, and it is tried again.
$admin->query(q{CREATE FUNCTION used(OUT unwraps int, OUT pause numeric) LANGUAGE plpgsql AS $$
	DECLARE
		told CONSTANT text := $q$SELECT value FROM envelope_status() WHERE name = 'unwraps'$q$;
		sealed bytea := envelope_encrypt('x', 'acme');
		began timestamptz := clock_timestamp();
		before int;
		after int;
		turn_began timestamptz;
	BEGIN
		EXECUTE told INTO before;
		pause := 0;
		FOR turn IN 1 .. 120 LOOP
			turn_began := clock_timestamp();
			PERFORM envelope_decrypt(sealed, 'acme') FROM generate_series(1, 600);
			pause := greatest(pause, extract(epoch FROM clock_timestamp() - began));
			began := turn_began;
			PERFORM pg_sleep(0.03);
		END LOOP;
		EXECUTE told INTO after;
		unwraps := after - before;
	END $$});
my ($unwraps, $pause);
for my $try (1 .. 5)
{
	($unwraps, $pause) = split /\|/, $admin->query('SELECT unwraps, pause FROM used()');
	last if $pause < 1.9;
}
is($unwraps, 0, 'more than three seconds of use: no second unwrap');
PgEnvelope::Cluster::wait_until(sub { $node->status('cache_used') eq '0' }, 'idle expiry afterwards');
$admin->query($_) for q{ALTER SYSTEM RESET pg_envelope.cache_idle}, q{SELECT pg_reload_conf()};

#
# TRUNCATE fires no row trigger and ends rights all the same.
#
my $reader = $node->session(user => 'reader');
$admin->query('SELECT pg_advisory_lock(1)');
$reader->send(q{SELECT CASE WHEN i = 3 THEN pg_advisory_xact_lock_shared(1) END, envelope_decrypt(sealed, 'acme') FROM t});
PgEnvelope::Cluster::wait_until(sub {
	$admin->query(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) eq '1' }, 'the gate');
$admin->query('BEGIN');
$admin->query('TRUNCATE envelope.key_grant');
$admin->query('COMMIT');
$admin->query('SELECT pg_advisory_unlock(1)');
like(($reader->wait)[1], qr/ERROR:  42501:/, 'without grants a running statement fails at its next value');
like(($reader->try($open))[1], qr/ERROR:  42501:/, 'and so does the next');
$node->fails_with('SELECT envelope_guard_truncate()', '39P01', 'the trigger is no function');
$reader->close;

done_testing();
