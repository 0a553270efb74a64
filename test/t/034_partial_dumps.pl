# What pg_dump takes along with which options is what README's table says; what comes of a dump
# that leaves the keys out is said, and nothing that was sealed is lost by it.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::Estate;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PgEnvelope::Cluster->new('partial', extension => 0);
$node->safe_psql('postgres', $_) for 'CREATE ROLE goes', 'CREATE ROLE stays', 'CREATE ROLE app_owner LOGIN', 'CREATE DATABASE app OWNER app_owner';
$node->create_extension('app');
PgEnvelope::Estate::make($node, 'app');
my $keys = PgEnvelope::Estate::keys($node, 'app');
my $values = PgEnvelope::Estate::values($node, 'app');
my $first = q{SELECT envelope_decrypt(sealed, key_id, associated_data) FROM app.customers WHERE id = 1};

# --- README's table ---
my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my ($table) = $readme =~ /^\| `pg_dump` with \|.*\n\|[-|]+\n((?:\|.*\n)+)/m or BAIL_OUT('README has no such table');
my %yes = ('yes' => 1, 'no' => 0, '**no**' => 0);
my %tried;
for my $row (split /\n/, $table)
{
	my ($what, @said) = map { s/^\s+|\s+$//gr } (split /\|/, $row)[ 1 .. 4 ];
	my @options = map { tr{'}{}dr } $what =~ /`([^`]+)`/g;
	@options = ('') if $what eq 'no option of these';
	ok(@options > 0, "options: $what");
	for my $options (@options)
	{
		is_deeply([ contents(dump_with($options, $_)) ], [ map { $yes{$_} } @said ], "pg_dump $options: keys, extension, rows as README says, by $_") for $node->superuser, 'app_owner';
		$tried{$options} = 1;
	}
}
ok($tried{$_}, "README speaks of $_") for '', '-a', '-s', '-n app', '-t app.customers', '-N envelope', '-n app -e pg_envelope';

# --- what the user is told ---
# Without the extension even the table that checks what it holds is not made.
like(restore('no_extension', '-n app'), qr/ERROR: .*function public\.envelope_is_encrypted\(bytea\) does not exist/, 'without the extension its functions are missed');
# With it, but without keys, the values say so; with the keys, which are restored behind them, they open.
is(restore('no_keys', '-N envelope'), '', 'a dump without the keys is restored');
is($node->safe_psql('no_keys', 'SELECT count(*) FROM envelope.dek'), '0', 'it has none');
my $err = $node->fails_with($first, 'KE003', 'its values cannot be opened', dbname => 'no_keys');
like($err, qr/data key \d+ of the value is not known/, 'because of the key that is not known');
is(restore('no_keys', '-a -t envelope.*'), '', 'the keys are restored later');
comes_over('no_keys');

# In parts it is whole.
is(restore('in_parts', '-s'), '', 'the schema');
is(restore('in_parts', '-a'), '', 'then the rows');
comes_over('in_parts');
is(restore('in_sections', "--section=$_"), '', "section $_") for qw(pre-data data post-data);
comes_over('in_sections');
is(restore('as_inserts', '--inserts --no-owner --no-privileges'), '', 'as INSERT statements');
comes_over('as_inserts');
is(restore('one_schema', '-n app -e pg_envelope'), '', 'one schema with the extension');
comes_over('one_schema');

# Keys without the data of the extension's other tables are none.
isnt(scalar(() = dump_with('--exclude-table-data=envelope.dek') =~ /^COPY envelope\./mg), 6, '(the count of key tables notices one that is missing)');
$node->stop;
done_testing();

sub dump_with
{
	my ($options, $user) = @_;
	my ($out, $err) = run_command([ $node->installed_command('pg_dump'), '-d', $node->connstr('app'), '-U', $user // $node->superuser, split / /, $options ]);
	BAIL_OUT("pg_dump $options: $err") if $? != 0;
	return $out;
}

# Whether there are key rows (of all six tables, or dies), CREATE EXTENSION, user rows.
sub contents
{
	my ($dump) = @_;
	my $tables = () = $dump =~ /^COPY envelope\./mg;
	die "rows of $tables key tables" if $tables != 0 && $tables != 6;
	return ($tables / 6, $dump =~ /^CREATE EXTENSION IF NOT EXISTS pg_envelope /m ? 1 : 0, $dump =~ /^COPY app\.customers /m ? 1 : 0);
}

# What psql says.
sub restore
{
	my ($dbname, $options) = @_;
	my $dump = dump_with($options);
	$node->safe_psql('postgres', "CREATE DATABASE $dbname TEMPLATE template0")
	  if $node->safe_psql('postgres', "SELECT count(*) FROM pg_database WHERE datname = '$dbname'") eq '0';
	my ($out, $said) = ('', '');
	IPC::Run::run([ $node->installed_command('psql'), '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($dbname) ], '<', \$dump, '>', \$out, '2>', \$said);
	return $said;
}

sub comes_over
{
	my ($dbname) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(PgEnvelope::Estate::keys($node, $dbname), $keys, "$dbname: the same keys");
	is(PgEnvelope::Estate::values($node, $dbname), $values, 'and every value opens');
	return;
}
