# 16 clients seal, open, create, rotate, rewrap, disable, enable, flush, prewarm and roll
# back on keys that they share, while backends, agent, keeper and server are killed and
# paused.  Who asked what and what was acknowledged is written down, and a checker
# (PgEnvelope/History.pm) that first has rejected seven doctored histories, of a small
# one and again of this one, decides whether a server that loses no key can have told it.
#
# PGE_HISTORY_SECONDS (60; "make check-history SECONDS=600"), PGE_SEED repeats the choices.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::History;
use PgEnvelope::Wire;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC usleep);

my $seconds = $ENV{PGE_HISTORY_SECONDS} // 60;
my $seed = $ENV{PGE_SEED} // ($$ << 16 ^ time) & 0x7fffffff;
diag("PGE_SEED=$seed");
srand $seed;

#
# The checker first
#

sub kinds { my %kinds = map { ($_->[0] => 1) } @_; return join ', ', sort keys %kinds; }

sub try_checker
{
	my ($history, $name) = @_;
	my %doctors = PgEnvelope::History::doctors();
	for my $what (sort keys %doctors)
	{
		my ($kind, $edit) = @{ $doctors{$what} };
		my $doctored = PgEnvelope::History::copy($history);
		SKIP:
		{
			skip "$name has no place for $what", 1 if !$edit->($doctored) && $name ne 'the small one';
			my @wrong = PgEnvelope::History::check($doctored);
			ok((grep { $_->[0] eq $kind } @wrong), "$name, with $what, is rejected") or diag(kinds(@wrong));
		}
	}
	return;
}

sub accepted
{
	my ($history, $name) = @_;
	my @wrong = map { "$_->[0]: $_->[1]" } PgEnvelope::History::check($history);
	is(scalar @wrong, 0, "$name is accepted") or diag(join "\n", @wrong > 20 ? @wrong[ 0 .. 19 ] : @wrong);
	return;
}

my $small = PgEnvelope::History::read_file("$FindBin::RealBin/../history/good.jsonl");
accepted($small, 'the small one');
try_checker($small, 'the small one');

#
# The server and the clients
#

my ($clients, $keks, $first_keys) = (16, 3, 8);
my $node = PgEnvelope::Cluster->new('history', restart_after_crash => 'on', autovacuum => 'off', shared_buffers => '32MB',
	max_connections => 60, log_min_messages => 'fatal', 'pg_envelope.kms_timeout' => '5s', 'pg_envelope.cache_ttl' => 2, deadlock_timeout => '100ms');
my $started = clock_gettime(CLOCK_MONOTONIC);
my (@history, %done, $serial);
my @clients = map { { number => $_ } } 1 .. $clients;
my (@keys, %disabled, %granted, %revoked, @sealed, @dead);		# what the clients know: acknowledged, and what must not open

sub now { return clock_gettime(CLOCK_MONOTONIC) - $started; }
sub any { return $_[ int rand @_ ]; }
sub a_key { return rand() < 0.5 ? any(@keys[ ($#keys < 7 ? 0 : $#keys - 7) .. $#keys ]) : any(@keys); }

# One that somebody is just about to open again; and one that has been disabled for a while.
sub a_key_to_disable { return rand() < 0.5 ? any(map { $_->{op} && defined $_->{op}{since} ? $_->{op}{key} : () } @clients) // a_key() : a_key(); }
sub a_key_to_enable  { return any(grep { now() > $disabled{$_} + 0.3 } keys %disabled) // a_key(); }

# The same of what a reader may.
sub a_key_to_revoke { return rand() < 0.5 ? any(map { $_->{op} && $_->{op}{reader} && defined $_->{op}{since} ? $_->{op}{key} : () } @clients) // a_key() : any(keys %granted) // a_key(); }
sub a_key_to_grant { return any(grep { now() > $revoked{$_} + 0.5 } keys %revoked) // a_key(); }

# What he may open, as far as is known, or may not open any more.
sub sealed_for_reader
{
	my $keys = rand() < 0.8 ? \%granted : \%revoked;
	return any(grep { exists $keys->{ $_->{key} } } map { any(@sealed) } 1 .. 10) // any(@sealed);
}
sub a_kek { return 'kek' . (1 + int rand $keks); }

sub value_of { return "value $serial"; }

# [ weight, what is asked: an operation of History.pm, and its sql ]
my @operations = (
	[ 30, sub { my $key = a_key(); return { op => 'seal', key => $key, plain => value_of(), sql => sprintf q{SELECT envelope_encrypt('%s', '%s')}, value_of(), $key } } ],
	[ 30, sub { return open_of(rand() < 0.3 ? $sealed[-1] : any(@sealed)) } ],
	[ 5, sub { return open_twice(rand() < 0.7 ? $sealed[-1] : any(@sealed)) } ],
	[ 3, sub { return open_of(any(@sealed), a_key()) } ],
	[ 2, sub { return @dead ? open_of(any(@dead)) : open_of(any(@sealed)) } ],
	[ 4, sub { return making('rotate', a_key(), 'COMMIT') } ],
	[ 2, sub { return making('rotate', a_key(), 'ROLLBACK') } ],
	[ 2, sub { return making('create', "k$serial", 'COMMIT') } ],
	[ 2, sub { return making('create', "k$serial", 'ROLLBACK') } ],
	[ 1, sub { return making('create', "k$serial", 'ROLLBACK TO s; COMMIT') } ],
	[ 4, sub { my $key = a_key_to_disable(); return { op => 'disable', key => $key, sql => "SELECT envelope_disable_key('$key')" } } ],
	[ 6, sub { my $key = a_key_to_enable(); return { op => 'enable', key => $key, sql => "SELECT envelope_enable_key('$key')" } } ],
	[ 6, sub { return as_reader(open_of(sealed_for_reader())) } ],
	[ 4, sub { return as_reader(open_twice(sealed_for_reader())) } ],
	[ 3, sub { my $key = a_key_to_revoke(); return { op => 'revoke', key => $key, sql => "SELECT envelope_revoke('$key', 'reader', '{decrypt}')" } } ],
	[ 5, sub { my $key = a_key_to_grant(); return { op => 'grant', key => $key, sql => "SELECT envelope_grant('$key', 'reader', '{decrypt}')" } } ],
	[ 1, sub { return other('SELECT envelope_cache_flush()') } ],
	[ 1, sub { return other('SELECT envelope_prewarm()') } ],
	[ 1, sub { return other(q{SELECT count(*) FROM rewrap_all('%s', '%s')}, a_kek(), a_kek()) } ],
	[ 1, sub { return other(q{CALL envelope_rewrap('%s', '%s', 5)}, a_kek(), a_kek()) } ],
	[ 2, sub { return other(q{SELECT envelope_enable_kek('%s')}, a_kek()) } ]);
my @choice = map { my ($weight, $make) = @$_; ($make) x $weight } @operations;

sub other
{
	my ($sql, @names) = @_;
	$sql = sprintf $sql, @names;
	return { op => 'other', what => $sql, sql => $sql };
}

sub open_of
{
	my ($seal, $key) = @_;
	$key //= $seal->{key};
	return { op => 'open', key => $key, sealed => $seal->{value}, sql => "SELECT envelope_decrypt('$seal->{value}', '$key')" };
}

# Again in the same statement, a tenth of a second later: what was committed meanwhile counts.
# (By one call for two rows: each call hears of commits by itself when it is first made.)
sub open_twice
{
	my ($seal) = @_;
	my $op = open_of($seal);
	return { %$op, since => now() + 0.1, sql => "$op->{sql} FROM generate_series(1, 2) i WHERE i = 1 OR pg_sleep(0.1)::text = ''" };
}

sub as_reader { my ($op) = @_; return { %$op, reader => 1, sql => "SET LOCAL ROLE reader; $op->{sql}" }; }

# A new key or version and a value under it in one transaction, and how that ends.
sub making
{
	my ($op, $key, $end) = @_;
	my $make = $op eq 'create' ? "envelope_create_key('$key', '" . a_kek() . q{')} : "envelope_rotate_key('$key')";
	my $sealed = sprintf q{envelope_encrypt('%s', '%s')}, value_of(), $key;
	my $savepoint = $end =~ /ROLLBACK TO/ ? 'SAVEPOINT s; ' : '';
	return { op => $op, key => $key, plain => value_of(), ($end =~ /ROLLBACK/ ? (rollback => 1) : ()),
		sql => "BEGIN; ${savepoint}SELECT set_config('history.version', $make\::text, true); SELECT $sealed\::text || ' ' || current_setting('history.version'); $end" };
}

sub ask
{
	my ($client, $op) = @_;
	my $sql = delete $op->{sql};
	@$op{qw(id client t)} = ($serial, $client->{number}, now());
	push @history, $op;
	$client->{op} = $op;
	$client->{wire}->send($sql);
	return;
}

# What came of it; remembered for what is asked later.
sub take_answer
{
	my ($client) = @_;
	my ($op, $wire) = (delete $client->{op}, $client->{wire});
	my $error = $wire->error;
	my $answer = { id => $op->{id}, t => now() };
	if ($wire->idle && !$error)
	{
		@$answer{qw(answer value)} = ('ok', $wire->value);
		@$answer{qw(value version)} = split / /, $wire->value if $op->{op} =~ /^(?:create|rotate)$/;
		remember($op, $answer->{value});
	}
	# A FATAL may have come behind an answer that was complete: then nobody knows.
	elsif ($error && $error->{C} !~ /^57P/ && !$wire->gone)
	{
		@$answer{qw(answer code)} = ('error', $error->{C});
		undo($client) if $op->{op} =~ /^(?:create|rotate)$/;
	}
	else
	{
		$answer->{answer} = 'lost';
	}
	$done{"$op->{op} $answer->{answer}"}++;
	$done{"$1 ok"}++ if $answer->{answer} eq 'ok' && ($op->{rollback} ? 'rollback' : $op->{what} // '') =~ /(rollback|rewrap|flush)/;
	push @history, $answer;
	$client->{again} = now() + rand 0.04;
	return;
}

# The transaction block that the error left open.
sub undo
{
	my ($client) = @_;
	$client->{undoing} = 1;
	$client->{wire}->send('ROLLBACK');
	return;
}

sub remember
{
	my ($op, $value) = @_;
	push @{ $op->{rollback} ? \@dead : \@sealed }, { key => $op->{key}, value => $value } if defined $op->{plain};
	push @keys, $op->{key} if $op->{op} eq 'create' && !$op->{rollback};
	$disabled{ $op->{key} } = now() if $op->{op} eq 'disable';
	delete $disabled{ $op->{key} } if $op->{op} eq 'enable';
	my ($to, $from) = $op->{op} eq 'grant' ? (\%granted, \%revoked) : $op->{op} eq 'revoke' ? (\%revoked, \%granted) : return;
	$to->{ $op->{key} } = now();
	delete $from->{ $op->{key} };
	return;
}

# One turn of a client that has nothing under way, or has its answer.
sub turn
{
	my ($client) = @_;
	my $wire = $client->{wire};
	if (!$wire || $wire->gone)
	{
		take_answer($client) if $client->{op};
		return if now() < ($client->{connect} // 0);
		$client->{connect} = now() + 0.1;
		$client->{wire} = eval { PgEnvelope::Wire->new($node, 'SET client_min_messages = error') };
		return;
	}
	return unless $wire->idle;
	# it may be cancelled like everything else
	return undo($client) if delete $client->{undoing} && $wire->error;
	take_answer($client) if $client->{op};
	return if !$wire->idle || $client->{closing} || now() < ($client->{again} // 0);
	$serial++;
	ask($client, any(@choice)->());
	return;
}

#
# Who kills and pauses
#

my (@stopped, %struck);
my @killed = ('kill backend', 'kill agent', 'kill keeper', 'terminate backend', 'cancel backend', 'pause backend', 'pause agent', 'pause keeper', 'stop server', 'kill server');

# Each once, then by chance.
sub strike
{
	my ($clients) = @_;
	my @busy = grep { $_->{wire} && !$_->{wire}->gone && $_->{wire}->pid } @$clients;
	my $backend = @busy ? any(@busy)->{wire} : undef;
	my %way = (
		'kill backend' => sub { $backend && kill 'KILL', $backend->pid },
		'kill agent' => sub { my $pid = $node->agent_pid; $pid && kill 'KILL', $pid },
		'kill keeper' => sub { my $pid = $node->keeper_pid; $pid && kill 'KILL', $pid },
		'terminate backend' => sub { $backend && kill 'TERM', $backend->pid },
		'cancel backend' => sub { $backend && kill 'INT', $backend->pid },
		'pause backend' => sub { $backend && pause_process($backend->pid) },
		'pause agent' => sub { pause_process($node->agent_pid) },
		'pause keeper' => sub { pause_process($node->keeper_pid) },
		'stop server' => sub { go_on($_) for splice @stopped; $node->stop('immediate'); $node->start; 1 },
		'kill server' => sub { go_on($_) for splice @stopped; restart_after_kill(); 1 });
	my @missing = grep { !$struck{$_} } @killed;
	my $what = any(@missing ? @missing : map { /server/ ? $_ : ($_) x 3 } @killed);
	$struck{$what}++ if $way{$what}->();
	return;
}

sub pause_process
{
	my ($pid) = @_;
	return 0 unless $pid && kill 'STOP', $pid;
	push @stopped, { pid => $pid, until => now() + rand 1 };
	return 1;
}

sub go_on { kill 'CONT', $_[0]{pid}; return; }

sub restart_after_kill
{
	my $postmaster = $node->postmaster_pid;
	kill 'STOP', $postmaster or die $!;		# no child that we do not know
	PgEnvelope::Cluster::wait_until(sub { (PgEnvelope::Cluster::read_proc("$postmaster/stat") // '') =~ /.*\) T/s }, 'the postmaster to stand still');
	my $children = PgEnvelope::Cluster::process_tree();
	my @ours = ($postmaster, map { ($_, @{ $children->{$_} // [] }) } @{ $children->{$postmaster} });
	$node->kill9;
	PgEnvelope::Cluster::wait_until(sub { !grep { kill 0, $_ } @ours }, 'all processes to end');
	$node->start;
	return;
}

# The agent is started at once, however often it was killed.
sub hup_keeper { my $pid = $node->keeper_pid; kill 'HUP', $pid if $pid; return; }

#
# The run
#

my $admin = $node->session;
$admin->query($_) for q{SET client_min_messages = error}, q{CREATE ROLE reader}, map { "SELECT envelope_create_kek('kek$_')" } 1 .. $keks;
$admin->close;
$serial = 0;

sub run_until
{
	my ($condition, $striking) = @_;
	my ($next_strike, $next_hup) = (now() + 1, 0);
	until ($condition->())
	{
		my @wires = map { $_->{wire} // () } @clients;
		PgEnvelope::Wire::pump(0.01, @wires);
		turn($_) for @clients;
		go_on($_) for grep { now() > $_->{until} } @stopped;
		@stopped = grep { now() <= $_->{until} } @stopped;
		if ($striking && now() > $next_strike)
		{
			strike(\@clients);
			$next_strike = now() + 0.1 + rand 1;
		}
		if (now() > $next_hup)
		{
			hup_keeper();
			$next_hup = now() + 0.5;
		}
	}
	return;
}

# The first keys, each by a client; then everybody on all of them.
for my $key (1 .. $first_keys)
{
	$serial++;
	my $client = $clients[ $key % $clients ];
	run_first($client, making('create', "k$serial", 'COMMIT'));
}

sub run_first
{
	my ($client, $op) = @_;
	$client->{wire} //= PgEnvelope::Wire->new($node, 'SET client_min_messages = error');
	PgEnvelope::Wire::pump(1, $client->{wire}) until $client->{wire}->idle;
	ask($client, $op);
	PgEnvelope::Wire::pump(1, $client->{wire}) until $client->{wire}->idle;
	take_answer($client);
	return;
}

sub open_finally
{
	my @asked = map { { %{ open_of($_) }, id => ++$serial, client => 0, t => now(), final => 1 } } @_;
	my $list = join ', ', map { my $sql = delete $_->{sql}; "($_->{id}, '$_->{sealed}'::bytea, '$_->{key}')" } @asked;
	my @answers = map { my ($id, $answer, $value) = /^(\d+)\|(ok|error) (.*)/ or die $_;
		{ id => $id, t => now(), answer => $answer, ($answer eq 'ok' ? 'value' : 'code') => $value } }
	  split /\n/, $node->safe_psql('postgres', "SELECT id, try_open(sealed, key) FROM (VALUES $list) v (id, sealed, key)");
	push @history, @asked, @answers;
	return;
}

# Until there was enough of everything, which a slow machine may take longer for.
my @many = qw(seal open create rotate disable enable grant revoke rewrap flush rollback);
sub enough { return !(grep { ($done{"$_ ok"} // 0) < 10 } @many) && !grep { !$struck{$_} } @killed; }

my $from = now();
run_until(sub { now() > $from + $seconds && (enough() || now() > $from + $seconds + 2 * $PostgreSQL::Test::Utils::timeout_default) }, 1);
go_on($_) for splice @stopped;
$_->{closing} = 1 for @clients;
my $deadline = now() + $PostgreSQL::Test::Utils::timeout_default;
run_until(sub { die 'timed out waiting for the last answers' if now() > $deadline; !grep { $_->{op} } @clients }, 0);

#
# What is there in the end: every key is enabled, and everything that was ever sealed is opened.
#

$_->{wire} && $_->{wire}->vanish for @clients;
my $last = { number => 0 };
# From here on a late answer would be an error.
$node->append_conf('postgresql.conf', q{pg_envelope.kms_timeout = '60s'});
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('pg_envelope.kms_timeout') = '1min'}) or die 'no reload';
$node->poll_query_until('postgres', q{SELECT value = 'ready' FROM envelope_status() WHERE name = 'agent_state'}) or die 'no agent';
$serial++, run_first($last, { op => 'enable', key => $_, sql => "SELECT envelope_enable_key('$_')" }) for @keys;
# A version that no other value needs, for the doctor who drops one.
my $rotated = $done{'rotate ok'};
for my $key (@keys)
{
	$serial++;
	run_first($last, making('rotate', $key, 'COMMIT'));
	last if $done{'rotate ok'} > $rotated;
}
$last->{wire}->vanish;
$node->safe_psql('postgres', q{CREATE FUNCTION try_open(sealed bytea, key text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN RETURN 'ok ' || envelope_decrypt(sealed, key); EXCEPTION WHEN OTHERS THEN RETURN 'error ' || SQLSTATE; END $$;
	SELECT envelope_cache_flush()});
my @left = (@sealed, @dead);
open_finally(splice @left, 0, 1000) while @left;
my %keys = map { split /\|/ } split /\n/, $node->safe_psql('postgres', 'SELECT key_id, state FROM envelope.key');
my @deks = map { my %dek; @dek{qw(dek_id key version state live)} = split /\|/; $dek{$_} += 0 for qw(dek_id version live); \%dek } split /\n/, $node->safe_psql('postgres', q{
	SELECT dek_id, key_id, version, state, (SELECT count(wrapped) FROM envelope.wrapping w WHERE w.dek_id = d.dek_id) FROM envelope.dek d});
push @history, { final => { keys => \%keys, deks => \@deks } };
PgEnvelope::History::write_file(\@history, my $file = "$PostgreSQL::Test::Utils::log_path/history.jsonl");

diag(sprintf '%d operations in %d s: %s', $serial, $seconds, join ', ', map { "$_ $done{$_}" } sort keys %done);
diag('and ' . join ', ', map { "$_ $struck{$_}" } sort keys %struck);
my $history = PgEnvelope::History::read_file($file);
accepted($history, 'this one');
try_checker($history, 'this one');
cmp_ok($done{"$_ ok"} // 0, '>=', 10, "many were answered: $_") for @many;
is_deeply([ sort keys %struck ], [ sort @killed ], 'and meanwhile every process was killed and paused');
$node->stop;
done_testing();
