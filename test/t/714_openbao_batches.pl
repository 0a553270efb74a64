# Some hundred data keys at once, in a real OpenBao: rewraps are batches of as many as it takes; onto a new
# version of a derived key the service makes them itself; and one damaged wrapping fails alone.
#
# The derived key is that of one section, the other key of another, whose server takes 33 items (200 strings of
# JSON) at once.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP;
use PgEnvelope::Cluster;
use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;
use Test::More;

my $deks = 250;
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $bao = PgEnvelope::OpenBao->new($dir, json_strings => 200) or plan skip_all => 'SKIP: ' . PgEnvelope::OpenBao::why_not();
my %server = (acme => $bao->server, plain => $bao->plain_address =~ s{^http://}{}r);
$bao->ask(POST => 'transit/keys/acme', { type => 'aes256-gcm96', derived => JSON::PP::true });
$bao->ask(POST => 'transit/keys/plain', { type => 'aes256-gcm96' });
my $role = $bao->approle('db', $bao->least_policy(qw(acme plain)), token_ttl => '1h');
PgEnvelope::OpenBao::write_file("$dir/kms.conf", $bao->section('corp', "$role->{lines}allow_keys = transit/keys/acme\n")
	  . "[vault small]\naddress = http://$server{plain}\n$role->{lines}allow_keys = transit/keys/plain\n");
# (Answers that take an eighth of it would make the batches smaller.)
my $node = PgEnvelope::Cluster->new('batches', 'pg_envelope.kms_config_file' => "$dir/kms.conf", 'pg_envelope.kms_timeout' => '60s');
my $admin = $node->session;
$admin->query($_) for 'SET client_min_messages = error', q{SELECT envelope_create_kek('main')},
  map { "SELECT envelope_create_kek('$_', 'vault://$server{$_}/transit/keys/$_')" } qw(acme plain);
$admin->query("SELECT envelope_create_key('k' || n, 'main') FROM generate_series(1, $deks) n");
$admin->query("CREATE TABLE t AS SELECT 'k' || n AS key_id, envelope_encrypt('of ' || n, 'k' || n) AS sealed FROM generate_series(1, $deks) n");
my ($versions) = slurp_file("$FindBin::RealBin/../../README.md") =~ /<!-- versions sql -->\n```sql\n(.*?);\n```/s;

sub outcomes { my ($old, $new) = @_; return $admin->query("SELECT outcome, count(*) FROM rewrap_all('$old', '$new') GROUP BY 1 ORDER BY 1"); }
sub opens_all { my ($why) = @_; return is($admin->query(q{SELECT envelope_cache_flush(); SELECT count(*) FROM t WHERE envelope_decrypt(sealed, key_id) = 'of ' || substr(key_id, 2)}) =~ s/^\d+\n//r, $deks, $why); }

# {path => [items of each request, ...]}; a request that is not a batch counts as "one".  What was refused as
# too much is left out.
sub requests
{
	my %seen;
	for my $request (@{ $bao->audited })
	{
		next if $request->{error};
		my $batch = $request->{data}{batch_input};
		push @{ $seen{ $request->{path} =~ s{^transit/}{}r } }, $batch ? scalar @$batch : 'one';
	}
	return \%seen;
}

# All of them on these paths, and fewer calls than there are data keys: one by one it were three or four for
# each.  (A rewrap begins with kms_concurrency requests, and its batches grow from there.)
sub in_batches
{
	my ($seen, $why, @paths) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $calls = 0;
	$calls += @$_ for values %$seen;
	for my $path (@paths)
	{
		my $items = 0;
		$items += $_ eq 'one' ? 1 : $_ for @{ $seen->{$path} // [] };
		cmp_ok($items, '>=', $deks, "$why: all of them by $path");
	}
	cmp_ok($calls, '<', $deks, "$why: fewer calls than data keys") or diag(explain($seen));
	note(sprintf '%s: %d calls for %d data keys, %.2f for each', $why, $calls, $deks, $calls / $deks);
	return;
}

#
# Into the service.
#
is($admin->query($versions), "main|1|$deks", 'README tells how to count what each version wraps');
requests();
is(outcomes('main', 'acme'), "rewrapped|$deks", 'from the local keyring to OpenBao');
my $seen = requests();
in_batches($seen, 'into OpenBao', 'encrypt/acme', 'decrypt/acme');
is($seen->{'rewrap/acme'}, undef, 'no rewrap there: it has not wrapped them yet');
is($admin->query($versions), "acme|1|$deks", 'all are there');
opens_all('and open');

#
# Onto a new version, with one that is damaged.
#
$admin->query($node->leave_to_lose_keys);
$bao->ask(POST => 'transit/keys/acme/rotate');
$admin->query($_) for 'BEGIN', q{ALTER TABLE envelope.wrapping DISABLE TRIGGER envelope_guard},
  q{CREATE TABLE damaged AS SELECT w.dek_id, w.wrapped FROM envelope.wrapping w JOIN envelope.dek d USING (dek_id) WHERE d.key_id = 'k7' AND w.superseded IS NULL},
  q{UPDATE envelope.wrapping w SET wrapped = set_byte(w.wrapped, 60, CASE get_byte(w.wrapped, 60) WHEN 65 THEN 66 ELSE 65 END) FROM damaged d WHERE w.dek_id = d.dek_id AND w.superseded IS NULL},
  q{ALTER TABLE envelope.wrapping ENABLE ALWAYS TRIGGER envelope_guard}, 'COMMIT';
requests();
is($admin->query(q{SELECT key_id, outcome, detail ~ 'The service does not open it' FROM rewrap_all('acme', 'acme') WHERE outcome <> 'rewrapped'}), 'k7|failed|t', 'one that is damaged fails alone');
$seen = requests();
in_batches($seen, 'onto a new version', 'rewrap/acme');
is($seen->{'encrypt/acme'}, undef, 'with no encrypt');
is($admin->query($versions), "acme|1|1\nacme|2|" . ($deks - 1), 'one is left under the old version');
is(outcomes('acme', 'acme'), "already|" . ($deks - 1) . "\nfailed|1", 'of which the next run finds that one alone');
$admin->query($_) for 'BEGIN', q{ALTER TABLE envelope.wrapping DISABLE TRIGGER envelope_guard},
  q{UPDATE envelope.wrapping w SET wrapped = d.wrapped FROM damaged d WHERE w.dek_id = d.dek_id AND w.superseded IS NULL}, q{ALTER TABLE envelope.wrapping ENABLE ALWAYS TRIGGER envelope_guard}, 'COMMIT';
is(outcomes('acme', 'acme'), "already|" . ($deks - 1) . "\nrewrapped|1", 'and once it is mended');
opens_all('all open');

#
# Without the right to rewrap nothing is lost, and it is said what is missing.
#
$bao->ask(POST => 'transit/keys/acme/rotate');
$bao->policy('db', $bao->least_policy(qw(acme plain)) =~ s{path "transit/rewrap/acme"[^\n]*\n}{}r);
is($admin->query(q{SELECT outcome, count(*), bool_and(detail ~ 'give the agent''s policy "update" on transit/rewrap/acme') FROM rewrap_all('acme', 'acme') GROUP BY 1}), "failed|$deks|t", 'a policy that does not let it rewrap');
$bao->policy('db', $bao->least_policy(qw(acme plain)));

#
# To a key that is not derived, within that, and out of the service.
#
requests();
is(outcomes('acme', 'plain'), "rewrapped|$deks", 'to a key that is not derived');
$seen = requests();
in_batches($seen, 'to a key that is not derived', 'decrypt/acme', 'encrypt/plain', 'decrypt/plain');
my ($largest) = sort { $b <=> $a } grep { $_ ne 'one' } map { @$_ } @$seen{qw(encrypt/plain decrypt/plain)};
ok($largest > 1 && $largest <= 33, "in batches that it takes (of $largest at most)");
ok(!exists $seen->{'rewrap/acme'} && !exists $seen->{'rewrap/plain'}, 'by no rewrap, which would not bind');
$bao->ask(POST => 'transit/keys/plain/rotate');
requests();
is(outcomes('plain', 'plain'), "rewrapped|$deks", 'onto a new version of it');
$seen = requests();
in_batches($seen, 'onto a new version of it', 'decrypt/plain', 'encrypt/plain');
is($seen->{'rewrap/plain'}, undef, 'by no rewrap either');
$admin->query(q{SELECT envelope_enable_kek('main')});
requests();
is(outcomes('plain', 'main'), "rewrapped|$deks", 'back to the local keyring');
in_batches(requests(), 'out of OpenBao', 'decrypt/plain');
opens_all('all open');

$admin->close;
$node->stop;
done_testing();
