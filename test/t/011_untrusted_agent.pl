# The server trusts nothing that the agent says, gives it nothing that it need
# not have, and neither hangs nor leaks when it misbehaves.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Copy;
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

plan skip_all => 'SKIP: needs a private server (PGE_BINDIR)' unless $ENV{PGE_BINDIR};

sub wait_until { PgEnvelope::Cluster::wait_until(@_) }

# A server whose agent is a copy of perl; beside its programs all is shared.
my $fake = tempdir_short() . '/root';
my $bindir = PgEnvelope::Cluster::own_programs($fake);
copy($^X, "$bindir/pg_envelope_agent") or die "$^X: $!";
chmod 0755, "$bindir/pg_envelope_agent";

my @may = qw(PATH LANG TZ AWS_ROLE_ARN AWS_ROLE_SESSION_NAME AWS_WEB_IDENTITY_TOKEN_FILE
  AWS_CONTAINER_CREDENTIALS_RELATIVE_URI AWS_CONTAINER_CREDENTIALS_FULL_URI
  AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE AWS_REGION AWS_PROFILE AWS_CONFIG_FILE
  AWS_SHARED_CREDENTIALS_FILE AWS_DEFAULT_PROFILE AWS_EC2_METADATA_DISABLED);
$ENV{TZ} //= 'UTC';
$ENV{LANG} //= 'C';
$ENV{$_} //= '/a/name/and/no/secret' for @may;
$ENV{$_} = 'must not be passed on' for qw(AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
  AWS_CONTAINER_AUTHORIZATION_TOKEN VAULT_TOKEN BAO_TOKEN PGPASSWORD HTTPS_PROXY SSL_CERT_FILE);
local $ENV{PGE_BINDIR} = $bindir;
my $node = PgEnvelope::Cluster->new('fake', start => 0, plain_keyring => 1,
	'pg_envelope.harden_backends' => 'off',    # lets us count descriptors
	'pg_envelope.keyring_passphrase_command' => 'cat secret');
my $data = $node->data_dir;
copy("$FindBin::RealBin/../tools/fake_agent.pl", "$data/serve") or die $!;
$node->start;
$node->create_extension;
wait_for_ready();

# What the keeper gives to the agent.
is(seen('environment'), join(',', sort @may),
	'of the environment the agent gets the names that hold no secret');
is(seen('descriptors'), '', 'of the descriptors pipe, socket and standard streams');
is(seen('SigBlk'), '0' x 16, 'no signal is blocked');
# 32 and above: glibc keeps two for itself, and what started us may ignore them.
is(hex(substr(seen('SigIgn'), -8)) & 0x7fffffff & ~(1 << 7), 0, 'or ignored (but SIGFPE, by perl)');
is(seen('session'), 'own', 'it has a session of its own');
is(seen('settings'), 'keyring_file=' . $node->keyring_file
	  . ' keyring_passphrase_command=cat secret kms_concurrency=16 kms_config_file= kms_timeout_ms=10000',
	'it is told the settings');
is(seen('secret'), '32', 'and the secret');
forget();
$node->reload;
wait_until(sub { defined seen('settings') }, 'the settings after a reload');
is(seen('secret'), '0', 'which is not sent twice');

# Good answers, whole or in pieces, on one connection per transaction.
my $session = $node->session;
forget();
is(ask(), 'the fake', 'an answer is taken');
is(seen('proof'), 'right', 'after the backend proved the secret');
connection_mode('slowly');
is(ask(), 'the fake', 'also byte by byte');
connection_mode('stopped');
is(ask(), 'the fake', 'and one that was there in time when we were not');
connection_mode('');
forget();
$session->query('BEGIN');
ask() for 1 .. 3;
is(scalar(() = all_seen() =~ /^connection/mg), 1, 'a transaction keeps its connection');
$session->query('COMMIT');
wait_until(sub { all_seen() =~ /^end/m }, 'the end of the connection');
pass('and its end closes it');

# Connections that break are made again, and the request is sent again.
for my $mode (qw(close drop half malformed), 'wrong ticket')
{
	connection_mode("$mode 2");
	is(ask(), 'the fake', "an agent that twice does \"$mode\" is asked a third time");
}

# Lies are no answers.
my %lies = (
	'wrong secret' => 'the agent did not prove that it knows the socket\'s secret',
	'wrong type' => 'the agent did not start with a challenge',
	'welcome' => 'the agent did not start with a challenge',
	'wrong ticket' => 'the agent answered what was not asked',
	'long length' => 'the agent speaks another version of the protocol',
	'next version' => 'the agent speaks another version of the protocol',
	'malformed' => 'the agent sent a malformed frame',
	'no answer' => 'the agent sent what is no answer',
	'half' => 'the agent closed the connection');
my $descriptors = descriptors();
for my $mode (sort keys %lies)
{
	connection_mode($mode);
	is(ask(), "The agent did not answer within 1000 ms; $lies{$mode}.", "\"$mode\" is seen through");
}
# What would make a second KEK is never sent twice.
connection_mode('drop');
forget();
my $lost = $node->fails_with(q{SELECT envelope_create_kek('main')}, 'KE006', 'a lost answer is an error');
like($lost, qr/it may have been carried out/, 'that does not claim to know');
is(scalar(() = all_seen() =~ /^request 19$/mg), 1, 'and the request was made once');
connection_mode('close 2');
forget();
my $incomplete = $node->fails_with(q{SELECT envelope_create_kek('main')}, 'KE006', 'an answer without a KEK is refused');
like($incomplete, qr/DETAIL:.*incomplete.*may have been made/, 'and said to be that');
is(scalar(() = all_seen() =~ /^request 19$/mg), 1, 'a request that has not gone out is made again');

# An answer that cannot be written down is the agent's fault, not the server's.
$node->safe_psql('postgres', q{
	INSERT INTO envelope.keyring VALUES ('6d0e4b4c-1a35-4b1c-9a5e-6a1d8f3c2b10');
	INSERT INTO envelope.kek (name, uri) VALUES ('lied', 'local:6d0e4b4c-1a35-4b1c-9a5e-6a1d8f3c2b11');
});
for my $mode ('', 'no version', 'no check value', 'two wrappings', 'short wrapping', 'odd version')
{
	connection_mode($mode);
	$node->fails_with(q{SELECT envelope_create_key('lied', 'lied')}, 'KE006', "a wrap with \"$mode\"");
}
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM envelope.key) + (SELECT count(*) FROM envelope.dek)'),
	'0', 'and nothing is written');
connection_mode('odd uri');
$node->fails_with(q{SELECT envelope_create_kek('main')}, 'KE006', 'a KEK with an odd URI');
$node->fails_with(q{SELECT envelope_alter_kek('lied', uri) FROM envelope.kek}, 'KE006', 'nor is one altered to that');
connection_mode('drop');
forget();
$lost = $node->fails_with(q{SELECT envelope_destroy_kek('lied', uri, true) FROM envelope.kek}, 'KE006', 'a destruction whose answer is lost');
like($lost, qr/it may have been carried out/, 'does not claim to know');
is(scalar(() = all_seen() =~ /^request 23$/mg), 1, 'and is asked for once');
is($node->safe_psql('postgres', 'SELECT state, uri FROM envelope.kek'), 'enabled|local:6d0e4b4c-1a35-4b1c-9a5e-6a1d8f3c2b11', 'the row stays as it was');
connection_mode('');
$node->fails_with(q{SELECT envelope_rotate_kek('lied')}, 'KE006', 'a rotation without a version');
$node->fails_with(q{SELECT * FROM rewrap_all('lied', 'lied')}, 'KE006', 'a KEK that has no version');
$node->safe_psql('postgres', q{INSERT INTO envelope.wrapping (dek_id, seq, kek, kek_version, superseded) VALUES (1, 1, 'lied', '1', now())});
forget();
$node->fails_with(q{SELECT envelope_rotate_kek('lied')}, 'KE006', 'nor is one rotated that has wrapped and has no version');
is_deeply([ all_seen() =~ /^request (\d+)$/mg ], [21], 'which is only asked about');
$node->safe_psql('postgres', q{INSERT INTO envelope.wrapping (dek_id, seq, kek, kek_version, superseded) VALUES (1, 2, 'lied', '4294967296', now())});
my $odd = $node->fails_with(q{SELECT envelope_rotate_kek('lied')}, 'KE013', 'nor where a row has a version that is none');
like($odd, qr/column "kek_version" of table "envelope\.wrapping" is damaged/, 'which is named');

connection_mode('wrong secret');
forget();
ask();
is(seen('proof'), 'none', 'who does not prove the secret gets no proof');

# A silent one: the wait ends at its deadline or with a cancel, which it sees.
connection_mode('silent');
is(ask('silent'), 'The agent did not answer within 1000 ms.', 'silence has a deadline');
$session->query(q{SET statement_timeout = '100ms'});
# (The shortest of some waits counts: the machine may stand still during one.)
my ($out, $err, $shortest);
for (1 .. 5)
{
	forget();
	my $from = clock_gettime(CLOCK_MONOTONIC);
	($out, $err) = $session->try('SELECT count(*) FROM envelope_status()');
	my $took = clock_gettime(CLOCK_MONOTONIC) - $from;
	$shortest = $took if !defined $shortest || $took < $shortest;
	last if $shortest < 0.9 || $err !~ /57014/;
}
like($err, qr/57014/, 'a cancel ends the wait');
cmp_ok($shortest, '<', 0.9, 'before the deadline');
wait_until(sub { all_seen() =~ /^left/m }, 'the agent to see it');
pass('and the agent sees it');

# Caught in a subtransaction, it leaves nothing that the next call could trip over.
connection_mode('silent 1');
forget();
$session->query(q{
	DO $$
	DECLARE answer text;
	BEGIN
		BEGIN
			PERFORM count(*) FROM envelope_status();
		EXCEPTION WHEN query_canceled THEN
			PERFORM set_config('statement_timeout', '0', false);
		END;
		SELECT value INTO answer FROM envelope_status() WHERE name = 'agent_from';
		IF answer IS DISTINCT FROM 'the fake' THEN RAISE 'no answer: %', answer; END IF;
	END $$});
like(all_seen(), qr/^left/m, 'a cancel that is caught closes its connection');
$session->query('RESET statement_timeout');
connection_mode('');
is(ask(), 'the fake', 'the session goes on');
is(descriptors(), $descriptors, 'no descriptor has leaked');

# The keeper and its pipe.
my $postmaster = $node->postmaster_pid;
my $keeper = $node->keeper_pid;
start_mode('exit');
logs(qr/ended: child process exited with exit code 3/, 'an agent that exits is logged');
my $text = 'it speaks another version of the protocol, or none';
start_mode('garbage');
logs(qr/killing the pg_envelope agent \(PID \d+\): $text/, 'so is one that speaks something else');
start_mode('next version');
logs(qr/killing the pg_envelope agent \(PID \d+\): $text/, 'or another version');
my $at = -s $node->logfile;
start_mode('control characters');
logs(qr/killing the pg_envelope agent \(PID \d+\): $text/, 'or what could forge log lines');
unlike(substr(slurp_file($node->logfile), $at), qr/\x1b/, 'of which nothing is logged');
start_mode('long line');
logs(qr/WARNING:  pg_envelope agent: x{1000}$/m, 'what is proper is logged');
start_mode('mute');
logs(qr/it did not say that it is ready within 10 seconds/, 'one that does not get ready is killed');
is($node->keeper_pid, $keeper, 'the keeper has lived through it all');

# One that ignores the end of its pipe is killed soon (after 0.5 s; else pg_ctl gives up after 60).
my $before = $node->agent_pid;
start_mode('stay');
my $agent = $node->wait_for_agent($before);
wait_for_ready();
$session->close;
my $from = clock_gettime(CLOCK_MONOTONIC);
$node->stop;
cmp_ok(clock_gettime(CLOCK_MONOTONIC) - $from, '<', 20, 'it does not hold up the stop');
wait_until(sub { !kill(0, $agent) }, 'the end of the agent');
pass('and is gone');

# None at all: the server starts, and says what is missing.
unlink "$bindir/pg_envelope_agent";
$node->start;
like(slurp_file($node->logfile), qr/WARNING:  pg_envelope found no program ".*pg_envelope_agent"/,
	'a missing agent is a warning');
ok($node->poll_query_until('postgres',
	"SELECT value = 'program missing' FROM envelope_status() WHERE name = 'agent_state'"),
	'and in the status, once the keeper has looked');
$node->stop;
done_testing();

sub tempdir_short { return PostgreSQL::Test::Utils::tempdir_short(); }

sub all_seen { return -e "$data/fake_agent.seen" ? slurp_file("$data/fake_agent.seen") : ''; }

# The last that was seen of it; undef if nothing.
sub seen
{
	my ($what) = @_;
	my @found = all_seen() =~ /^\Q$what\E ?(.*)$/mg;
	return $found[-1];
}

sub forget { unlink "$data/fake_agent.seen"; return; }

sub set_mode
{
	my ($moment, $mode) = @_;
	open(my $out, '>', "$data/fake_agent.new") or die $!;
	print $out "$mode\n";
	close $out;
	rename("$data/fake_agent.new", "$data/fake_agent.$moment") or die $!;
	return;
}

sub connection_mode { set_mode('connection', $_[0]); return; }

# Makes the next agent that kind; the reload ends the back-off.
sub start_mode
{
	my ($mode) = @_;
	set_mode('start', "$mode 1");
	my $agent = $node->agent_pid;
	kill('KILL', $agent) if defined $agent;
	$node->reload;
	return;
}

# Waits until it is in the log, behind what was waited for before.
sub logs
{
	my ($regex, $name) = @_;
	our $offset;
	$offset = $node->wait_for_log($regex, $offset // 0);
	$node->reload;
	wait_for_ready();
	pass($name);
	return;
}

sub wait_for_ready
{
	$node->poll_query_until('postgres',
		q{SELECT value = 'ready' FROM envelope_status() WHERE name = 'agent_state'})
	  or die 'no agent is ready';
	return;
}

# What the agent said, or what is said in its place.  (One that the machine let stand still for the
# whole second is asked again, unless it is meant to be silent.)
sub ask
{
	my ($silent) = @_;
	my $answer;
	wait_until(sub {
		$answer = $session->query(q{SELECT value FROM envelope_status() WHERE name IN ('agent_from', 'agent_answer')});
		return $silent || $answer ne 'The agent did not answer within 1000 ms.' }, 'an answer');
	return $answer;
}

sub descriptors
{
	return scalar grep { (readlink($_) // '') =~ /^(socket|anon_inode)/ }
	  glob('/proc/' . $session->pid . '/fd/*');
}
