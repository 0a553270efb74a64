# How often each AES256_GCM data key has sealed is known over restarts, as well
# as one server can know it, and somebody is told in time.
use strict;
use warnings FATAL => 'all';
use Digest::SHA qw(sha256);
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The build for tests warns at 1,000 and saves each second.
my $node = PgEnvelope::Cluster->new('uses', test_build => 1, allows_streaming => 1,
	'restart_after_crash' => 'on');
my $file = $node->data_dir . '/pg_stat/pg_envelope.uses';

sub body_of
{
	my (@entries) = @_;
	return "PGEUSES\x01" . pack('N', scalar @entries) . join('', map { pack('NNQ>', @$_) } @entries);
}

sub write_uses
{
	my ($path, $content) = @_;
	open(my $fh, '>:raw', $path) or die "$path: $!";
	print $fh $content;
	close($fh) or die "$path: $!";
	return;
}

# { dek_id => uses } of the file of a node; dies of one that is not whole.
sub uses_in
{
	my ($path) = @_;
	my $content = PgEnvelope::Cluster::slurp_binary($path) // return {};
	my $body = substr($content, 0, -32);
	die 'digest' unless sha256($body) eq substr($content, -32);
	die 'header' unless substr($body, 0, 8) eq "PGEUSES\x01";
	my ($count, @words) = unpack('x8 N (NNQ>)*', $body);
	die 'count' unless @words == 3 * $count;
	return { map { $words[ 3 * $_ + 1 ] => $words[ 3 * $_ + 2 ] } 0 .. $count - 1 };
}

sub wait_for_saved
{
	my ($dek_id, $uses) = @_;
	PgEnvelope::Cluster::wait_until(sub { ((eval { uses_in($file) } // {})->{$dek_id} // 0) == $uses },
		"$uses uses in the file");
	pass("$uses uses are saved");
	return;
}

# The keeper reads the file at its start, maybe after the first session; a
# session that ends hands in a little later than psql does.
sub comes_to
{
	my ($on, $uses, $name, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($on->poll_query_until('postgres',
		"SELECT value = '$uses' FROM envelope_status() WHERE name = '@{[ $what // 'uses_highest' ]}'"), $name);
	return;
}

sub seals { return "SELECT count(envelope_encrypt('x', '$_[0]')) FROM generate_series(1, $_[1])"; }

sub dek_id
{
	my ($on, $key_id) = @_;
	return $on->safe_psql('postgres', "SELECT dek_id FROM envelope.dek WHERE key_id = '$key_id'");
}

sub times_logged
{
	my ($on, $pattern) = @_;
	my $log = slurp_file($on->logfile);
	return scalar(() = $log =~ /$pattern/g);
}

sub make_keys
{
	my ($on) = @_;
	$on->safe_psql('postgres', $_)
	  for q{SELECT envelope_create_kek('main')},
	  q{SELECT envelope_create_key('compact', 'main', 'AES256_GCM')},
	  q{SELECT envelope_create_key('wide', 'main')};
	return;
}

make_keys($node);
my $compact = dek_id($node, 'compact');

# Only seals, and only of AES256_GCM, are counted.
$node->safe_psql('postgres', seals('wide', 50));
is($node->status('uses_tracked'), 0, 'XAES_256_GCM needs no counting');
$node->safe_psql('postgres', q{SELECT envelope_decrypt(s, 'compact') FROM
	(SELECT envelope_encrypt('x', 'compact') s OFFSET 0) a, generate_series(1, 10)});
is($node->status('uses_tracked'), 1, 'one data key is tracked');
my $sealed = $node->status('uses_highest');
is($sealed, 1, 'an open is no use');

# Sessions add up, by every kind of end of their transactions.
my @sessions = map { $node->session } 1 .. 4;
$_->send(seals('compact', 100)) for @sessions;
$_->wait for @sessions;
is($node->status('uses_highest'), 401, 'four sessions add up');
$sessions[0]->query($_) for 'BEGIN', seals('compact', 10), 'ROLLBACK';
is($node->status('uses_highest'), 411, 'a value that was rolled back has used its nonce');
$sessions[0]->query($_) for 'BEGIN', 'SAVEPOINT a', seals('compact', 10);
is($node->status('uses_highest'), 411, 'a transaction keeps its number to itself');
$sessions[0]->query('ROLLBACK TO a');
is($node->status('uses_highest'), 421, 'until a subtransaction ends');
$sessions[0]->query('COMMIT');
$sessions[1]->query($_) for 'BEGIN', seals('compact', 9);
my $pid = $sessions[1]->pid;
$sessions[1]->close;
comes_to($node, 430, 'or the session does');
is($node->status('uses_warned'), 0, 'no warning yet');
wait_for_saved($compact, 430);

# A warning at the limit, another at its double, and none between.
my $warning = qr/WARNING:  .*data key $compact of database \d+ has sealed/;
is(times_logged($node, $warning), 0, 'none in the log');
$node->safe_psql('postgres', seals('compact', 570));
$node->wait_for_log(qr/WARNING:  .*data key $compact of database \d+ has sealed 1000 values/);
is($node->status('uses_warned'), 1, 'the status says it too');
$node->safe_psql('postgres', seals('compact', 500));
wait_for_saved($compact, 1500);
is(times_logged($node, $warning), 1, 'one warning from 1000 to 1500');
like(slurp_file($node->logfile), qr/HINT:  .*envelope_rotate_key/, 'which says what to do');

# A long transaction does not wait for its end.
$sessions[2]->query($_) for 'BEGIN', seals('compact', 4100);
is($node->status('uses_highest'), 1500 + 4096, 'each 4096 seals are handed in');
$sessions[2]->query('COMMIT');
wait_for_saved($compact, 5600);
is(times_logged($node, $warning), 2, 'a second warning, for two doublings at once');
$_->close for @sessions;

# The server may end in any way; what was saved is neither lost nor added twice.
$node->restart;
comes_to($node, 5600, 'a clean restart keeps the number');
$node->safe_psql('postgres', seals('compact', 5));
wait_for_saved($compact, 5605);
$node->stop('immediate');
$node->start;
comes_to($node, 5605, 'a stop without ceremony too');
my $keeper = $node->keeper_pid;
kill('KILL', $keeper);
PgEnvelope::Cluster::wait_until(sub { ($node->keeper_pid // $keeper) != $keeper }, 'another keeper');
comes_to($node, 5605, 'a crash restart too');
$keeper = $node->keeper_pid;
kill('TERM', $keeper);
PgEnvelope::Cluster::wait_until(sub { ($node->keeper_pid // $keeper) != $keeper }, 'the next keeper');
$node->wait_for_agent;
is($node->status('uses_highest'), 5605, 'a keeper that starts anew beside the old memory adds nothing');
$node->kill9_and_wait;
$node->start;
comes_to($node, 5605, 'kill -9 of the postmaster too');
is(times_logged($node, $warning), 2, 'and nothing is warned of again');

# A base backup takes the numbers along: a clone errs on the safe side.
$node->backup('clone');
is(uses_in($node->backup_dir . '/clone/pg_stat/pg_envelope.uses')->{$compact}, 5605,
	'a base backup has the number');

# What cannot be read is said, and harms nobody.
my $good = PgEnvelope::Cluster::slurp_binary($file);
my %bad = (
	'a flipped bit' => substr($good, 0, 25) . chr(ord(substr($good, 25, 1)) ^ 1) . substr($good, 26),
	'an end that is missing' => substr($good, 0, -1),
	'an empty file' => '',
	'another version' => "PGEUSES\x02" . substr($good, 8),
	'a file without end' => $good . ('x' x 200_000));
my $lost = qr/LOG:  .*pg_envelope\.uses" is damaged/;
for my $what (sort keys %bad)
{
	$node->stop;
	write_uses($file, $bad{$what});
	my $before = times_logged($node, $lost);
	$node->start;
	PgEnvelope::Cluster::wait_until(sub { times_logged($node, $lost) > $before }, 'the log');
	is(times_logged($node, $lost), $before + 1, "$what: the log says so");
	is($node->status('uses_tracked'), 0, "$what: counting starts at zero");
}
$node->safe_psql('postgres', seals('compact', 3));
wait_for_saved($compact, 3);
$node->stop;
unlink $file or die $!;
mkdir $file or die $!;
$node->start;
$node->wait_for_log(qr/LOG:  .*could not read file "pg_stat\/pg_envelope\.uses"/);
is($node->status('uses_tracked'), 0, 'a directory in its place: the same');
$node->safe_psql('postgres', seals('compact', 3));
$node->wait_for_log(qr/LOG:  .*could not (?:open|rename) file "pg_stat\/pg_envelope\.uses/);
is($node->status('uses_highest'), 3, 'where nothing can be written it counts on');
$node->stop;
rmdir $file or die $!;

# More data keys than there is room for.
my $full = body_of(map { [ 1, $_, 1 ] } (grep { $_ != $compact } 1 .. 4097)[ 0 .. 4095 ]);
write_uses($file, $full . sha256($full));
$node->start;
comes_to($node, 1, 'the file of a full table is read');
comes_to($node, 4096, 'and fits', 'uses_tracked');
is($node->status('uses_untracked'), 0, 'whole');
$node->safe_psql('postgres', seals('compact', 7));
is($node->status('uses_untracked'), 7, 'what finds no room is counted apart');
my $no_room = qr/pg_envelope counts the uses of at most 4096/;
$node->wait_for_log($no_room);
$node->safe_psql('postgres', seals('compact', 7));
is($node->status('uses_untracked'), 14, 'all of it');
$node->stop;
is(times_logged($node, $no_room), 1, 'and said once');

# As built for users: saved at the stop although no minute has passed, and in
# an order that a power cut cannot break.
SKIP:
{
	my $so = "$PostgreSQL::Test::Utils::tmp_check/sync_log.so";
	my $built = system("cc -shared -fPIC -O1 -o $so $FindBin::RealBin/../tools/sync_log.c") == 0;
	die 'no C compiler' if !$built && ($ENV{PGE_REQUIRE_ALL} // '') eq '1';
	skip 'no C compiler', 6 unless $built;

	my $user = PgEnvelope::Cluster->new('stop', start => 0, 'fsync' => 'on');
	my $calls = $user->basedir . '/sync.log';
	{
		local $ENV{LD_PRELOAD} = $so;
		local $ENV{PGE_SYNC_LOG} = $calls;
		$user->start;
	}
	$user->create_extension;
	make_keys($user);
	$user->safe_psql('postgres', seals('compact', 1500));
	my $id = dek_id($user, 'compact');
	ok(!-e $user->data_dir . '/pg_stat/pg_envelope.uses', 'nothing is saved within the first minute');
	$user->stop;
	is(uses_in($user->data_dir . '/pg_stat/pg_envelope.uses')->{$id}, 1500, 'a stop saves');
	my $name = 'pg_stat/pg_envelope.uses';
	my $got = join ', ', grep { /pg_envelope|pg_stat$/ } split /\n/, slurp_file($calls);
	# (18 does the same there with a file of its own.)
	like($got, qr/^fsync $name\.tmp, rename $name, fsync $name, fsync pg_stat(?:, fsync pg_stat)?$/,
		'the new file is on disk before its name, and the name after');
	$user->start;
	comes_to($user, 1500, 'and a start reads');
	is($user->status('uses_warned'), 0, 'the limit is no thousand');
	is(times_logged($user, qr/has sealed/), 0, 'nor is there a warning');
	$user->stop;
}

done_testing();
