# make bench-kms, quickly: it runs through, and what it counts is right whatever else the
# machine does: calls for each DEK of each pair of services, one call for a crowd that
# misses one DEK, handshakes.  How fast anything is cannot be told here.
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

my $output = PostgreSQL::Test::Utils::tempdir();
my ($out, $err) = ('', '');
{
	local $ENV{BENCH_QUICK} = 1;
	local $ENV{BENCH_OUTPUT} = $output;
	local $ENV{PATH} = join ':', grep { $_ ne ($ENV{PGE_BINDIR} // '') } split /:/, $ENV{PATH};
	IPC::Run::run([ "$FindBin::RealBin/../bench/kms/bench_kms.sh" ], '<', '/dev/null', '>', \$out, '2>', \$err, IPC::Run::timeout(600));
}
is($?, 0, 'make bench-kms ends well, whatever was missed') or diag($out, $err);
like($out, qr/QUICK: too few data keys to judge by/, 'it says that it was quick');
is(slurp_file("$output/kms.txt"), $out, 'kms.txt is what it printed');

# The program itself ends badly if the calls of a pair are not those that it lists.

my %calls = (
	'local -> one' => '3.000', 'one -> one2' => '4.000', 'one2 -> local2' => '1.000',
	'local3 -> aws' => '2.000', 'aws -> aws2' => '2.000', 'aws2 -> local' => '1.000',
);
like($out, qr/^\Q$_\E +[\d.]+ s +[\d,]+ calls \(\Q$calls{$_}\E for each DEK/m, "$_: the calls that it lists") for sort keys %calls;
for my $pair ('local2 -> batches', 'batches -> batches2', 'batches2 -> local3')
{
	like($out, qr/^\Q$pair\E +[\d.]+ s +\d+ calls \(0\.\d+ for each DEK/m, "$pair: in batches, less than a call for each");
}
like($out, qr/^\d+ backends miss one DEK: calls .* 1\.00 \(1\.00 … 1\.00\) +held/m, 'a crowd that misses one DEK costs one call');
like($out, qr/^TLS handshakes in a rewrap .* held/m, 'connections are kept');
like($out, qr/^\d+ s; \d+ held, \d+ missed\n\z/m, 'it counts, last');

done_testing();
