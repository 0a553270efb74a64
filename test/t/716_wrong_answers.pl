# A key service that answers wrongly costs an error and never a row: create_kek, create_key, rotate_key and rewrap_all
# leave the tables as they were, whatever is wrong with the wrapping, its proof or the key.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IPC::Open2;
use PgEnvelope::Cluster;
use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my ($pid, $said, $input, %port, %first) = (0);
$pid = open2($said, $input, 'python3', "$FindBin::RealBin/../tools/fault_vault.py", $dir);
while (my $line = <$said>)
{
	last if $line eq "ready\n";
	my ($case, $name, $kind, $request, $where, $status) = split ' ', $line;
	if ($case ne 'case') { $port{$case} = $name; next; }
	$first{"$kind of $request"} //= $name if $where eq 'shared' && $status !~ /ok/;
}
# One of each kind that could lead to a bad row; the unit test vault_faults_test tries all of them.
my @kinds = ((map { ("$_ of wrap", "$_ of unwrap") } qw(dek-length denied duplicate empty missing not-json other-dek short-json wrong-type)),
	'base64 of unwrap', 'other-ciphertext of wrap', 'no-kind-for-us of wrap', 'known-error of unwrap', 'status of wrap', 'throttled of unwrap', 'truncated of unwrap');
my $server = "127.0.0.1:$port{tls}";
PgEnvelope::OpenBao::write_file("$dir/token", 's.one.shared');
PgEnvelope::OpenBao::write_file("$dir/kms.conf", "[vault wrong]\naddress = https://$server\nca_file = $dir/ca.pem\nauth = token_file\ntoken_file = $dir/token\nallow_keys = transit/keys/*\n");
my $node = PgEnvelope::Cluster->new('wrong', 'pg_envelope.kms_config_file' => "$dir/kms.conf", 'pg_envelope.kms_timeout' => '1s');
my $admin = $node->session;
$admin->query('SET client_min_messages = error');

sub uri { my ($key) = @_; return "vault://$server/transit/keys/$key"; }

# The service is new to it, and a second is little on a busy machine.
sub insist
{
	my ($sql) = @_;
	my ($out, $err);
	PgEnvelope::Cluster::wait_until(sub { ($out, $err) = $admin->try($sql); return $err eq ''; }, $sql);
	return $out;
}

insist("SELECT envelope_create_kek('$_', '" . uri($_) . "')") for qw(good turn next);
insist("SELECT envelope_create_key('$_->[0]', '$_->[1]')") for [ 'stays', 'good' ], [ 'turns', 'turn' ];
insist(q{CREATE TABLE kept AS SELECT envelope_encrypt('kept', 'stays') AS sealed});
$admin->query($node->leave_to_lose_keys);
my $opens = q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, 'stays') FROM kept};

# All that is stored, but for what rewrap_all does before it asks: it retires a KEK, whose keys go to the new one.
sub tables
{
	return $admin->query(q{SELECT md5(string_agg(line, '|' ORDER BY line)) FROM (
		SELECT t::text AS line FROM envelope.dek t UNION ALL SELECT t::text FROM envelope.wrapping t
		UNION ALL SELECT key_id || algorithm || state FROM envelope.key UNION ALL SELECT name || uri FROM envelope.kek) rows});
}

# The statements with a KEK of this name in the service, each in a transaction that is rolled back:
# what each said, and whether it had written anything.
sub tried
{
	my ($key) = @_;
	my %end;
	my %statement = (
		create_kek => q{SELECT envelope_create_kek('x', '} . uri($key) . q{')},
		create_key => q{SELECT envelope_create_key('x', 'next')},
		rotate_key => q{SELECT envelope_rotate_key('turns')},
		rewrap_all => q{SELECT outcome, detail FROM rewrap_all('good', 'next')});
	for my $name (sort keys %statement)
	{
		$admin->query($_) for 'BEGIN', 'ALTER TABLE envelope.kek DISABLE TRIGGER USER',
		  "UPDATE envelope.kek SET uri = '" . uri($key) . "' WHERE name IN ('next', 'turn')", 'SAVEPOINT s';
		my $before = tables();
		my ($out, $err) = $admin->try($statement{$name});
		$admin->query('ROLLBACK TO s') if $err ne '';
		$end{$name} = { error => $err =~ /ERROR:  (\w{5}):/ ? $1 : $out =~ /^failed/m ? 'failed' : '', changed => tables() ne $before };
		$admin->query('ROLLBACK');
		# An answer in between: those in a row would open the breaker.
		$admin->try($opens);
	}
	return \%end;
}

my $before = tables();
for my $what (@kinds)
{
	die "no $what" unless $first{$what};
	my $end = tried($first{$what});
	my @bad = grep { $end->{$_}{error} !~ /^(KE0(06|07|08|09|10|11|12|13)|failed)$/ || $end->{$_}{changed} } sort keys %$end;
	is_deeply(\@bad, [], "$what: four statements, four errors, no row") or diag(explain($end));
}
is(tables(), $before, 'nothing is left of any of them');

# The control: the same with a key that is in order.
my $end;
PgEnvelope::Cluster::wait_until(sub { $end = tried('fine'); return !grep { $end->{$_}{error} ne '' } keys %$end; }, 'all work with a good key');
is_deeply([ map { "$_ $end->{$_}{changed}" } sort keys %$end ], [ map { "$_ 1" } qw(create_kek create_key rewrap_all rotate_key) ], 'with a good key each writes its rows');
like(insist($opens), qr/kept/, 'what was sealed before opens');

$admin->close;
$node->stop;
close $input;
kill KILL => $pid;
waitpid $pid, 0;
done_testing();
