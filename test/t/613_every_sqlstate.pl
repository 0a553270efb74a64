# What the library, the agent or another administrator refuses has its SQLSTATE, a
# reason and a hint, and loses nothing: not preloaded, not running, every status that
# an agent can answer, a keyring that another program changes, a snapshot too old.
use strict;
use warnings FATAL => 'all';
use Fcntl qw(:flock);
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Copy;
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'SKIP: needs a private server (PGE_BINDIR)' unless $ENV{PGE_BINDIR};

my $node = PgEnvelope::Cluster->new('real');
my $admin = $node->session;
$admin->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('main')},
  q{SELECT envelope_create_key('k', 'main')}, q{CREATE TABLE t AS SELECT envelope_encrypt('value', 'k') AS sealed};
my $open = q{SELECT envelope_decrypt(sealed, 'k') FROM t};

# All that the key tables hold, and the keyring's bytes.
sub everything
{
	my ($node) = @_;
	return $node->safe_psql('postgres', q{SELECT r FROM (SELECT kek::text r FROM envelope.kek UNION ALL SELECT key::text FROM envelope.key
		UNION ALL SELECT dek::text FROM envelope.dek UNION ALL SELECT wrapping::text FROM envelope.wrapping UNION ALL SELECT keyring::text FROM envelope.keyring) x ORDER BY r})
	  . (-e $node->keyring_file ? slurp_file($node->keyring_file) : 'no file');
}

# Fails with that SQLSTATE, this detail and this hint; returns the message.
sub says
{
	my ($session, $name, $sql, $sqlstate, $detail, $hint) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (undef, $err) = $session->try($sql);
	my ($state) = $err =~ /^\S*\s*ERROR:  (\w{5}):/m;
	my ($said) = $err =~ /^DETAIL:  (.*)$/m;
	my ($do) = $err =~ /^HINT:  (.*)$/m;
	ok(($state // '') eq $sqlstate && (defined $detail ? ($said // '') =~ $detail : 1) && (defined $hint ? ($do // '') =~ $hint : 1),
		"$name: $sqlstate, the reason and what to do") or diag($err);
	return $err;
}

#
# Another program changes the keyring.
#
my $before = everything($node);
open(my $lock, '>>', $node->keyring_file . '.lock') or die $!;
flock($lock, LOCK_EX | LOCK_NB) or die $!;
says($admin, $_->[0], $_->[1], '55P03', qr/^Another program is changing keyring file ".*" \(it holds "keyring\.lock"\)/, qr/try again/)
  for [ 'create_kek', q{SELECT envelope_create_kek('locked')} ], [ 'rotate_kek', q{SELECT envelope_rotate_kek('main')} ];
close $lock;
is(everything($node), $before, 'and nothing is changed');
is($admin->query(q{SELECT envelope_rotate_kek('main')}), '2', 'with the lock free it is');

#
# Administration in a transaction whose snapshot is too old.
#
$before = everything($node);
my $old = $node->session;
$old->query($_) for 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT count(*) FROM t';
is($admin->query(q{SELECT envelope_rotate_key('k')}), '2', 'a key is rotated');
my $after = everything($node);
says($old, 'a rotation above READ COMMITTED', q{SELECT envelope_rotate_key('k')}, '40001', undef, undef);
$old->query('ROLLBACK');
is(everything($node), $after, 'leaves things as the other made them');
is($old->query(q{SELECT envelope_rotate_key('k')}), '3', 'in a new transaction it works');
is($old->query($open), 'value', 'and the old value opens');
$_->close for $old, $admin;

#
# Not preloaded.
#
$before = everything($node);
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
$admin = $node->session;
says($admin, "not preloaded, $_", "SELECT $_", 'KE015', undef, qr/^Add pg_envelope to shared_preload_libraries in postgresql\.conf \(shared_preload_libraries = 'pg_envelope'\) and restart the server\.$/)
  for q{envelope_encrypt('x', 'k')}, q{envelope_encrypt_bytea('x', 'k')}, q{envelope_decrypt(sealed, 'k') FROM t}, q{envelope_decrypt(sealed) FROM t},
  q{envelope_decrypt_bytea(sealed, 'k') FROM t}, q{envelope_reencrypt(sealed, 'k') FROM t}, q{envelope_create_kek('x')}, q{envelope_rotate_kek('main')},
  q{envelope_alter_kek('main', 'local:x')}, q{envelope_enable_kek('main')}, q{envelope_destroy_kek('main', 'local:x')},
  q{envelope_create_key('x', 'main')}, q{envelope_rotate_key('k')}, q{envelope_disable_key('k')}, q{envelope_destroy_key('k')},
  q{envelope_mark_compromised('k', 1)}, q{envelope_prewarm()}, q{envelope_cache_flush()}, q{* FROM rewrap_all('main', 'main')}, q{* FROM envelope_status()};
is(everything($node), $before, 'and nothing is changed');
$admin->close;
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'pg_envelope'");
$node->restart;
is($node->safe_psql('postgres', $open), 'value', 'preloaded again it opens');
$node->stop;

#
# An agent that answers what it is told to: a copy of perl (011 has more of it).
#
my $bindir = PgEnvelope::Cluster::own_programs(PostgreSQL::Test::Utils::tempdir_short() . '/root');
copy($^X, "$bindir/pg_envelope_agent") or die "$^X: $!";
chmod 0755, "$bindir/pg_envelope_agent";
local $ENV{PGE_BINDIR} = $bindir;
my $fake = PgEnvelope::Cluster->new('fake', start => 0, plain_keyring => 1, 'pg_envelope.kms_timeout' => '60s');
my $data = $fake->data_dir;
copy("$FindBin::RealBin/../tools/fake_agent.pl", "$data/serve") or die $!;
$fake->start;
$fake->create_extension;
ready();
$admin = $fake->session;

my @answers = (
	[ 1, 'KE001', qr/^Check that key_id and associated_data/ ], [ 2, 'KE002', qr/^Check that the value is what envelope_encrypt returned/ ],
	[ 3, 'KE003', qr/try again when the tables of schema "envelope" have arrived/ ], [ 4, 'KE004', qr/^Enable it with envelope_enable_key/ ],
	[ 5, 'KE005', qr/^Only a backup from before its destruction/ ], [ 6, 'KE016', qr/^Make a new version with envelope_rotate_key/ ],
	[ 20, 'KE006', qr/^Try again; .*envelope_status\(\) and the server's log/ ], [ 21, 'KE007', qr/^Try again; .*pg_envelope_agent keyring check/ ],
	[ 22, 'KE008', qr/^Try again later, or raise "pg_envelope\.kms_concurrency"/ ], [ 23, 'KE009', qr/^Check the credential of the key service, for a local KEK "pg_envelope\.keyring_passphrase_command"/ ],
	[ 24, 'KE011', qr/^Check the KEK's state and kind/ ], [ 25, 'KE012', qr/pg_envelope_agent keyring restore/ ],
	[ 26, 'KE013', qr/restore it from a backup/ ], [ 27, 'KE010', qr/^Have it allowed where the detail says: .*pg_envelope\.kms_config_file/ ],
	[ 28, '53400', qr/^Have the quota raised .*envelope_create_kek.*rewrap_all/ ], [ 40, '22023', undef ], [ 41, '54000', undef ], [ 42, '53200', undef ],
	[ 43, '58030', qr/^Check the disk and the rights/ ], [ 44, '58000', qr/^Check the configuration of OpenSSL/ ],
	[ 45, 'KE015', qr/shared_preload_libraries = 'pg_envelope'/ ], [ 46, '55P03', qr/try again/ ],
	[ 999, 'KE007', qr/^Try again; .*pg_envelope_agent keyring check/ ]);
for my $answer (@answers)
{
	my ($status, $sqlstate, $hint) = @$answer;
	put('fake_agent.connection', "status=$status\n");
	says($admin, "status $status", q{SELECT envelope_create_kek('main')}, $sqlstate, qr/^The fake says so\.$/, $hint);
}
like($fake->safe_psql('postgres', 'SELECT count(*) FROM envelope.kek'), qr/^0$/, 'none of them has made a KEK');

# Not running: each one that is started ends at once.
put('fake_agent.start', "exit\n");
$fake->kill_agent;
$fake->poll_query_until('postgres', q{SELECT value <> 'ready' FROM envelope_status() WHERE name = 'agent_state'})
  or die 'an agent is ready';
$admin->set_for_all('kms_timeout', '1s');
says($admin, 'not running', q{SELECT envelope_create_kek('main')}, 'KE006', qr/^The agent did not answer within 1000 ms; (?:no agent is ready|the agent closed the connection)\.$/,
	qr/^Try again; .*envelope_status\(\) and the server's log/);
$admin->set_for_all('kms_timeout', '1min');
put('fake_agent.start', "\n");
put('fake_agent.connection', "status=22\n");
$fake->reload;
ready();
says($admin, 'running again', q{SELECT envelope_create_kek('main')}, 'KE008', qr/^The fake/, undef);
$admin->close;
$fake->stop;
done_testing();

sub ready
{
	$fake->poll_query_until('postgres', q{SELECT value = 'ready' FROM envelope_status() WHERE name = 'agent_state'})
	  or die 'no agent is ready';
	return;
}

sub put
{
	my ($name, $text) = @_;
	open(my $out, '>', "$data/$name.new") or die "$name: $!";
	print $out $text;
	close $out or die $!;
	rename("$data/$name.new", "$data/$name") or die $!;
	return;
}
