# A process fails or dies at each crash point of the sources (src/base/crash_point.h),
# or while it stands there the agent, the keeper or the server does.  Afterwards every
# committed value opens, every key has its one active version, every wrapping unwraps, what
# was acknowledged is there and what failed is not; the secret region is zero before the first
# connection.  A point that is not reached and an action that does not happen are failures.
#
# PGE_CRASH=all ("make check-crash"): each point with everything that can happen there.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::CrashPoints;
use PgEnvelope::Wire;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC usleep);

my $all = ($ENV{PGE_CRASH} // '') eq 'all';
my @points = PgEnvelope::CrashPoints::all();
my %point = map { ($_->{name} => $_) } @points;

my $node = PgEnvelope::Cluster->new('crash', test_build => 1, start => 0, restart_after_crash => 'on', log_connections => 'on',
	autovacuum => 'off', shared_buffers => '16MB', wal_writer_delay => '10s', 'pg_envelope.harden_backends' => 'off', 'pg_envelope.cache_size' => 2048, 'pg_envelope.kms_timeout' => '60s');
PgEnvelope::Cluster::replace_file(my $services = $node->basedir . '/kms.conf', "[local]\nallow_destroy = on\n");
$node->append_conf('postgresql.conf', "pg_envelope.kms_config_file = '$services'");
$node->start;
$node->create_extension;
my ($session, $problems, $serial) = (undef, [], 0);

sub now     { return clock_gettime(CLOCK_MONOTONIC); }
sub patient { return now() + $PostgreSQL::Test::Utils::timeout_default; }
sub problem { push @$problems, $_[0]; return; }

#
# Talking to a server that may be on its way up
#

# Waits for the answer, or the end of the session.
sub await
{
	my ($wire, $meanwhile) = @_;
	my $deadline = patient();
	until ($wire->idle || $wire->gone)
	{
		die 'timed out waiting for an answer' if now() > $deadline;
		PgEnvelope::Wire::pump($meanwhile ? 0.1 : 1, $wire);
		$meanwhile->() if $meanwhile && !$wire->idle;
	}
	return;
}

sub connected
{
	my $deadline = patient();
	while (now() < $deadline)
	{
		my $wire = eval { PgEnvelope::Wire->new($node, 'SET client_min_messages = error') };
		await($wire) if $wire;
		return $wire if $wire && !$wire->gone;
		usleep(10_000);
	}
	die 'timed out waiting for the server';
}

# The last column of a statement that must not fail.
sub sql
{
	my ($statement) = @_;
	$session = connected() if !$session || $session->gone;
	$session->send($statement);
	await($session);
	die "\"$statement\" failed: " . ($session->error ? "$session->{error}{C} $session->{error}{M} " . ($session->error->{D} // '') : 'no server') if $session->gone || $session->error;
	return $session->value;
}

#
# What is done at a point.  An operation makes what it needs, and returns the statement
# and what must be so afterwards, for an answer (1), an error (0), or neither (undef).
#

sub key_with_value
{
	my ($kek) = @_;
	my $key = 'k' . ++$serial;
	sql(qq{SELECT envelope_create_key('$key', '} . ($kek // 'main') . q{')});
	sql("INSERT INTO v VALUES ('$key', 'value of $key', envelope_encrypt('value of $key', '$key'))");
	return $key;
}

sub kek
{
	my $kek = 'kek' . ++$serial;
	sql("SELECT envelope_create_kek('$kek')");
	return $kek;
}

sub one_of
{
	my ($acknowledged, $what, $is, $yes, $no) = @_;
	problem("$what is \"$is\"") unless grep { $is eq $_ } defined $acknowledged ? ($acknowledged ? $yes : $no) : ($yes, $no);
	return;
}

# One column of one row as text.
sub look { return sql("SELECT coalesce(($_[0])::text, '')"); }

sub create_key
{
	my $key = 'k' . ++$serial;
	return (qq{SELECT envelope_create_key('$key', 'main'); INSERT INTO v VALUES ('$key', 'value of $key', envelope_encrypt('value of $key', '$key'))},
		sub { one_of($_[0], 'the key and its value', look("SELECT (SELECT count(*) FROM envelope.key WHERE key_id = '$key') || ' ' || (SELECT count(*) FROM v WHERE key_id = '$key')"), '1 1', '0 0') });
}

sub rotate_key
{
	my $key = key_with_value();
	return ("SELECT envelope_rotate_key('$key')",
		sub { one_of($_[0], 'the versions', look("SELECT string_agg(version || state, ' ' ORDER BY version) FROM envelope.dek WHERE key_id = '$key'"), '1retired 2active', '1active') });
}

sub create_kek
{
	my $kek = 'kek' . ++$serial;
	return ("SELECT envelope_create_kek('$kek')",
		sub { one_of($_[0], 'the KEK', look("SELECT count(*) FROM envelope.kek WHERE name = '$kek'"), '1', '0') });
}

# The number that it returns is of a version that is in the keyring.
sub rotate_kek
{
	my $key = key_with_value(my $kek = kek());
	return ("SELECT envelope_rotate_kek('$kek')", sub {
		key_with_value($kek) if $_[0];
		one_of($_[0], 'the newest version', look("SELECT max(kek_version) FROM envelope.wrapping WHERE kek = '$kek'"), '2', '1') });
}

sub destroy_kek
{
	my $kek = kek();
	my $uri = look("SELECT uri FROM envelope.kek WHERE name = '$kek'");
	my $destroy = "SELECT envelope_destroy_kek('$kek', '$uri', true)";
	return ($destroy, sub {
		one_of($_[0], 'the KEK', look("SELECT state FROM envelope.kek WHERE name = '$kek'"), 'destroyed', 'enabled');
		sql($destroy);
		one_of(1, 'the KEK, asked again,', look("SELECT state FROM envelope.kek WHERE name = '$kek'"), 'destroyed') });
}

sub disable_key
{
	my $key = key_with_value();
	return ("SELECT envelope_disable_key('$key')", sub {
		my $state = look("SELECT state FROM envelope.key WHERE key_id = '$key'");
		one_of($_[0], 'the key', $state, 'disabled', 'enabled');
		must_not_open($key, 'KE004') if $state eq 'disabled';
		sql("SELECT envelope_enable_key('$key')") });
}

sub enable_key
{
	my $key = key_with_value();
	sql("SELECT envelope_disable_key('$key')");
	return ("SELECT envelope_enable_key('$key')", sub {
		one_of($_[0], 'the key', look("SELECT state FROM envelope.key WHERE key_id = '$key'"), 'enabled', 'disabled');
		sql("SELECT envelope_enable_key('$key')") });
}

sub destroy_key
{
	my $key = key_with_value();
	sql("SELECT envelope_rotate_key('$key'); SELECT envelope_disable_key('$key')");
	return ("SELECT envelope_destroy_key('$key')", sub {
		my $state = look("SELECT (SELECT state FROM envelope.key WHERE key_id = '$key') || string_agg(' ' || state || CASE WHEN w.wrapped IS NULL THEN '' ELSE ' wrapped' END, '' ORDER BY version) FROM envelope.dek JOIN envelope.wrapping w USING (dek_id) WHERE key_id = '$key'");
		one_of($_[0], 'the key', $state, 'destroyed destroyed destroyed', 'disabled retired wrapped active wrapped');
		$state =~ /^destroyed/ ? must_not_open($key, 'KE005') : sql("SELECT envelope_enable_key('$key')") });
}

sub must_not_open
{
	my ($key, $sqlstate) = @_;
	$session->send("SELECT envelope_decrypt(sealed, key_id) FROM v WHERE key_id = '$key'");
	await($session);
	problem("a value of $key: " . ($session->error ? "$session->{error}{C} $session->{error}{M}" : 'it opens')) unless $session->error && $session->error->{C} eq $sqlstate;
	return;
}

# A rewrap: of all data keys, or of none.  But an agent that is told to stop, as when its keeper
# dies, says so to who waits, and then a data key is a row that failed; another run does what is left.
my $wrapped_by = q{SELECT string_agg(kek || ' ' || n, ', ' ORDER BY kek) || (SELECT ' ' || state FROM envelope.kek WHERE name = '%s') || ' ' ||
	(SELECT string_agg(DISTINCT kek, ' ') FROM envelope.key WHERE key_id IN (%s))
	FROM (SELECT kek, count(wrapped) AS n FROM envelope.wrapping JOIN envelope.dek USING (dek_id) WHERE key_id IN (%s) AND wrapped IS NOT NULL GROUP BY 1) x};

sub rewrap_all
{
	my ($old, $new) = map { kek() } 1, 2;
	my $keys = join ', ', map { q{'} . key_with_value($old) . q{'} } 1 .. 3;
	my $rewrap = "SELECT count(*) FILTER (WHERE outcome = 'failed') FROM rewrap_all('$old', '$new')";
	return ($rewrap, sub {
		my ($acknowledged, $failed) = @_;
		my $is = look(sprintf $wrapped_by, $old, $keys, $keys);
		my @left = ("$new 3 retired $new", "$old 1, $new 2 retired $new", "$old 2, $new 1 retired $new", "$old 3 retired $new");
		my @may = !defined $acknowledged ? (@left, "$old 3 enabled $old") : $acknowledged ? $left[$failed] : "$old 3 enabled $old";
		problem("what it is wrapped by is \"$is\"") unless grep { $is eq $_ } @may;
		sql($rewrap);
		one_of(1, 'what it is wrapped by in the end', look(sprintf $wrapped_by, $old, $keys, $keys), "$new 3 retired $new") });
}

# CALL: whole batches, and the next run does what is left.
sub rewrap_call
{
	my ($old, $new) = map { kek() } 1, 2;
	my $keys = join ', ', map { q{'} . key_with_value($old) . q{'} } 1 .. 3;
	return ("CALL envelope_rewrap('$old', '$new', 2)", sub {
		my ($acknowledged) = @_;
		my $is = look(sprintf $wrapped_by, $old, $keys, $keys);
		my $failed = look("SELECT count(*) FROM envelope.rewrap_result WHERE new = '$new' AND outcome = 'failed'");
		my @may = $acknowledged && !$failed ? () : ("$old 3 enabled $old", "$old 3 retired $new", "$old 1, $new 2 retired $new");
		problem("what it is wrapped by is \"$is\"") unless grep { $is eq $_ } "$new 3 retired $new", @may;
		$session->send("CALL envelope_rewrap('$old', '$new', 2)");
		await($session);
		problem("again: $session->{error}{M}") if $session->error;
		one_of(1, 'what it is wrapped by in the end', look(sprintf $wrapped_by, $old, $keys, $keys), "$new 3 retired $new") });
}

# Beside the old wrappings, which stay; the new ones have to open when those are gone.
sub rewrap_keep
{
	my ($old, $new) = map { kek() } 1, 2;
	my $keys = join ', ', map { q{'} . key_with_value($old) . q{'} } 1 .. 3;
	my $live = "SELECT count(*) FILTER (WHERE kek = '$old') || ' ' || count(*) FILTER (WHERE kek = '$new') FROM envelope.wrapping JOIN envelope.dek USING (dek_id) WHERE key_id IN ($keys) AND wrapped IS NOT NULL";
	my $rewrap = "SELECT count(*) FILTER (WHERE outcome = 'failed') FROM rewrap_all('$old', '$new', keep_old => true)";
	return ($rewrap, sub {
		my ($acknowledged, $failed) = @_;
		my $is = look($live);
		my @may = !defined $acknowledged ? map { "3 $_" } 0 .. 3 : '3 ' . ($acknowledged ? 3 - $failed : 0);
		problem("the wrappings of each are \"$is\"") unless grep { $is eq $_ } @may;
		sql($rewrap);
		one_of(1, 'the wrappings of each, asked again,', look($live), '3 3');
		sql("SELECT count(*) FROM rewrap_all('$old', '$new')");
		one_of(1, 'the wrappings of each in the end', look($live), '0 3') });
}

sub open_value
{
	my $key = key_with_value();
	sql('SELECT envelope_cache_flush()');
	return ("SELECT envelope_decrypt(sealed, key_id) FROM v WHERE key_id = '$key'",
		sub { problem('what opened is "' . ($_[1] // 'NULL') . '"') if $_[0] && ($_[1] // '') ne "value of $key" });
}

sub flush
{
	sql('SELECT envelope_prewarm()');
	return ('SELECT envelope_cache_flush()', sub {
		one_of(1, 'the number of used slots', look(q{SELECT value FROM envelope_status() WHERE name = 'cache_used'}), '0') if $_[0] });
}

sub prewarm
{
	my $key = key_with_value();
	sql('SELECT envelope_cache_flush()');
	return (qq{SELECT envelope_prewarm(ARRAY['$key'])}, sub { });
}

# Keys of another database, with a KEK that is not here yet.
sub import_keyring
{
	my ($key, $kek) = map { $_ . ++$serial } qw(k kek);
	my $sealed = $node->safe_psql('source', qq{SET client_min_messages = error; SELECT envelope_create_kek('$kek'); SELECT envelope_create_key('$key', '$kek'); SELECT envelope_rotate_key('$key');
		SELECT envelope_encrypt('value of $key', '$key')}) =~ s/.*\n//sr;
	my $document = $node->safe_psql('source', "SELECT envelope_export_keyring('{$key}')");
	return ("SELECT count(*) FROM envelope_import_keyring('$document')", sub {
		my $is = look("SELECT (SELECT count(*) FROM envelope.kek WHERE name = '$kek') || ' ' || (SELECT count(*) FROM envelope.key WHERE key_id = '$key') || ' ' || (SELECT count(*) FROM envelope.dek WHERE key_id = '$key')");
		one_of($_[0], 'the KEK, the key and its versions', $is, '1 1 2', '0 0 0');
		sql("INSERT INTO v VALUES ('$key', 'value of $key', '$sealed')") if $is eq '1 1 2' });
}

# The prefixes of the points; the first operation is the one of the short run.
my %operations = (
	'create-key' => [ \&create_key ], 'rotate-key' => [ \&rotate_key ], 'new-dek' => [ \&create_key, \&rotate_key ],
	'create-kek' => [ \&create_kek ], 'rotate-kek' => [ \&rotate_kek ], 'destroy-kek' => [ \&destroy_kek ],
	'disable-key' => [ \&disable_key ], 'enable-key' => [ \&enable_key ], 'destroy-key' => [ \&destroy_key ],
	'rewrap' => [ \&rewrap_all, \&rewrap_call ], 'rewrap-call' => [ \&rewrap_call ],
	'commit' => [ \&disable_key, \&destroy_key ],
	'import' => [ \&import_keyring ],
	'open' => [ \&open_value ], 'publish' => [ \&open_value, \&prewarm ], 'flush' => [ \&flush ], 'prewarm' => [ \&prewarm ],
	'keyring' => [ \&rotate_kek, \&create_kek, \&destroy_kek ],
	'agent' => [ \&open_value, \&create_key ], 'agent-wrap' => [ \&create_key, \&rotate_key ], 'agent-unwrap' => [ \&open_value ],
	'agent-rewrap' => [ \&rewrap_all, \&rewrap_call ]);
# What a transaction of its own commits on the way is there, whatever comes of the rest.
$operations{$_} = [ \&rewrap_all ] for grep { /^rewrap\.(?:keys-moved|noted)/ } keys %point;
$operations{$_} = [ \&rewrap_all, \&rewrap_call, \&rewrap_keep ] for grep { /^rewrap\.(?:fetched|asked|answered|superseded|written)$/ } keys %point;

sub operations_of
{
	my ($name) = @_;
	my $operations = $operations{$name} // $operations{ $name =~ s/\..*//r } // die "nothing is known that comes by the crash point \"$name\"";
	return $all ? @$operations : $operations->[0];
}

#
# What must hold at any time
#

sub invariants
{
	my $odd = look(q{SELECT string_agg(key_id, ', ') FROM (SELECT key_id FROM envelope.key k LEFT JOIN envelope.dek d USING (key_id) WHERE k.state <> 'destroyed'
		GROUP BY key_id HAVING count(*) FILTER (WHERE d.state = 'active') <> 1) x});
	problem("not one active version: $odd") if $odd ne '';
	my $bare = look(q{SELECT string_agg(key_id || ' ' || version, ', ') FROM envelope.dek d WHERE state <> 'destroyed' AND
		NOT EXISTS (SELECT FROM envelope.wrapping w WHERE w.dek_id = d.dek_id AND wrapped IS NOT NULL)});
	problem("no wrapping: $bare") if $bare ne '';
	my $stray = look(q{SELECT count(*) FROM envelope.wrapping w FULL JOIN envelope.dek d USING (dek_id) WHERE w.dek_id IS NULL OR d.key_id IS NULL});
	problem("$stray rows of a data key that are alone") if $stray ne '0';
	my $unwrapped = look(q{SELECT envelope_cache_flush() * 0 + envelope_prewarm()}) - look(q{SELECT count(*) FROM envelope.dek JOIN envelope.key k USING (key_id) WHERE k.state = 'enabled'});
	problem("$unwrapped data keys that do not unwrap") if $unwrapped != 0;
	$session->send(q{SELECT count(*) FROM v JOIN envelope.key k USING (key_id) WHERE CASE WHEN k.state = 'enabled' THEN envelope_decrypt(sealed, key_id) IS DISTINCT FROM plain END});
	await($session);
	problem('values: ' . ($session->error ? "$session->{error}{C} $session->{error}{M}" : "$session->{value} are wrong")) if $session->gone || $session->error || $session->value ne '0';
	my $without = look(q{SELECT count(*) FROM v LEFT JOIN envelope.key USING (key_id) WHERE state IS NULL});
	problem("$without values of a key that is not there") if $without ne '0';
	return;
}

# Wiped as often as the server started anew, before anyone was let in.
sub region_is_zero
{
	my ($log, $restarts) = @_;
	my @wipes = $log =~ /not zero: \d+ before the wipe, (\d+) after it/g;
	problem(@wipes . " wipes of the secret region and not $restarts") if @wipes != $restarts;
	problem("a wipe has left $_ bytes") for grep { $_ != 0 } @wipes;
	my ($before) = $log =~ /(?:\A|terminating any other active server processes)((?:(?!terminating any other).)*?)after it/s;
	problem('somebody was let in before the wipe') if ($before // '') =~ /connection authorized/;
	return;
}

#
# One thing that happens at one point
#

sub hup_keeper { my $keeper = $node->keeper_pid; kill 'HUP', $keeper if $keeper; return; }

# An agent that dies is started again after a while: a reload of the keeper ends that.
sub helper_restarts { return sub { hup_keeper() if PgEnvelope::CrashPoints::has_fired($node) }; }

sub scenario
{
	my ($point, $action, $operation) = @_;
	my ($name, $process) = @$point{qw(name process)};
	my ($statement, $check) = $operation->();
	my $from = -s $node->logfile;
	my $agent = $node->wait_for_agent;
	PgEnvelope::CrashPoints::arm($node, $name, $action);
	$session->send($statement);
	await($session, $process eq 'agent' ? helper_restarts() : undef);
	my ($error, $gone, $value) = ($session->error, $session->gone, $session->value);
	problem('it did not come by') unless PgEnvelope::CrashPoints::has_fired($node);
	PgEnvelope::CrashPoints::release($node);
	if ($process eq 'backend')
	{
		problem('the error is ' . ($error ? $error->{M} : 'none')) if $action ne 'kill' && ($error->{M} // '') !~ /crash point "\Q$name\E"/;
		problem('the session ' . ($gone ? 'is gone' : 'goes on')) if $gone xor $action ne 'error';
	}
	elsif ($action eq 'error')
	{
		problem('what came of it is ' . ($error ? "$error->{C} $error->{M}" : 'no error')) unless $error && $error->{C} eq '58030';
	}
	else
	{
		eval { PgEnvelope::Cluster::wait_until(sub { kill 0, $agent or return 1; ($node->agent_pid // 0) != $agent }, 'its end'); 1 } or problem('the agent lives on');
	}
	# what the transaction's end does to a session that is told of it by an error is known; what a lost session asked is not
	my $restarts = $process eq 'backend' && $action eq 'kill' ? 1 : 0;
	wait_for_restarts($from, $restarts);
	$session = connected() if $gone;
	wait_for_agent();
	$check->($gone ? undef : $error ? 0 : 1, $value);
	region_is_zero(log_since($from), $restarts);
	return;
}

sub log_since { return substr(slurp_file($node->logfile), $_[0]); }

# A session made before the server has noticed the crash would go with it.
sub wait_for_restarts
{
	my ($from, $restarts) = @_;
	PgEnvelope::Cluster::wait_until(sub { (() = log_since($from) =~ /after it.*?ready to accept connections/sg) >= $restarts }, 'the server');
	return;
}

sub wait_for_agent
{
	PgEnvelope::Cluster::wait_until(sub { look(q{SELECT value FROM envelope_status() WHERE name = 'agent_state'}) eq 'ready' || do { hup_keeper(); 0 } }, 'the agent');
	return;
}

# A keeper that dies of an error is started again by the postmaster, one that is killed takes all along.
my %keeper_trigger = (
	'started' => \&lose_backend, 'listening' => \&lose_backend, 'expired' => \&hup_keeper,
	'agent-spawned' => \&lose_agent, 'settings-made' => \&lose_agent, 'agent-ready' => \&lose_agent, 'agent-died' => \&lose_agent,
	'uses-written' => \&seal_compact);

sub lose_backend { kill 'KILL', $session->pid or die $!; return; }

# The keeper may write that it was used, and die, before the session is told that it is committed.
sub seal_compact { $session->send(q{INSERT INTO v VALUES ('compact', 'value', envelope_encrypt('value', 'compact'))}); return; }

sub lose_agent
{
	my $agent = $node->wait_for_agent;
	kill 'KILL', $agent or die "kill $agent: $!";
	return;
}

sub keeper_scenario
{
	my ($point, $action) = @_;
	my ($what) = $point->{name} =~ /^keeper\.(.*)/;
	my $trigger = $keeper_trigger{$what} // die "nothing is known that takes the keeper by \"$what\"";
	key_with_value();
	my $from = -s $node->logfile;
	PgEnvelope::CrashPoints::arm($node, $point->{name}, $action);
	$trigger->();
	PgEnvelope::Cluster::wait_until(sub { PgEnvelope::CrashPoints::has_fired($node) || do { usleep(50_000); hup_keeper(); 0 } }, $point->{name});
	PgEnvelope::CrashPoints::release($node);
	my $restarts = ($trigger == \&lose_backend) + ($action eq 'kill');
	wait_for_restarts($from, $restarts);
	await($session) unless $restarts;
	# the postmaster tells of it, and until then what the keeper said of its agent stands
	my $told = $action eq 'kill' ? qr/background worker "pg_envelope keeper" .* signal 9/ : qr/crash point "\Q$point->{name}\E".*background worker "pg_envelope keeper" .* exit code 1/s;
	eval { PgEnvelope::Cluster::wait_until(sub { log_since($from) =~ $told }, 'the log'); 1 } or problem('the log does not tell of it');
	$session = connected() if $restarts;
	wait_for_agent();
	region_is_zero(log_since($from), $restarts);
	return;
}

# Somebody else dies while a process stands at the point.
sub victim_scenario
{
	my ($point, $victim, $operation) = @_;
	my ($statement, $check) = $operation->();
	my $from = -s $node->logfile;
	PgEnvelope::CrashPoints::arm($node, $point->{name}, 'pause');
	$session->send($statement);
	PgEnvelope::Cluster::wait_until(sub { PgEnvelope::CrashPoints::has_fired($node) || $session->error || do { PgEnvelope::Wire::pump(0, $session); 0 } }, "$point->{name} to be reached");
	problem('it did not come by') unless PgEnvelope::CrashPoints::has_fired($node);
	if ($victim eq 'postmaster' || $victim eq 'immediate stop')
	{
		$from = die_all($victim);
	}
	else
	{
		my $pid = $victim eq 'agent' ? $node->wait_for_agent : $victim eq 'keeper' ? $node->keeper_pid : $session->pid;
		kill 'KILL', $pid or die "kill $victim: $!";
		PgEnvelope::Cluster::wait_until(sub { !PgEnvelope::Cluster::read_proc("$pid/cmdline") }, "the end of the $victim");
		PgEnvelope::CrashPoints::release($node);
		$victim eq 'agent' ? await($session, \&hup_keeper) : await_end();
	}
	my ($error, $gone, $value) = ($session->error, $session->gone, $session->value);
	# It may have had its answer before it went.
	my $restarts = $victim eq 'agent' ? 0 : 1;
	wait_for_restarts($from, $restarts);
	my $acknowledged = $session->idle && !$error ? 1 : $gone ? undef : 0;
	$session = connected() if $gone;
	wait_for_agent();
	$check->($acknowledged, $value);
	region_is_zero(log_since($from), $restarts);
	return;
}

# One assertion for each.
sub assert_all_well
{
	my ($name, $scenario) = @_;
	$problems = [];
	eval { $scenario->(); invariants(); 1 } or problem("it died: $@");
	is_deeply($problems, [], $name);
	BAIL_OUT('nothing more can be learnt') if grep { /^it died/ } @$problems;
	return;
}

# A value may leave the server the moment its key is acknowledged, whatever synchronous_commit says.
sub acknowledged_without_waiting
{
	my ($victim) = @_;
	my %sealed;
	my $rotated = key_with_value();
	sql('SET synchronous_commit = off');
	for my $make ([ 'k' . ++$serial, "envelope_create_key('k$serial', 'main')" ], [ $rotated, "envelope_rotate_key('$rotated')" ])
	{
		sql("SELECT $make->[1]");
		$sealed{ $make->[0] } = look("envelope_encrypt('away', '$make->[0]')");
	}
	die_all($victim);
	$session = connected();
	for my $key (sort keys %sealed)
	{
		$session->send("SELECT envelope_decrypt('$sealed{$key}', '$key')");
		await($session);
		problem("$key: " . ($session->error ? $session->error->{M} : $session->value)) if ($session->value // '') ne 'away';
	}
	return;
}

# Every process ends, and the server starts.  Where its log is then.
sub die_all
{
	my ($victim) = @_;
	my $children = PgEnvelope::Cluster::process_tree();
	my $postmaster = $node->postmaster_pid;
	my @ours = ($postmaster, map { ($_, @{ $children->{$_} // [] }) } @{ $children->{$postmaster} });
	$victim eq 'postmaster' ? $node->kill9 : $node->stop('immediate');
	PgEnvelope::CrashPoints::release($node);
	await_end();
	PgEnvelope::Cluster::wait_until(sub { !grep { kill 0, $_ } @ours }, 'all processes to end');
	my $from = -s $node->logfile;
	$node->start;
	return $from;
}

# Of the session, which may have its answer first.
sub await_end
{
	PgEnvelope::Cluster::wait_until(sub { PgEnvelope::Wire::pump(0.1, $session); $session->gone }, 'the end of the session');
	return;
}

# A row of envelope_status(), which does without the agent's where it does not answer within a second.
sub told
{
	my ($name) = @_;
	my $value;
	PgEnvelope::Cluster::wait_until(sub { ($value = look(qq{SELECT value FROM envelope_status() WHERE name = '$name'})) ne '' }, $name);
	return $value;
}

# By the session, the agent, the keeper and the server, warm and at rest.  In one transaction,
# which has one connection to the agent: by its first answer earlier ones have been closed.
sub what_is_held
{
	invariants();
	sql('SELECT envelope_cache_flush()');
	my $locks = look('SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()');
	sql('BEGIN');
	my %told = map { ($_ => told($_)) } qw(agent_clients agent_requests_waiting agent_calls_queued agent_calls_in_flight context_holders);
	my @descriptors = map { PgEnvelope::Cluster::descriptors($_) } $session->pid, $node->agent_pid, $node->keeper_pid, $node->postmaster_pid;
	sql('COMMIT');
	return (\%told, "locks $locks", @descriptors);
}

#
# The run: errors first, on sessions and an agent that live through all of them.
#

$node->let_agent_be_read;
$session = connected();
$node->safe_psql('postgres', 'CREATE DATABASE source');
$node->create_extension('source');
sql($_) for q{SELECT envelope_create_kek('main')}, q{SELECT envelope_create_key('compact', 'main', 'AES256_GCM')}, q{CREATE TABLE v (key_id text, plain text, sealed bytea)};
my @all_three = grep { @{ $_->{actions} } == 3 } @points;
cmp_ok(scalar @all_three, '>=', 25, 'of ' . @points . ' crash points ' . @all_three . ' can fail, end and kill');
for my $operation (qw(create-key rotate-key new-dek rewrap publish flush keyring))
{
	isnt(scalar(grep { $_->{name} =~ /^\Q$operation\E\./ } @points), 0, "there are some in $operation");
}

for my $action (qw(error fatal kill))
{
	my @before = $action eq 'error' ? what_is_held() : ();
	for my $point (grep { $_->{process} ne 'keeper' } @points)
	{
		next unless grep { $_ eq $action } @{ $point->{actions} };
		assert_all_well("$point->{name}: $action", sub { scenario($point, $action, $_) }) for operations_of($point->{name});
	}
	is_deeply([ what_is_held() ], \@before, 'no error has left a lock, a descriptor or a request') if @before;
}
for my $point (grep { $_->{process} eq 'keeper' } @points)
{
	assert_all_well("$point->{name}: $_", sub { keeper_scenario($point, $_) }) for $all ? @{ $point->{actions} } : 'kill';
}
note(sprintf '%d s', time - $^T);

my @victims = ('agent', 'keeper', 'postmaster', 'immediate stop');
assert_all_well("a key acknowledged without waiting: $_", sub { acknowledged_without_waiting($_) }) for @victims[ 2, 3 ];
my $turn = 0;
for my $point (grep { $_->{process} ne 'keeper' } @points)
{
	my @chosen = $all ? @victims : $turn++ % 5 ? () : $victims[ $turn / 5 % @victims ];
	for my $victim (@chosen)
	{
		my $who = $victim eq 'agent' && $point->{process} eq 'agent' ? 'backend' : $victim;
		assert_all_well("$point->{name}: $who", sub { victim_scenario($point, $who, $_) }) for operations_of($point->{name});
	}
}

$node->stop;
done_testing();
