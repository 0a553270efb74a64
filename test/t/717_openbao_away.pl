# OpenBao hangs, goes away, refuses and comes back: cancels are heard, kms_timeout is kept, what is cached serves
# to its time and with cache_grace to that, a refusal ends it at once, and a thousand refusals cost a few calls.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use POSIX ();
use PgEnvelope::Cluster;
use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

sub wait_until { PgEnvelope::Cluster::wait_until(@_) }

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $bao = PgEnvelope::OpenBao->new($dir) or plan skip_all => 'SKIP: ' . PgEnvelope::OpenBao::why_not();
$bao->ask(POST => "transit/keys/$_", { type => 'aes256-gcm96', derived => JSON::PP::true }) for qw(acme bank);
my $role = $bao->approle('db', $bao->least_policy(qw(acme bank)), token_ttl => '1h');
my ($between, $proxy) = start_proxy($bao->server);
now_it('passes');
PgEnvelope::OpenBao::write_file("$dir/kms.conf", "[vault corp]\naddress = https://$between\nca_file = " . $bao->ca_file . "\n$role->{lines}allow_keys = transit/keys/acme, transit/keys/bank\n");

my ($ttl, $slop) = (1, 0.1);    # clocks of two kinds are compared
my $node = PgEnvelope::Cluster->new('away', 'pg_envelope.kms_config_file' => "$dir/kms.conf",
	'pg_envelope.cache_ttl' => '1h', 'pg_envelope.cache_grace' => '1h', 'pg_envelope.kms_timeout' => '60s');
my $admin = $node->session;
my $concurrency = 5;
$admin->query('SET client_min_messages = error');
$admin->query("SELECT envelope_create_kek('$_', 'vault://$between/transit/keys/$_'); SELECT envelope_create_key('$_', '$_');
	CREATE TABLE $_ AS SELECT envelope_encrypt('of $_', '$_') AS sealed") for qw(acme bank);

sub open_sql { my ($key) = @_; return "SELECT envelope_decrypt(sealed, '$key') FROM $key"; }
sub sqlstate { my ($err) = @_; return $err =~ /^\S*\s*ERROR:  (\w{5}):/m ? $1 : ''; }
sub clock { return $admin->query('SELECT extract(epoch FROM clock_timestamp())'); }
sub calls { my ($path) = @_; return scalar grep { $_->{path} eq $path } @{ $_[1] }; }
sub flush_all { $admin->query('SELECT envelope_cache_flush()'); return; }

# In force here and in the agent, which tells of the last one only; and what it has heard, the keeper has.
sub set
{
	my (%settings) = (@_, kms_concurrency => ++$concurrency);
	$admin->query("ALTER SYSTEM SET pg_envelope.$_ = '$settings{$_}'") for keys %settings;
	$admin->query('SELECT pg_reload_conf()');
	for my $name (keys %settings)
	{
		wait_until(sub { $admin->query("SHOW pg_envelope.$name") eq $settings{$name} }, "$name is $settings{$name}");
	}
	wait_until(sub { ($node->status('agent_kms_concurrency') // '') eq $concurrency }, 'the agent has read it, too');
	return;
}

# Not out of the cache.
sub answers { wait_until(sub { flush_all(); ($admin->try(open_sql('acme')))[0] eq 'of acme' }, 'it answers'); return; }

#
# It hangs.
#
my @filling;
for my $where ('before the connection', 'in TLS', 'in its answer')
{
	flush_all();
	now_it("hangs $where");
	push @filling, fill_queue() if $where =~ /connection/;
	my $waits = $node->session;
	$waits->send(open_sql('acme'));
	wait_until(sub { $admin->query('SELECT wait_event_type FROM pg_stat_activity WHERE pid = ' . $waits->pid) eq 'Extension' }, 'it waits for the agent');
	my $begin = time;
	$admin->query('SELECT pg_cancel_backend(' . $waits->pid . ')');
	my (undef, $err) = $waits->wait;
	my $took = time - $begin;
	is(sqlstate($err), '57014', "a service that hangs $where: the statement is cancelled");
	cmp_ok($took, '<', 10, sprintf('%.3f s after it was asked to', $took));
	$waits->close;
}
now_it('passes');
@filling = ();
set(kms_timeout => '400ms');
for my $where ('in TLS', 'in its answer')
{
	# With a token in hand: where none comes for long, one hears of that, and at once.
	now_it('passes');
	answers();
	flush_all();
	now_it("hangs $where");
	my $begin = time;
	my (undef, $err) = $admin->try(open_sql('acme'));
	my $took = time - $begin;
	# The agent has 350 ms of it; on a busy machine its word may come too late.
	like(sqlstate($err), qr/^KE00[67]$/, "a service that hangs $where");
	cmp_ok($took, '<', 10, sprintf('has 400 ms, and the session hears of it after %.3f s', $took));
	cmp_ok($took, '>', 0.3, 'and not before');
}
now_it('passes');
set(kms_timeout => '10s');
answers();

#
# It refuses one tenant's KEK.
#
$admin->query('DO $$ BEGIN FOR i IN 1 .. 20 LOOP PERFORM envelope_create_key(\'acme-\' || i, \'acme\'); END LOOP; END $$');
$admin->query(q{CREATE TABLE many AS SELECT 'acme-' || i AS key, envelope_encrypt('x', 'acme-' || i) AS sealed FROM generate_series(1, 20) i});
$admin->query(q{CREATE FUNCTION denials(sealed bytea, key text, times integer) RETURNS integer LANGUAGE plpgsql AS $$
	DECLARE seen integer := 0;
	BEGIN
		FOR i IN 1 .. times LOOP
			BEGIN PERFORM envelope_decrypt(sealed, key); EXCEPTION WHEN SQLSTATE 'KE010' THEN seen := seen + 1; END;
		END LOOP;
		RETURN seen;
	END $$});
$bao->policy('db', $bao->least_policy('bank'));
flush_all();
$bao->audited;
my $begin = time;
is($admin->query(q{SELECT denials(sealed, 'acme', 1000) FROM acme}), '1000', 'a thousand times a DEK whose KEK is denied');
# A few seconds each is remembered; a slow machine takes more of them.
my $few = 2 + int((time - $begin) / 2);
my $seen = $bao->audited;
cmp_ok(calls('transit/decrypt/acme', $seen), '<=', $few, 'cost ' . calls('transit/decrypt/acme', $seen) . ' unwraps');
cmp_ok(calls('transit/decrypt/acme', $seen), '>=', 1, 'but not none');
cmp_ok(calls('auth/token/lookup-self', $seen), '<=', $few, 'and ' . calls('auth/token/lookup-self', $seen) . ' looks at the token');
$begin = time;
is($admin->query(q{SELECT sum(denials(sealed, key, 1)) FROM many}), '20', 'twenty DEKs under it');
$few = 2 + int((time - $begin) / 2);
$seen = $bao->audited;
is(calls('transit/decrypt/acme', $seen), 20, 'cost 20 unwraps');
cmp_ok(calls('auth/token/lookup-self', $seen), '<=', $few, 'and ' . calls('auth/token/lookup-self', $seen) . ' looks at the token');
is(calls('auth/approle/login', $seen), 0, 'and no login');
is($admin->query(open_sql('bank')), 'of bank', 'its neighbour opens');
$bao->policy('db', $bao->least_policy(qw(acme bank)));
wait_until(sub { ($admin->try(open_sql('acme')))[0] eq 'of acme' }, 'with the right given back it opens');
$bao->policy('db', $bao->least_policy('bank'));
flush_all();
is(sqlstate(($admin->try(open_sql('acme')))[1]), 'KE010', 'denied again');
$bao->policy('db', $bao->least_policy(qw(acme bank)));
flush_all();
is($admin->query(open_sql('acme')), 'of acme', 'after a flush it is asked for, whatever was remembered');

#
# It is away while the cache's time ends; then it is back, and refuses.
#
set(cache_ttl => '1s');
flush_all();
is($admin->query(open_sql('acme')), 'of acme', 'cached');
now_it('is away');
wait_until(sub { die 'no grace' if $admin->query(open_sql('acme')) ne 'of acme'; $node->status('graces') > 0 }, 'beyond cache_ttl it is used with cache_grace');
my $holder = $node->session;
$holder->query('BEGIN');
is($holder->query(open_sql('acme')), 'of acme', 'by another session, too');
my $last;
wait_until(sub { (undef, $last) = $admin->try(open_sql('bank')); $last =~ /5 times in a row/ }, 'the breaker is open');
is(sqlstate($last), 'KE007', 'what was not cached is not there');
is($admin->query(open_sql('acme')), 'of acme', 'what was, is');
$bao->policy('db', $bao->least_policy('bank'));
now_it('passes');
wait_until(sub { (undef, $last) = $admin->try(open_sql('acme')); return $last ne '' }, 'a value that fails');
is(sqlstate($last), 'KE010', 'once it answers, its refusal wins over grace');
is(sqlstate(($holder->try(open_sql('acme')))[1]), 'KE010', 'in the other session, too');
$holder->close;
is($admin->query(open_sql('bank')), 'of bank', 'the answer has closed the breaker, and others are served');
now_it('is away');
isnt(sqlstate(($admin->try(open_sql('acme')))[1]), '', 'the refused one is gone also when it is away again');
$bao->policy('db', $bao->least_policy(qw(acme bank)));

#
# To the end of its time, by the server's clock.
#
for my $grace (0, 2)
{
	set(cache_grace => $grace ? "${grace}s" : 0);
	now_it('passes');
	wait_until(sub { ($admin->try(open_sql('acme')))[0] eq 'of acme' }, 'it is there');
	flush_all();
	my ($opened, $before) = (0, clock());
	$admin->query(open_sql('acme'));
	my $after = clock();
	now_it('is away');
	wait_until(
		sub {
			my $start = clock();
			(my $out, $last) = $admin->try(open_sql('acme'));
			$opened = $start if $out eq 'of acme';
			return $out eq '';
		}, 'the end');
	my $failed = clock();
	is(sqlstate($last), 'KE007', "cache_grace $grace: in the end it is the service that is missing");
	cmp_ok($opened, '<=', $after + $ttl + $grace + $slop, sprintf('the last one opened %.2f s after the unwrap', $opened - $after));
	cmp_ok($failed, '>=', $before + $ttl + $grace - $slop, sprintf('the first one failed after %.2f s', $failed - $before));
}

$admin->close;
$node->stop;
kill KILL => $proxy;
waitpid $proxy, 0;
done_testing();

sub now_it
{
	my ($does) = @_;
	PgEnvelope::OpenBao::write_file("$dir/does.new", $does);
	rename "$dir/does.new", "$dir/does" or die $!;
	wait_until(sub { -e "$dir/does.seen" && slurp_file("$dir/does.seen") eq $does }, "the service $does");
	return;
}

# Connections that nobody accepts, until the kernel takes no more.
sub fill_queue
{
	my @held;
	for (1 .. 8)
	{
		my $socket = IO::Socket::INET->new(PeerAddr => $between, Blocking => 0) or last;
		push @held, $socket;
	}
	return @held;
}

# Between the agent and OpenBao; does what the file "does" says.  A change ends the connections there are.
sub start_proxy
{
	my ($server) = @_;
	my $listener = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', Blocking => 0) or die $!;
	my $parent = $$;
	my $pid = fork // die $!;
	return ('127.0.0.1:' . $listener->sockport, $pid) if $pid;
	my ($does, $said, %other, %allowance, %client) = ('', '');
	my $sockets = IO::Select->new($listener);
	local $SIG{PIPE} = 'IGNORE';
	my $drop = sub { my ($s) = @_; for ($s, $other{$s}) { next unless $_; $sockets->remove($_); close $_; } delete @allowance{ map { $_ // '' } $s, $other{$s} }; };
	# It ends with the test, however that ends.
	while (getppid == $parent)
	{
		$said = -e "$dir/does" ? slurp_file("$dir/does") : '';
		if ($said ne $does)
		{
			$drop->($_) for grep { $_ != $listener } $sockets->handles;
			%other = %client = ();
			$does = $said;
			$does eq 'hangs before the connection' ? $sockets->remove($listener) : $sockets->add($listener);
			PgEnvelope::OpenBao::write_file("$dir/does.seen", $does);
		}
		for my $s ($sockets->can_read(0.01))
		{
			if ($s == $listener)
			{
				my $new = $listener->accept or next;
				if ($does eq 'is away') { close $new; next; }
				$sockets->add($new);
				next if $does eq 'hangs in TLS';
				my $up = IO::Socket::INET->new(PeerAddr => $server) or die $!;
				$sockets->add($up);
				@other{ $new, $up } = ($up, $new);
				$client{$new} = 0;
				next;
			}
			next unless defined fileno $s;    # closed with the other end, in this turn
			my $n = sysread($s, my $bytes, 65536);
			if (!$n) { $drop->($s); next; }
			next unless $other{$s};
			if ($does eq 'hangs in its answer')
			{
				# After the client's second word, which is the request, a part of the answer.
				if (exists $client{$s}) { $allowance{ $other{$s} } = 250 if ++$client{$s} == 2; }
				elsif (defined $allowance{$s})
				{
					$bytes = substr($bytes, 0, $allowance{$s});
					$allowance{$s} -= length $bytes;
				}
			}
			syswrite($other{$s}, $bytes) if length $bytes;
		}
	}
	POSIX::_exit(0);
}
