# Which key services there are, and who may use them, is what the administrator's
# file says: read when the agent starts and at each reload, taken as a whole or not
# at all.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PgEnvelope::Cluster->new('config');
my $file = $node->data_dir . '/kms.conf';
my $open = q{SELECT envelope_decrypt(sealed, 'acme') FROM sealed};
my $in_order = q{SELECT 1 FROM envelope_status() WHERE name = 'agent_kms_config_problem' AND value = ''};
my ($err, $at);

$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->create_extension('app');
for my $dbname (qw(postgres app))
{
	$node->safe_psql($dbname, $_) for q{SET client_min_messages = error; SELECT envelope_create_kek('main'), envelope_create_kek('spare')},
	  q{SELECT envelope_create_key('acme', 'main')}, qq{CREATE TABLE sealed AS SELECT envelope_encrypt('of $dbname', 'acme') AS sealed};
}
my %keyring = map { ($_ => $node->safe_psql($_, 'SELECT uuid FROM envelope.keyring')) } qw(postgres app);
is($node->status('agent_kms_config_file'), undef, 'by default there is no file');
is($node->status('agent_key_services'), '1', 'and one service, the local keyring');

# A fence around the local keyring, by a path relative to the data directory.
$node->append_conf('postgresql.conf', "pg_envelope.kms_config_file = 'kms.conf'");
configure("; whose keys\n[local]\nallow_databases = app\n");
is($node->status('agent_kms_config_file'), $file, 'a relative path is in the data directory');
opens('app');
$err = refused('postgres', 'allow_databases', 'a database that is not listed gets no key');
like($err, qr/^DETAIL:  Section \[local\] of pg_envelope\.kms_config_file/m, 'the detail names the section');
like($err, qr/^HINT:  Have it allowed where the detail says/m, 'the hint says what to do');
$node->fails_with(q{SELECT envelope_create_key('other', 'main')}, 'KE010', 'nor does it make one');
$node->fails_with(q{SELECT envelope_create_kek('other')}, 'KE010', 'or a KEK that it could not use');
like($node->safe_psql('postgres', q{SELECT outcome, detail FROM rewrap_all('main', 'spare', dry_run => true)}), qr/^failed\|.*allow_databases/, 'a rewrap says so, too');

# A worker of a parallel query is of the same database.
my $parallel = $node->safe_psql('app', q{SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});
my $plan = $node->safe_psql('app', "SET $parallel = on; EXPLAIN (COSTS OFF) $open");
like($plan, qr/^Gather/, '(a plan with a worker)');
flush('app');
is($node->safe_psql('app', "SET $parallel = on; $open"), 'of app', 'a worker gets the key of its database');

# The same path again, with something else in it.
configure("[local]\nallow_databases = app, postgres\n");
opens($_) for qw(postgres app);
configure("[local]\nallow_keyrings = $keyring{app}\n");
opens('app');
refused('postgres', 'allow_keyrings', 'data keys of a keyring that is not listed stay shut');

# A file that is not in order changes nothing.
for my $bad (
	[ 'an unknown setting' => "[local]\nallow_database = postgres\n", qr/Line 2 of "\Q$file\E": unknown setting/ ],
	[ 'an unknown service' => "[local]\n\n[nowhere corp]\naddress = https://localhost\n", qr/Line 3 of "\Q$file\E": unknown kind of section "nowhere"/ ],
	[ 'a line of nothing' => "[local]\nallow_databases = postgres\nallow keys\n", qr/Line 3 of "\Q$file\E"/ ],
	[ 'a file that others may write' => "[local]\n", qr/"\Q$file\E" .*writ/, 0620 ],
	[ 'no file at all' => undef, qr/"\Q$file\E" could not be opened/ ])
{
	my ($what, $text, $reason, $mode) = @$bad;
	$at = -s $node->logfile;
	put($text, $mode);
	$node->reload;
	$node->wait_for_log(qr/WARNING:  pg_envelope agent: The configuration of the key services is not in order, so the key services stay as they were\. .*$reason/, $at);
	like($node->status('agent_kms_config_problem'), $reason, "$what: the status says why it is not in force");
	refused('postgres', 'allow_keyrings', "$what: what was in force stays so");
	opens('app');
}

# An agent that starts with such a file serves the local keyring.
put("[local]\nallow_databases = app\nallow_databases = app\n");
$at = -s $node->logfile;
my $old = $node->kill_agent;
$node->wait_for_agent($old);
$node->wait_for_log(qr/WARNING:  pg_envelope agent: The configuration of the key services is not in order, so there are local keys only\. Line 3 of/, $at);
opens($_) for qw(postgres app);
$err = $node->fails_with(q{SELECT envelope_create_kek('far', 'nowhere://h/keys/k')}, 'KE012', 'a service that this version does not have');
like($err, qr/no key service "nowhere"/, 'is named');
configure("[local]\nallow_databases = app\n");
refused('postgres', 'allow_databases', 'the next file in order is in force');

# Whose file it is, nobody else learns.
$node->safe_psql('postgres', 'CREATE ROLE guest LOGIN');
$node->fails_with('SHOW pg_envelope.kms_config_file', '42501', 'the path is for superusers', user => 'guest');
$node->fails_with(q{SET pg_envelope.kms_config_file = '/tmp/other'}, '55P02', 'and nobody sets it in a session');
$node->stop;
done_testing();

sub put
{
	my ($text, $mode) = @_;
	return unlink($file) unless defined $text;
	open(my $out, '>', "$file.new") or die "$file.new: $!";
	print $out $text;
	close($out) or die $!;
	chmod($mode // 0600, "$file.new") or die $!;
	rename("$file.new", $file) or die $!;
	return;
}

# A session's own reload of the settings is no sign that the agent has its; its log
# speaks of bad files only, so that each good one follows a bad one.
sub configure
{
	my ($text) = @_;
	my $from = -s $node->logfile;
	put("nothing\n");
	$node->reload;
	$node->wait_for_log(qr/is not in order.*Line 1 of/, $from);
	put($text);
	$node->reload;
	PgEnvelope::Cluster::wait_until(sub { $node->safe_psql('postgres', $in_order) }, 'the agent to take its file');
	return;
}

sub flush { return $node->safe_psql($_[0], 'SELECT envelope_cache_flush()'); }

sub opens
{
	my ($dbname) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	flush($dbname);
	is($node->safe_psql($dbname, $open), "of $dbname", "$dbname opens its values");
	return;
}

sub refused
{
	my ($dbname, $why, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	flush($dbname);
	my $message = $node->fails_with($open, 'KE010', $name, dbname => $dbname);
	like($message, qr/^DETAIL:  .*\Q$why\E\.$/m, 'for the reason that it should');
	return $message;
}
