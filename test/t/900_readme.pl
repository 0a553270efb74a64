# README says what is so: its SQL runs as it stands, with the output it shows;
# its tables of settings, functions and SQLSTATEs are the code's.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $readme = slurp("$top/README.md");
my $node = PgEnvelope::Cluster->new('readme', extension => 0);

# The first screen's SQL: a line is a statement; what follows "-- " is its output,
# where "…" stands for what differs from run to run.
my ($block) = $readme =~ /<!-- first sql -->\n```sql\n(.*?)```/s;
my @lines = split /\n/, $block // '';
is(scalar @lines, 10, 'ten lines of SQL');
my $session = $node->session;
for my $line (@lines)
{
	my ($sql, $wanted) = $line =~ /^(.*?;)\s*(?:-- (.*))?$/ or die "what is this line: $line";
	my $got = $session->query($sql);
	if (defined $wanted)
	{
		my $pattern = join '.+', map { quotemeta } split /…/, $wanted, -1;
		like($got, qr/^$pattern$/, $sql);
	}
	else
	{
		is($got, '', $sql);
	}
}
$session->close;

# Settings: name, default, and who may change them.
my %context = (postmaster => 'restart', sighup => 'reload', superuser => 'superuser');
my @settings = split /\n/, $node->safe_psql('postgres',
	q{SELECT name || '|' || CASE boot_val WHEN '' THEN 'empty' ELSE boot_val END || '|' || context FROM pg_settings
	  WHERE name LIKE 'pg\_envelope.%' ORDER BY name COLLATE "C"});
my @rows = $readme =~ /^\| `(pg_envelope\.\w+)` \| (.*?) \| (\w+) \|/mg;
my @in_readme;
while (my ($name, $default, $changed) = splice @rows, 0, 3)
{
	push @in_readme, "$name|$default|$changed";
}
for (@settings)
{
	my ($name, $default, $context) = split /\|/;
	$default = '`<data directory>.pg_envelope/keyring`' if $name eq 'pg_envelope.keyring_file';
	$_ = "$name|$default|$context{$context}";
}
cmp_ok(scalar @settings, '>', 5, 'there are settings');
is_deeply(\@in_readme, \@settings, 'the table of settings is pg_settings');

# Functions and procedures of the extension: each is in README.
my @functions = split /\n/, $node->safe_psql('postgres',
	q{SELECT DISTINCT p.proname FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
	  JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
	  WHERE e.extname = 'pg_envelope' AND p.prorettype <> 'trigger'::regtype ORDER BY 1});
cmp_ok(scalar @functions, '>', 15, 'there are functions');
is(join(' ', grep { $readme !~ /\b$_\b/ } @functions), '', 'README names every function');
my %exists = map { $_ => 1 } @functions;
my %named = map { $_ => 1 } $readme =~ /\b(envelope_[a-z_]+|rewrap_all)\s*\(/g;
is(join(' ', grep { !$exists{$_} } sort keys %named), '', 'and none that does not exist');

# SQLSTATEs of class KE.
my %code = slurp("$top/src/base/report.h") =~ /MAKE_SQLSTATE\('K', ?'E', ?'(\d)', ?'(\d)', ?'(\d)'\)/
  ? map { ("KE$_" => 1) } map { join '', @$_ } sqlstates(slurp("$top/src/base/report.h")) : ();
my %told = map { $_ => 1 } $readme =~ /^\| (KE\d\d\d) \|/mg;
cmp_ok(scalar keys %code, '>', 10, 'there are SQLSTATEs');
is_deeply([ sort keys %told ], [ sort keys %code ], 'the table of SQLSTATEs is report.h');

done_testing();

sub sqlstates
{
	my ($text) = @_;
	my @found;
	push @found, [ $1, $2, $3 ] while $text =~ /MAKE_SQLSTATE\('K', ?'E', ?'(\d)', ?'(\d)', ?'(\d)'\)/g;
	return @found;
}

sub slurp
{
	my ($file) = @_;
	open my $in, '<:raw', $file or die "$file: $!";
	local $/;
	my $text = <$in>;
	close $in or die "$file: $!";
	return $text;
}
