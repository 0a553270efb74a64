# From which value on a change counts: the very next one of a statement that
# runs; and a miss that waits for the agent meanwhile leaves nothing behind.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $node = PgEnvelope::Cluster->new('when', test_build => 1, 'pg_envelope.kms_timeout' => '60s');
my $admin = $node->session;
$admin->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('main')},
  q{CREATE ROLE reader LOGIN}, q{CREATE SEQUENCE values_done};
my $gate = 4711;
my $serial = 0;

sub wait_until { PgEnvelope::Cluster::wait_until(@_) }
sub now { return clock_gettime(CLOCK_MONOTONIC); }

sub told { return $admin->told(@_); }

# A key that nothing has happened to, with five values; returns its name, which
# is that of its table too.
sub new_key
{
	my $key = 'k' . ++$serial;
	$admin->query($_) for qq{SELECT envelope_create_key('$key', 'main')},
	  qq{SELECT envelope_grant('$key', 'reader', ARRAY['encrypt', 'decrypt'])},
	  qq{CREATE TABLE $key AS SELECT i, envelope_encrypt('value ' || i, '$key') AS sealed FROM generate_series(1, 5) i},
	  qq{GRANT SELECT ON $key TO reader};
	return $key;
}

#
# One statement over five values stands between the second and the third.
#
sub stand_before_third
{
	my ($s, $key, $expression) = @_;
	$admin->query(q{SELECT setval('values_done', 1, false)});
	$admin->query("SELECT pg_advisory_lock($gate)");
	$s->send(qq{SELECT CASE WHEN i = 3 THEN pg_advisory_xact_lock_shared($gate) END,
		CASE WHEN $expression IS NOT NULL THEN nextval('values_done') END FROM $key});
	wait_until(sub {
		$admin->query(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) eq '1' }, 'the gate');
	return;
}

sub go_on { $admin->query("SELECT pg_advisory_unlock($gate)"); return; }

sub values_done { return $admin->query('SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM values_done'); }

my $open = q{envelope_decrypt(sealed, '%s')};
my $seal = q{envelope_encrypt('x', '%s')};
$admin->query('GRANT ALL ON SEQUENCE values_done TO reader');
for my $case (
	[ 'disabled', $open, q{SELECT envelope_disable_key('%s')}, 'KE004' ],
	[ 'disabled', $seal, q{SELECT envelope_disable_key('%s')}, 'KE004' ],
	[ 'destroyed', $open, q{BEGIN; SELECT envelope_disable_key('%1$s'); SELECT envelope_destroy_key('%1$s'); COMMIT}, 'KE005' ],
	[ 'destroyed', $seal, q{BEGIN; SELECT envelope_disable_key('%1$s'); SELECT envelope_destroy_key('%1$s'); COMMIT}, 'KE005' ],
	[ 'revoked', $open, q{SELECT envelope_revoke('%s', 'reader', ARRAY['decrypt'])}, '42501' ],
	[ 'revoked', $seal, q{SELECT envelope_revoke('%s', 'reader', ARRAY['encrypt'])}, '42501' ],
	[ 'compromised', $seal, q{SELECT envelope_mark_compromised('%s', 1)}, 'KE016' ])
{
	my ($name, $expression, $act, $sqlstate) = @$case;
	my $does = $expression eq $open ? 'opens' : 'seals';
	my $key = new_key();
	my $s = $node->session(user => 'reader');
	stand_before_third($s, $key, sprintf $expression, $key);
	$admin->query(sprintf $act, $key);
	go_on();
	my (undef, $err) = $s->wait;
	like($err, qr/ERROR:  \Q$sqlstate\E:/, "$name while a statement $does: it fails");
	is(values_done(), 2, 'at its next value');
	$s->close;
}

# What takes nothing away leaves the statement alone.
my $key = new_key();
my $s = $node->session(user => 'reader');
for my $act (qq{SELECT envelope_rotate_key('$key')}, qq{SELECT envelope_mark_compromised('$key', 1)},
	qq{SELECT envelope_revoke('$key', 'reader', ARRAY['encrypt'])})
{
	stand_before_third($s, $key, sprintf $open, $key);
	$admin->query($act);
	go_on();
	is(($s->wait)[1], '', "$act: the statement goes on opening");
	is(values_done(), 5, 'to its last value');
}
$s->close;

#
# After a flush, or its time, the next value asks the agent again: in the same
# statement.  With the agent away it fails at its deadline.
#
my %ways = (
	flush => sub { $admin->query('SELECT envelope_cache_flush()') },
	TTL => sub { wait_until(sub { told('cache_used') eq '0' }, 'the keeper to wipe the slot') });
$key = new_key();
$s = $node->session;
for my $way ('flush', 'TTL')
{
	if ($way eq 'TTL')
	{
		$admin->set_for_all('cache_ttl', '1s', $s);
		$admin->query('SELECT envelope_cache_flush()');
	}
	# The new DEK's time is a second, too: a machine that stands still may need another try.
	my ($err, $unwraps, $seconds);
	for my $try (1 .. 3)
	{
		stand_before_third($s, $key, sprintf $open, $key);
		$unwraps = told('unwraps');
		$ways{$way}->();
		my $from = now();
		go_on();
		(undef, $err) = $s->wait;
		$unwraps = told('unwraps') - $unwraps;
		last if now() - $from < 1;
	}
	is($err, '', "$way in a statement: it goes on");
	is(values_done(), 5, 'to its end');
	is($unwraps, 1, 'after one more unwrap');

	# (A loaded machine may need a second or third try.)
	$admin->set_for_all('kms_timeout', '3s', $s);
	for my $try (1 .. 3)
	{
		stand_before_third($s, $key, sprintf $open, $key);
		$ways{$way}->();
		$node->stop_agent_process;
		go_on();
		my $from = now();
		(undef, $err) = $s->wait;
		$seconds = now() - $from;
		$node->continue_agent_process;
		last if $seconds < 4;
	}
	$admin->set_for_all('kms_timeout', '1min', $s);
	like($err, qr/ERROR:  KE006:/, "$way with the agent away: the next value fails");
	is(values_done(), 2, 'and no later one');
	cmp_ok($seconds, '>', 2.8, 'at its deadline');
	cmp_ok($seconds, '<', 4, 'of 3 s');
}

#
# The keeper is stopped, and nobody wipes the slot: who uses the key looks at the
# clock himself, now and then if not at each value.
#
my $keeper = $node->keeper_pid;
kill('STOP', $keeper);
$admin->query('SELECT envelope_cache_flush()');
$s->query('BEGIN');
$s->query(sprintf "SELECT $open FROM $key", $key);
my ($asked, $opened) = (told('unwraps'), now());
wait_until(sub { now() > $opened + 1.2 }, 'its time to pass');
is($s->query(sprintf "SELECT count($open) FROM $key, generate_series(1, 200)", $key), '1000', 'the keeper stopped: a thousand values open');
cmp_ok(told('unwraps'), '>', $asked, 'the later ones by another unwrap, since the time of the first is over');
$s->query('COMMIT');
kill('CONT', $keeper);
$admin->set_for_all('cache_ttl', '5min', $s);
$s->close;

#
# A miss waits for the provider, and meanwhile another session acts: what it
# took away is not published, nor kept.
#
sub while_it_waits
{
	my ($name, $act, $expected, %seen) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $key = new_key();
	my $s = $node->session(user => 'reader');
	$admin->query('SELECT envelope_cache_flush()');
	my $unwraps = told('unwraps');
	$node->hold_calls;
	$s->query('BEGIN');
	$s->send(sprintf "SELECT $open FROM $key WHERE i = 1", $key);
	wait_until(sub { told('agent_calls_in_flight') == 1 }, 'the call');
	$admin->query(s/%s/$key/r) for @$act;
	is(told('agent_calls_in_flight'), 1, "$name while a miss waits");
	$node->let_calls_through;
	my ($out, $err) = $s->wait;
	like($err || $out, $expected, 'its outcome is as of then');
	is(told('unwraps') - $unwraps, $seen{unwraps}, 'the agent was asked that often');
	is(told('cache_used'), $seen{slots}, $seen{slots} ? 'the slot is published' : 'no slot is published');
	is(told('context_holders'), $seen{slots}, $seen{slots} ? 'and the context kept' : 'no context is kept');
	$s->query('ROLLBACK');
	$s->close;
	return;
}

while_it_waits('nothing happens', [], qr/^value 1$/, unwraps => 1, slots => 1);
while_it_waits('the key is disabled', [q{SELECT envelope_disable_key('%s')}], qr/ERROR:  KE004:/, unwraps => 1, slots => 0);
while_it_waits('the key is destroyed', [q{SELECT envelope_disable_key('%s')}, q{SELECT envelope_destroy_key('%s')}],
	qr/ERROR:  KE005:/, unwraps => 1, slots => 0);
while_it_waits('the right is revoked', [q{SELECT envelope_revoke('%s', 'reader')}], qr/ERROR:  42501:/, unwraps => 1, slots => 0);
$admin->query(q{SELECT envelope_create_key('other', 'main')});
while_it_waits('another key is disabled', [q{SELECT envelope_disable_key('other')}],
	qr/^value 1$/, unwraps => 1, slots => 1);
while_it_waits('the key is disabled and enabled again', [q{SELECT envelope_disable_key('%s')}, q{SELECT envelope_enable_key('%s')}],
	qr/^value 1$/, unwraps => 1, slots => 1);
while_it_waits('the cache is flushed', [q{SELECT envelope_cache_flush()}], qr/^value 1$/, unwraps => 2, slots => 1);

# The same while two keys are prewarmed, of which something happens to the first.
sub while_it_prewarms
{
	my ($name, $act, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($key, $neighbour) = (new_key(), new_key());
	$admin->query('SELECT envelope_cache_flush()');
	$node->hold_calls;
	my $s = $node->session;
	$s->send("SELECT envelope_prewarm('{$key,$neighbour}')");
	wait_until(sub { told('agent_calls_in_flight') == 2 }, 'the calls');
	$admin->query(s/%s/$key/r) for @$act;
	is(told('agent_calls_in_flight'), 2, "$name while two keys are prewarmed");
	$node->let_calls_through;
	is(($s->wait)[0], $expected, "$expected of them are there then");
	is(told('cache_used'), $expected, 'as slots');
	$s->close;
	return;
}

while_it_prewarms('nothing happens', [], 2);
while_it_prewarms('another key is enabled', [q{SELECT envelope_enable_key('other')}], 2);
while_it_prewarms('one is disabled', [q{SELECT envelope_disable_key('%s')}], 1);
while_it_prewarms('one is disabled and enabled again', [q{SELECT envelope_disable_key('%s')}, q{SELECT envelope_enable_key('%s')}], 2);
while_it_prewarms('one is destroyed', [q{SELECT envelope_disable_key('%s')}, q{SELECT envelope_destroy_key('%s')}], 1);
while_it_prewarms('the cache is flushed', [q{SELECT envelope_cache_flush()}], 0);

$admin->close;
$node->stop;
done_testing();
