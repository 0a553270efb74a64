# make bench, quickly: it runs through, measures in rounds, finds its own controls,
# and leaves a table, a plot and a journal in which every row is.  How fast anything
# is cannot be told here, where other tests run beside it.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IPC::Run;
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'hardened-asan: what is measured under a sanitizer says nothing'
  if PgEnvelope::Cluster::hardened_run() eq 'asan';

if (system('command -v python3 >/dev/null') != 0)
{
	plan skip_all => 'the benchmark needs python3' unless ($ENV{PGE_REQUIRE_ALL} // '0') eq '1';
	BAIL_OUT('python3 is missing');
}

my $bench = "$FindBin::RealBin/../bench";
my $output = PostgreSQL::Test::Utils::tempdir();
$ENV{PYTHONDONTWRITEBYTECODE} = 1;

sub run
{
	my (@command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(\@command, '<', '/dev/null', '>', \$out, '2>', \$err, IPC::Run::timeout(1800));
	return ($? >> 8, $out, $err);
}

# What it computes, orders, judges and draws, on planted series.
my ($status, $out, $err) = run('python3', "$bench/selftest.py");
is($status, 0, 'the self-test passes') or diag($err);
like($out, qr/^\d\d+ passed, 0 failed$/m, 'all of it');

# A whole run.
{
	local $ENV{BENCH_QUICK} = 1;
	local $ENV{BENCH_OUTPUT} = $output;
	# The pg_config of a private server knows no headers.
	local $ENV{PATH} = join ':', grep { $_ ne ($ENV{PGE_BINDIR} // '') } split /:/, $ENV{PATH};
	($status, $out, $err) = run("$bench/bench.sh");
}
is($status, 0, 'make bench ends well, whatever was missed') or diag($out, $err);
like($out, qr/QUICK: .* too few repetitions/, 'it says that it was quick');
like($out, qr/^$_: +\S/m, "it says its $_") for 'CPU', 'server', 'OpenSSL', 'commit', 'load before', 'cores';
is(slurp_file("$output/table.txt"), $out, 'table.txt is what it printed');

# Every row of the table, at every size that it has.
my ($ok, $rows, $why) = run('python3', '-c', 'import sys; sys.path.insert(0, sys.argv[1])
import rows
for row in rows.rows(): print(row.name)', $bench);
is($ok, 0, 'the rows can be listed') or diag($why);
my @rows = split /\n/, $rows;
cmp_ok(scalar @rows, '>', 35, 'there are rows');
my @missing = grep { $out !~ /^\Q$_\E +-?[\d,]+ ±\d+%/m } @rows;
is("@missing", '', 'each is in the table');

# Targets: each judged, and counted by the closing line.
my @targets = $out =~ /^(.* at (?:most|least) .* (?:held|MISSED)\b.*)$/mg;
my @controls = grep { /^control/ } @targets;
@targets = grep { !/^control/ } @targets;
my $missed = grep { /MISSED/ } @targets;
like($out, qr/^\d+ s; (\d+) held, $missed missed$/m, 'the closing line counts what was missed');
my ($held) = $out =~ /(\d+) held, \d+ missed$/m;
is($held + $missed, scalar @targets, 'and the rest was held');
for my $wanted ('11 B, seal: ours XAES: above the yardstick', '11 B, seal: ours XAES, a salt per value: above',
	'11 B, open: ours GCM: above', '1 KiB, seal: ours XAES: by', '64 KiB, open: ours XAES, a salt per value: by',
	'first value of a transaction, seal XAES', 'cache miss, local keyring, cores awake', '1,000 keys prewarmed',
	'11 B, seal: ours XAES, 1,000 keys: by one key', 'parallel scan, 2 workers', 'pgbench select, simple', 'pgbench update, prepared',
	'rewrap_all over ', 'rewrap_all, memory of the backend', 'rewrap_all, memory of the agent', 'memory of an idle backend',
	'memory with 16 keys', 'memory of each further key')
{
	is(scalar(grep { index($_, $wanted) == 0 } @targets), 1, "a target: $wanted");
}

# Its control: a seal that is slower on purpose misses its target, by that much.
is(scalar @controls, 1, 'there is a control');
my ($slower) = $controls[0] =~ /at most 100 ns +([\d.]+) \(/;
cmp_ok($slower, '>', 4000, 'of 5 us');
like($controls[0], qr/MISSED/, 'which is missed');

# The journal: in a part each round is over before the next begins, and has every case once.
my (%order, %value);
for (split /\n/, slurp_file("$output/measurements.tsv") =~ s/\A.*\n//r)
{
	my ($part, $round, $case, $value) = split /\t/;
	push @{ $order{$part} }, [ $round, $case ];
	push @{ $value{$case} }, $value;
}
for my $part (grep { $_ ne 'rewrap memory' } sort keys %order)
{
	my @measured = @{ $order{$part} };
	my %cases = map { $_->[1] => 1 } @measured;
	my $rounds = $measured[-1][0];
	my @problems;
	cmp_ok($rounds, '>=', 2, "$part: rounds");
	for my $round (1 .. $rounds)
	{
		my @of = splice @measured, 0, scalar keys %cases;
		my %once = map { $_->[1] => 1 } @of;
		push @problems, "round $round" if keys %once != keys %cases || grep { $_->[0] != $round } @of;
	}
	is("@problems@measured", '', "$part: each round has every case once");
}

# A difference may be anything where the machine is busy; what is measured itself is more than nothing.
my @nothing = grep { !/1 per transaction|first value/ && grep { $_ <= 0 } @{ $value{$_} } } sort keys %value;
is("@nothing", '', 'every figure is positive');

# The plot.
($status, $out, $err) = run('python3', '-c', 'import sys, xml.etree.ElementTree as E
root = E.parse(sys.argv[1]).getroot()
tag = "{http://www.w3.org/2000/svg}"
print(root.tag == tag + "svg", len(list(root.iter(tag + "polyline"))), len(list(root.iter(tag + "circle"))))',
	"$output/plot.svg");
is($status, 0, 'the plot is XML') or diag($err);
my ($svg, $curves, $dots) = split ' ', $out;
is($svg, 'True', 'an SVG');
is($curves, 14, 'with seven curves to seal and seven to open');
is($dots, 14 * 6, 'of six sizes each');

done_testing();
