# Dumps of an older server, by its own pg_dump and by the newer one's, plain, custom and of the
# whole cluster, are restored into a newer server with a copy of the keyring: the same uuid and
# rows, every value opens, and statistics travel as far as they do.  The old server is the one in
# PGE_OLD_BINDIR (test/versions/run.sh: 15), else one of the same version.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Copy;
use PgEnvelope::Cluster;
use PgEnvelope::Estate;
use PostgreSQL::Test::Utils;
use Test::More;

# The programs of an older release of Debian, and what they link to.
$ENV{LD_LIBRARY_PATH} = join ':', grep { defined } @ENV{qw(PGE_OLD_LIBRARIES LD_LIBRARY_PATH)} if $ENV{PGE_OLD_LIBRARIES};

sub old_server
{
	local $ENV{PGE_BINDIR} = $ENV{PGE_OLD_BINDIR} // $ENV{PGE_BINDIR};
	return PgEnvelope::Cluster->new('old', extension => 0);
}

my $old = old_server();
my $new = PgEnvelope::Cluster->new('new', start => 0, plain_keyring => 1);
note('from ' . $old->pg_version . ' to ' . $new->pg_version);
$old->safe_psql('postgres', $_) for 'CREATE ROLE app_owner', 'CREATE ROLE goes', 'CREATE ROLE stays', 'CREATE DATABASE app OWNER app_owner';
$old->create_extension('app');
PgEnvelope::Estate::make($old, 'app');
$old->safe_psql('app', 'CREATE STATISTICS app.of_keys (dependencies, ndistinct, mcv) ON key_id, version FROM app.customers; ANALYZE');
my $keys = PgEnvelope::Estate::keys($old, 'app');
my $values = PgEnvelope::Estate::values($old, 'app');
is(scalar(() = $values =~ /\|KE00[45]$/mg), 4, 'all values open but those of the disabled and the destroyed key');
my $statistics = statistics($old, 'app');
like($statistics, qr/^$_\|/m, "there are statistics of $_") for 'app.customers', 'app.of_keys', 'envelope.dek', 'envelope.wrapping';

# --- dump; 18's takes statistics of tables along if told to ---
my $folder = $old->basedir;
my @statistics = $new->pg_version >= 18 ? '--statistics' : ();
# PGE_OLD_KNOWS_MORE=1: a newer version, but of an earlier day, which cannot dump all that is there.
my ($with, @along) = $ENV{PGE_OLD_KNOWS_MORE} ? ($old) : ($new, @statistics);
dump_by($old, $old, 'pg_dump', 'old_plain', 'app');
dump_by($old, $old, 'pg_dump', 'old_custom', '-Fc', 'app');
dump_by($with, $old, 'pg_dump', 'new_custom', '-Fc', @along, 'app');
dump_by($with, $old, 'pg_dumpall', 'all', @along);
copy($old->keyring_file, $new->keyring_file) or die "keyring: $!";
chmod 0600, $new->keyring_file;
$old->stop;

# --- restore ---
$new->start;
# (so that roles have other numbers than at the old server)
$new->safe_psql('postgres', 'CREATE ROLE here');
my ($out, $said) = run_command([ $new->installed_command('psql'), '-X', '-q', '-d', $new->connstr('postgres'), '-f', "$folder/all" ]);
is(join("\n", grep { /(ERROR|FATAL|WARNING):/ && !/role "\w+" already exists/ } split /\n/, $said), '', 'the whole cluster is restored');
comes_over('app');
restored($_, $_) for qw(old_plain old_custom new_custom);
PgEnvelope::Estate::use_all($new, 'old_custom');
has_statistics('new_custom', @along);
$new->safe_psql('new_custom', 'ANALYZE');
is(statistics($new, 'new_custom'), $statistics, 'all statistics are as they were, after ANALYZE');

# --- and onwards: from the newer server to itself ---
dump_by($new, $new, 'pg_dump', 'again', '-Fc', @statistics, 'new_custom');
restored('again', 'again');
has_statistics('again', @statistics);
PgEnvelope::Estate::use_all($new, 'again');
$new->stop;
done_testing();

# Those that are told to travel have: of tables, of which an extension's are not, and of indexes, of
# which they are.
sub has_statistics
{
	my ($dbname, @told) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(statistics($new, $dbname), join("\n", @told ? grep { /^(?:app\.customers|envelope\.keyring_one_row)\|/ } split /\n/, $statistics : ()), "$dbname: the statistics that travel");
	return;
}

# A line for each column and each object of CREATE STATISTICS.  (rewrap_result is not dumped.)
sub statistics
{
	my ($node, $dbname) = @_;
	return $node->safe_psql($dbname, q{
		SELECT schemaname || '.' || tablename, attname, null_frac, n_distinct, most_common_freqs::text FROM pg_stats
		WHERE schemaname IN ('app', 'envelope') AND tablename <> 'rewrap_result'
		UNION ALL
		SELECT statistics_schemaname || '.' || statistics_name, '', NULL, NULL, n_distinct::text || most_common_freqs::text FROM pg_stats_ext
		WHERE most_common_freqs IS NOT NULL
		ORDER BY 1, 2});
}

# With the programs of $node.
sub dump_by
{
	my ($node, $server, $program, $file, @options) = @_;
	my ($out, $err) = run_command([ $node->installed_command($program), '-h', $server->host, '-p', $server->port, '-U', $server->superuser, '-f', "$folder/$file", @options ]);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($? . $err, '0', "$file: dumped by $program, without a warning");
	return;
}

sub restored
{
	my ($dbname, $file) = @_;
	$new->safe_psql('postgres', "CREATE DATABASE $dbname OWNER app_owner TEMPLATE template0");
	my @restore = $file =~ /plain/
	  ? ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$folder/$file")
	  : ('pg_restore', '--exit-on-error', '--jobs=2', "$folder/$file");
	my ($program, @options) = @restore;
	my ($out, $err) = run_command([ $new->installed_command($program), '-d', $new->connstr($dbname), @options ]);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($? . $err, '0', "$file: restored, without a warning");
	comes_over($dbname);
	return;
}

# (The keyring's uuid is the first of the rows.)
sub comes_over
{
	my ($dbname) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(PgEnvelope::Estate::keys($new, $dbname), $keys, "$dbname: the same uuid, KEKs, keys, wrapped keys and grants");
	is(PgEnvelope::Estate::values($new, $dbname), $values, "$dbname: and every value opens");
	return;
}
