# A keyring file that is away, unsafe, damaged or shut: every use says which SQLSTATE,
# what is wrong and what to do, nothing is changed, and once it is in order again
# what was sealed before opens.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Copy;
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub wait_until { PgEnvelope::Cluster::wait_until(@_) }

my $node = PgEnvelope::Cluster->new('damage', 'pg_envelope.kms_timeout' => '60s');
my $file = $node->keyring_file;
my ($dir) = $file =~ m{(.*)/};
my $admin = $node->session;
$admin->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('main')},
  q{SELECT envelope_create_key('k', 'main')}, q{CREATE TABLE t AS SELECT envelope_encrypt('value', 'k') AS sealed};
my ($rows, $made) = (rows(), 0);

# What is done to it, and what is said of it.  The file itself is always kept aside.
my $where = qr/"\Q$file\E"/;
my $in_order = qr/check the key service and the way to it, for a local KEK the keyring file \(pg_envelope_agent keyring check\)/;
my @unsafe = (
	[ 'missing', sub { }, 'KE007', qr/^Keyring file $where does not exist\./, $in_order ],
	[ 'unreadable', sub { keep_mode(0000) }, 'KE007', qr/^Keyring file $where could not be opened: Permission denied\./, $in_order ],
	[ 'readable by others', sub { keep_mode(0644) }, 'KE007', qr/^Keyring file $where has mode 644: .*\(chmod 600\)\./, $in_order ],
	[ 'a symbolic link', sub { symlink("$file.good", $file) or die $! }, 'KE007', qr/^Keyring file $where could not be opened: it is a symbolic link\./, $in_order ],
	[ 'a directory', sub { mkdir $file, 0700 or die $! }, 'KE007', qr/^$where is not a regular file\./, $in_order ],
	[ 'a FIFO', sub { system_or_bail('mkfifo', '-m', '600', $file) }, 'KE007', qr/^$where is not a regular file\./, $in_order ],
	[ 'empty', sub { put('') }, 'KE007', qr/^$where is damaged or not a keyring file of this version\./, $in_order ],
	[ 'too large', sub { put("\0" x 7_000_000) }, 'KE007', qr/^$where is too large for a keyring file\./, $in_order ],
	[ 'in a directory that others may write', sub { keep_mode(0600); chmod 0777, $dir }, 'KE007',
		qr/^The keyring's directory "\Q$dir\E" may be written by others than its owner \(mode 777\)\./, $in_order ],
	[ 'in no directory', sub { rename($dir, "$dir.away") or die $! }, 'KE007', qr/^(?:The keyring's directory "\Q$dir\E" could not be opened: No such file|Keyring file $where does not exist\.)/, $in_order ]);

# Plain: a byte less, a byte more, one flipped in every part.
my $good = slurp($file);
my $checksum = qr/^$where is damaged or not a keyring file of this version(?:: its checksum is wrong)?\./;
sub damages
{
	my ($sqlstate, $detail, $hint, @at) = @_;
	return (
		(map { my $at = $_; [ "cut at $at", sub { put(substr($good, 0, $at)) }, 'KE007', $checksum, $in_order ] } 1, 38, length($good) - 1),
		[ 'a byte longer', sub { put("$good\0") }, 'KE007', $checksum, $in_order ],
		map { my $at = $_; [ "byte $at flipped", sub { put(flip($at)) }, $sqlstate, $detail, $hint ] } @at);
}

survives($_) for @unsafe, damages('KE007', $checksum, $in_order, 0, 8, 36, 40, 90, length($good) - 1);
is($made, 20, 'all of them');

#
# Under a passphrase.
#
my ($secret, $spare) = ('correct-h0rse', 'battery-staple');
my $say = "$dir/../say";
put_script("echo $secret");
system_or_bail($node->agent_command, 'keyring', 'passwd', '--keyring', $file, '--new-passphrase-command', $say);
$node->append_conf('postgresql.conf', "pg_envelope.keyring_passphrase_command = '$say'");
$node->reload;
$node->poll_query_until('postgres', qq{SELECT current_setting('pg_envelope.keyring_passphrase_command') = '$say'}) or die 'no reload';
$node->kill_agent;
ready();
is(cold(), 'value', 'under a passphrase the value opens');
$good = slurp($file);

my $credential = qr/Check the credential of the key service, for a local KEK "pg_envelope\.keyring_passphrase_command", then reload the server/;
my $shut = qr/^The passphrase does not open keyring file $where, or the file is damaged\./;
sub command
{
	my ($name, $script, $detail) = @_;
	return [ "passphrase command that $name", sub { keep_mode(0600); put_script($script) }, 'KE009', $detail, $credential ];
}

survives($_) for damages('KE009', $shut, $credential, 20, 50, 90, length($good) - 1),
  command('prints another passphrase', "echo $spare", $shut),
  command('prints nothing', 'true', qr/^The passphrase command printed nothing\./),
  command('prints too much', 'yes', qr/^The passphrase command printed more than 1024 bytes\./),
  command('fails', "echo $secret; exit 3", qr/^The passphrase command failed with exit status 3\./),
  command('is killed', "echo $secret; kill -9 \$\$", qr/^The passphrase command (?:was ended by signal 9|failed with exit status 137)\./),
  command('hangs', 'exec sleep 1000', qr/^The passphrase command did not end within 10 s and was killed\./),
  [ 'no passphrase command', sub { keep_mode(0600); setting('') }, 'KE009', qr/^Keyring file $where is under a passphrase and no passphrase command is set\./, $credential ];

my @shown = $node->find_on_disk($secret, $spare);
is_deeply([ grep { !/postgresql\.conf/ } @shown ], [], 'no passphrase stands in the log or in a data file');

#
# An older copy.  The KEK that is gone is named where it is used, in the server's log
# when it goes, and by "keyring check".
#
put_script("echo $secret");
my $older = slurp($file);
$admin->query($_) for q{SELECT envelope_create_kek('later')}, q{SELECT envelope_create_key('l', 'later')},
  q{CREATE TABLE u AS SELECT envelope_encrypt('later value', 'l') AS sealed};
my $later = $admin->query(q{SELECT uri FROM envelope.kek WHERE name = 'later'});
my $newer = slurp($file);
my $log_at = -s $node->logfile;
put($older);
is(cold(), 'value', 'an older copy: what its KEKs wrapped opens');
my $version = qr/[Vv]ersion 1 of KEK "\Q$later\E"/;
$node->wait_for_log(qr/WARNING:  pg_envelope agent: .*older copy was put there.*$version/, $log_at);
pass('and the log names the KEK that is gone');
# It is told whoever sees it first: what makes and rotates KEKs shows nothing of that.
put($newer);
$admin->query('SELECT envelope_cache_flush()');
is($admin->query(q{SELECT envelope_decrypt(sealed, 'l') FROM u}), 'later value', 'the newer file again');
$log_at = -s $node->logfile;
put($older);
$admin->query(q{SELECT envelope_rotate_kek('main')});
$node->wait_for_log(qr/WARNING:  pg_envelope agent: .*$version/, $log_at);
pass('also when the older copy is met by a rotation');
put($newer);
$admin->query('SELECT envelope_cache_flush()');
is($admin->query(q{SELECT envelope_decrypt(sealed, 'l') FROM u}), 'later value', 'the newer file again');
$log_at = -s $node->logfile;
put($older);
$admin->query($_) for 'BEGIN', q{SELECT envelope_create_kek('third')}, 'ROLLBACK';
$node->wait_for_log(qr/WARNING:  pg_envelope agent: .*older copy was put there.*$version/, $log_at);
pass('or by a KEK that is made');
put($older);
for my $try ([ 'u', q{SELECT envelope_decrypt(sealed, 'l') FROM u}, $version ], [ 'a new version', q{SELECT envelope_rotate_key('l')}, qr/KEK "\Q$later\E"/ ])
{
	$admin->query('SELECT envelope_cache_flush()');
	my (undef, $err) = $admin->try($try->[1]);
	like($err, qr/ERROR:  KE012: could not .* key "l"$/m, "$try->[0]: the SQLSTATE");
	like($err, qr/^DETAIL:  .*$try->[2] is not in the keyring\.$/m, 'the error names the KEK');
	like($err, qr/^HINT:  .*pg_envelope_agent keyring restore/m, 'and says what to put back');
}
# Another agent, which never saw the newer file, says the same.
$node->kill_agent;
ready();
my (undef, $gone) = $admin->try(q{SELECT envelope_decrypt(sealed, 'l') FROM u});
like($gone, qr/KE012: .*^DETAIL:  .*$version is not in the keyring\.$/ms, 'after a restart of the agent it is named, too');
my @check = ($node->agent_command, 'keyring', 'check', '--keyring', $file, '--passphrase-command', $say);
my @keks = split /\n/, $admin->query(q{SELECT uri FROM envelope.kek ORDER BY created});
command_fails_like([ @check, @keks ], qr/KEK "\Q$later\E" is not in the keyring/, 'keyring check names it before it is used');
command_ok([ @check, $keks[0] ], 'and is content with one that is there');
put("$newer");
is($admin->query(q{SELECT envelope_decrypt(sealed, 'l') FROM u}), 'later value', 'with the newer file in place all opens');
command_ok([ @check, @keks ], 'and keyring check finds every KEK');

#
# A copy that is older than a version of a KEK.  An agent that never saw that version
# must not give its number again: no file could hold both keys.
#
$older = slurp($file);
my $main = $keks[0];
$admin->query(q{SELECT envelope_create_kek('another name', uri) FROM envelope.kek WHERE name = 'main'});
my $number = $admin->query(q{SELECT envelope_rotate_kek('main')});
$admin->query($_) for q{SELECT envelope_create_key('n', 'main')}, q{CREATE TABLE v AS SELECT envelope_encrypt('under the new version', 'n') AS sealed};
$newer = slurp($file);
older_copy_and_agent();
my $wrapped_by = qr/Version $number of KEK "\Q$main\E"/;
no_rotation($_) for 'main', 'another name';
my (undef, $lost) = $admin->try(q{SELECT envelope_decrypt(sealed, 'n') FROM v});
like($lost, qr/KE012: .*^DETAIL:  .*$wrapped_by is not in the keyring\.$/ms, 'so that what is missing is still named, and nothing called damaged');
is($admin->query(q{SELECT envelope_create_key('o', 'main')}), '1', 'a key is made all the same: its KEK version is in every copy');
$admin->query(q{CREATE TABLE w AS SELECT envelope_encrypt('under the old version', 'o') AS sealed});
is($admin->query(q{SELECT string_agg(DISTINCT outcome, ' ' ORDER BY outcome) FROM rewrap_all('main', 'main')}), 'already failed', 'and a rewrap onto the newest version loses nothing');

# As README says it.
my ($readme) = slurp("$FindBin::RealBin/../../README.md") =~ /^(needed=.*? --keyring "\$COPY" \$needed)$/ms or die 'README has no such lines';
my ($agent) = $node->agent_command;
$readme =~ s/"\$\(pg_config --bindir\)\/pg_envelope_agent"/'$agent'/ && $readme =~ s/"\$COPY"/'$file' --passphrase-command '$say'/ && $readme =~ s/ -d app / / or die $readme;
$readme =~ s/sudo -u postgres //g;
local @ENV{qw(PGHOST PGPORT PGDATABASE)} = ($node->host, $node->port, 'postgres');
command_ok([ @check, $main ], 'keyring check alone does not know which versions are needed');
command_fails_like([ 'sh', '-c', $readme ], qr/version $number of KEK "\Q$main\E" is not in the keyring/, 'what README has you run shows what a copy lacks');
put($newer);
command_like([ 'sh', '-c', $readme ], qr/^\Q$main\E newest version: $number\n.*^ok\n/ms, 'and that the newer one lacks nothing');
{
	local $ENV{PGDATABASE} = 'template1';
	command_fails_like([ 'sh', '-c', $readme ], qr/relation "envelope.kek" does not exist/, 'where it cannot ask it is no ok');
}
opens_all();

# What is superseded is still in backups.
$admin->query(q{SELECT * FROM rewrap_all('main', 'later')});
older_copy_and_agent();
$admin->query(q{SELECT envelope_enable_kek('main')});
no_rotation('main');
put($newer);
is($admin->query(q{SELECT envelope_rotate_kek('main')}), $number + 1, 'with the newest copy it is rotated');
opens_all();

#
# Another user's file: we cannot give ours away, so it is one of root's.
#
$admin->close;
$node->append_conf('postgresql.conf', "pg_envelope.keyring_file = '/etc/passwd'");
$node->restart;
$admin = $node->session;
ready();
$where = qr{"/etc/passwd"};
fails(open => q{SELECT envelope_decrypt(sealed, 'k') FROM t},
	[ 'another user\'s', undef, 'KE007', qr/^Keyring file $where belongs to user id 0, not to the user who runs this \(id $>\)\./, $in_order ]);
$admin->close;
$node->append_conf('postgresql.conf', "pg_envelope.keyring_file = '$file'");
$node->restart;
$admin = $node->session;
ready();
is(cold(), 'value', 'and with our own again it opens');

$admin->close;
$node->stop;
done_testing();

#
# One case: broken under an agent that knows the KEK, under one that does not, mended.
#
sub survives
{
	my ($name, $break, $sqlstate, $detail, $hint) = @{ $_[0] };
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$made++;
	my $agent = $node->agent_pid;
	copy($file, "$file.good") && chmod(0600, "$file.good") or die $!;
	unlink $file or die $!;
	$break->();
	my $log_at = -s $node->logfile;
	my @seen = (cold());
	if ($name eq 'missing')
	{
		$node->wait_for_log(qr/WARNING:  pg_envelope agent: Keyring file $where does not exist\. The agent goes on with the KEKs in its memory, and when it ends they are gone/, $log_at);
		pass('while an agent still knows its KEKs the log says that the file is lost');
	}
	fails(create => q{SELECT envelope_create_key('new', 'main')}, @_) if $name !~ /command/;
	$node->kill_agent;
	kill('HUP', $node->keeper_pid);
	ready();
	fails(open => q{SELECT envelope_decrypt(sealed, 'k') FROM t}, @_);
	fails(seal => q{SELECT envelope_encrypt('new', 'k')}, @_) if $name eq 'missing';
	# no keyring is made in the place of one that was lost
	fails(create_kek => q{SELECT envelope_create_kek('new')}, @_) if $name eq 'missing' || $name eq 'in no directory';
	my $unchanged = $name =~ /no directory|directory that/ || slurp("$file.good") eq $good;

	rename("$dir.away", $dir) if -e "$dir.away";
	chmod 0700, $dir;
	-d $file && !-l $file ? rmdir $file : unlink $file;
	rename("$file.good", $file) or die "$file.good: $!";
	put_script("echo $secret") if defined $secret;
	setting($say) if $name eq 'no passphrase command';
	wait_until(sub { cold() eq 'value' }, 'the agent to hear of it') if $name eq 'no passphrase command';
	push @seen, cold();
	is_deeply([ @seen, slurp($file) eq $good, $unchanged, rows() ], [ 'value', 'value', 1, 1, $rows ],
		"$name: an agent that knows the KEK opens, as does another once it is in order; file and rows are as they were");
	return;
}

sub fails
{
	my ($what, $sql, $case) = @_;
	my ($name, undef, $sqlstate, $detail, $hint) = @$case;
	local $Test::Builder::Level = $Test::Builder::Level + 2;
	$admin->query('SELECT envelope_cache_flush()');
	my ($out, $err) = $admin->try($sql);
	my ($said) = $err =~ /^DETAIL:  (.*)$/m;
	my ($do) = $err =~ /^HINT:  (.*)$/m;
	ok($err =~ /^\S*\s*ERROR:  $sqlstate: could not .*"k"|^\S*\s*ERROR:  $sqlstate: could not .*"new"/m && ($said // '') =~ $detail && ($do // '') =~ $hint,
		"$name: $what fails with $sqlstate, the reason and what to do") or diag($err);
	return;
}

sub cold
{
	$admin->query('SELECT envelope_cache_flush()');
	my ($out, $err) = $admin->try(q{SELECT envelope_decrypt(sealed, 'k') FROM t});
	return $err eq '' ? $out : $err;
}

sub ready
{
	wait_until(sub { $admin->query(q{SELECT value FROM envelope_status() WHERE name = 'agent_state'}) eq 'ready' }, 'the agent');
	return;
}

sub older_copy_and_agent
{
	put($older);
	$node->kill_agent;
	kill('HUP', $node->keeper_pid);
	ready();
	$admin->query('SELECT envelope_cache_flush()');
	return;
}

sub no_rotation
{
	my ($kek) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (undef, $err) = $admin->try("SELECT envelope_rotate_kek('$kek')");
	like($err, qr/KE012: could not rotate KEK "$kek"$/m, "KEK \"$kek\" is not rotated in an older copy");
	like($err, qr/^DETAIL:  $wrapped_by has wrapped .* the newest one in the keyring is version \d+: the keyring file is an older copy\.$/m, 'the detail says what is missing');
	like($err, qr/^HINT:  Put the newest copy back \(pg_envelope_agent keyring restore\)/m, 'the hint what to do');
	ok(slurp($file) eq $older, 'and the file is as it was');
	return;
}

sub opens_all
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$admin->query('SELECT envelope_cache_flush()');
	is($admin->query(q{SELECT envelope_decrypt(t.sealed, 'k'), envelope_decrypt(u.sealed, 'l'), envelope_decrypt(v.sealed, 'n'), envelope_decrypt(w.sealed, 'o') FROM t, u, v, w}),
		'value|later value|under the new version|under the old version', 'and with it all opens');
	return;
}

# Every row of the key tables.
sub rows
{
	return $admin->query(q{SELECT md5(string_agg(r, E'\n' ORDER BY r)) FROM (SELECT kek::text r FROM envelope.kek UNION ALL SELECT key::text FROM envelope.key
		UNION ALL SELECT dek::text FROM envelope.dek UNION ALL SELECT wrapping::text FROM envelope.wrapping) x});
}

sub keep_mode { my ($mode) = @_; put($good); chmod $mode, $file or die $!; return; }

sub flip { my ($at) = @_; my $bytes = $good; substr($bytes, $at, 1) ^= "\x04"; return $bytes; }

sub setting
{
	my ($command) = @_;
	$admin->query("ALTER SYSTEM SET pg_envelope.keyring_passphrase_command = '$command'");
	$node->reload;
	wait_until(sub { $node->safe_psql('postgres', 'SHOW pg_envelope.keyring_passphrase_command') eq $command }, 'the reload');
	return;
}

sub put_script { put_file("#!/bin/sh\n$_[0]\n", $say, 0700); return; }

sub put { put_file($_[0], $file, 0600); return; }

sub put_file
{
	my ($bytes, $name, $mode) = @_;
	open(my $out, '>:raw', "$name.tmp") or die "$name: $!";
	print $out $bytes;
	close $out or die $!;
	chmod $mode, "$name.tmp" or die $!;
	rename("$name.tmp", $name) or die $!;
	return;
}

sub slurp
{
	my ($name) = @_;
	open(my $in, '<:raw', $name) or die "$name: $!";
	local $/;
	return <$in>;
}
