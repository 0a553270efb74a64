# A key service that takes connections and never answers: who needs it hears from the
# agent why, before his own patience ends; who needs another one waits for nothing.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IO::Socket::INET;
use PgEnvelope::Cluster;
use Test::More;

my $silent = IO::Socket::INET->new(Listen => 128, LocalAddr => '127.0.0.1') or die $!;
my $server = '127.0.0.1:' . $silent->sockport;
my $node = PgEnvelope::Cluster->new('silent', start => 0, 'pg_envelope.kms_concurrency' => 3, 'pg_envelope.kms_timeout' => '4s',
	'pg_envelope.kms_config_file' => 'kms.conf');
put('token', 's.token');
put('kms.conf', "[vault silent]\naddress = http://$server\nauth = token_file\ntoken_file = " . $node->data_dir . "/token\nallow_keys = transit/keys/*\n");
$node->start;
$node->create_extension;
$node->safe_psql('postgres', q{SET client_min_messages = error; SELECT envelope_create_kek('main')});
$node->safe_psql('postgres', q{SELECT envelope_create_key('k' || n, 'main') FROM generate_series(1, 20) n});
$node->safe_psql('postgres', q{CREATE TABLE sealed AS SELECT envelope_encrypt('of a local key', 'k1') AS sealed});

# (The agent has half a second for its word: of three times the best counts.)
my $err;
for (1 .. 3)
{
	(undef, $err) = $node->try("SELECT envelope_create_kek('silent', 'vault://$server/transit/keys/k')");
	last if $err !~ /agent did not answer/;
}
like($err, qr/ERROR:  KE007:/, 'a service that says nothing');
like($err, qr/^DETAIL:  .*(?:\[vault silent\]|\Q$server\E)/m, 'is named');
unlike($err, qr/agent did not answer/, 'by the agent, which was not silent');

# All calls that may be under way hang in it.
$node->safe_psql('postgres', "INSERT INTO envelope.kek (name, uri) VALUES ('silent', 'vault://$server/transit/keys/k')");
$node->append_conf('postgresql.conf', "pg_envelope.kms_timeout = '100s'\npg_envelope.kms_concurrency = 2");
$node->reload;
# (The second tells when the agent has both.)
PgEnvelope::Cluster::wait_until(sub { $node->safe_psql('postgres', 'SHOW pg_envelope.kms_timeout') eq '100s' && ($node->status('agent_kms_concurrency') // 0) == 2 }, 'more patience');
my $rewrap = $node->session;
$rewrap->send(q{SELECT count(*) FROM rewrap_all('main', 'silent', dry_run => true)});
PgEnvelope::Cluster::wait_until(sub { ($node->status('agent_calls_in_flight') // 0) >= 2 }, 'calls that hang');
is($node->safe_psql('postgres', q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, 'k1') FROM sealed}) =~ s/^\d+\n//r,
	'of a local key', 'a local key is unwrapped');
ok($rewrap->busy, 'while a rewrap out of the local keyring hangs');

# A reload takes the service away; who waits for it may go on waiting, or leave.
put('kms.conf', "[local]\nallow_databases = postgres\n");
$node->reload;
PgEnvelope::Cluster::wait_until(sub { ($node->status('agent_key_services') // 0) == 1 }, 'the service to be gone');
ok($rewrap->busy, 'a reload ends no call');
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $rewrap->pid . ')');
(undef, $err) = $rewrap->wait;
like($err, qr/57014/, 'whose session may end it');
$err = $node->fails_with(q{SELECT envelope_create_key('far', 'silent')}, '22023', 'and nobody begins another');
like($err, qr/^DETAIL:  No section \[vault NAME\] of pg_envelope\.kms_config_file is for "\Q$server\E"/m, 'as the detail says');
$rewrap->close;
$node->stop;
done_testing();

sub put
{
	my ($name, $text) = @_;
	my $file = $node->data_dir . "/$name";
	open(my $out, '>', "$file.new") or die "$file.new: $!";
	print $out $text;
	close($out) or die $!;
	chmod(0600, "$file.new") or die $!;
	rename("$file.new", $file) or die $!;
	return;
}
