# make demo, on fewer rows: all claims hold, a claim that does not hold is a FAIL,
# Ctrl-C and demo-stop leave nothing, a second run replaces the first.  Twice with
# KMS=openbao, then without.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Path qw(make_path);
use IPC::Run;
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $demo = "$FindBin::RealBin/../demo/demo.sh";
my $place = PostgreSQL::Test::Utils::tempdir_short();
my $user = getpwuid $>;
my ($status, $out);
my $dir = "$place/pg_envelope-demo-$user";
$ENV{TMPDIR} = $place;
my $openbao = system("$FindBin::RealBin/../tools/openbao.sh >/dev/null 2>&1") == 0;
die 'no OpenBao' if !$openbao && $ENV{PGE_REQUIRE_ALL};
($status, $out) = unknown_kms();
is($status, 2, 'a service that it does not know is refused');
like($out, qr/KMS=hsm is none that it knows: local, openbao/, 'with those that it knows');

sub with_openbao
{
	my ($what) = @_;
	local $ENV{KMS} = $openbao ? 'openbao' : '';
	return $what->();
}

sub unknown_kms
{
	local $ENV{KMS} = 'hsm';
	return demo('start');
}

sub demo
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ $demo, @_ ], '<', '/dev/null', '>', \$out, '2>', \$err, IPC::Run::timeout(180));
	return ($? >> 8, $out . $err);
}

# Processes that the demo made name its folder.
sub left
{
	my @left;
	for my $file (glob '/proc/[0-9]*/cmdline')
	{
		open(my $in, '<', $file) or next;
		local $/;
		my $line = <$in> // '';
		push @left, $line =~ tr/\0/ /r if index($line, $dir) >= 0;
	}
	return join "\n", @left;
}

($status, $out) = with_openbao(sub { demo('start', 3000, 20) });
is($status, 0, 'the demo ends well') or diag($out);
cmp_ok(scalar(() = $out =~ /PASS/g), '>', 25, 'its claims hold');
SKIP:
{
	skip 'no OpenBao', 2 unless $openbao;
	like($out, qr{→ transit/encrypt/demo: \d+ requests, 20 data keys\n}, 'the rotation went into OpenBao, says its audit log');
	like(left(), qr{-config=\Q$dir\E/openbao/}, 'which runs');
}
unlike($out, qr/FAIL/, 'all of them');
like($out, qr{psql -h \Q$dir\E/run -U postgres demo$}m, 'it says how to try it');
isnt(left(), '', 'its server runs');
ok(!-e "$dir/customers.csv", 'its plaintext is gone');

# A second run replaces the first; Ctrl-C in the middle of it cleans up.
my $text = '';
my $run = with_openbao(sub { IPC::Run::start([ 'setsid', $demo, 'start', 3000, 20 ], '<', '/dev/null', '>', \$text, '2>&1',
	IPC::Run::timeout(120)) });
$run->pump until $text =~ /2\. Open what was sealed/ || !$run->pumpable;
unlike($text, qr/FAIL/, 'a second run gets on');
my ($leader) = grep { defined } map { /^(\d+)/ } leader();
ok($leader, 'it has a group of its own');
kill('INT', -$leader);
$run->finish;
is($run->full_result >> 8, 130, 'Ctrl-C ends it') or diag($text);
ok(!-e $dir, 'and its folder is gone');
is(left(), '', 'and its processes') or diag($text);

# A claim that does not hold: values that were never sealed are found.
my $copy = "$place/tree";
make_path("$copy/src");
system('bash', '-c', 'tar -C "$1" --exclude=./.git --exclude=./build/check -cf - . | tar -C "$2" -xf -',
	'copy', "$FindBin::RealBin/../..", "$copy/src") == 0 or die 'cannot copy the tree';
my $script = slurp_file("$copy/src/test/demo/demo.sh");
$script =~ s/(INSERT INTO customers VALUES \(NEW\.id, NEW\.tenant, NEW\.name)/INSERT INTO leak VALUES (NEW.ssn); $1/ or die 'no such line';
$script =~ s/(CREATE VIEW customers_in)/CREATE TABLE leak (ssn text);\n$1/ or die 'no such line';
append_to_file("$copy/demo.new", $script);
rename("$copy/demo.new", "$copy/src/test/demo/demo.sh") or die $!;
chmod 0755, "$copy/src/test/demo/demo.sh";
$demo = "$copy/src/test/demo/demo.sh";
($status, $out) = demo('start', 3000, 20);
is($status, 1, 'a demo that leaks ends badly');
like($out, qr/FAIL.*data files: no SSN/, 'it names the data files');
like($out, qr/FAIL.*WAL: no SSN/, 'and the WAL');
like($out, qr/FAIL.*dump: no SSN/, 'and the dump');

($status, $out) = demo('stop');
is($status, 0, 'demo-stop');
ok(!-e $dir, 'removes the folder');
is(left(), '', 'and the processes');
is((demo('stop'))[0], 0, 'and may be said twice');

done_testing();

# The demo's shell: the one process that leads a session and names the script.
sub leader
{
	my @found;
	for my $file (glob '/proc/[0-9]*/stat')
	{
		open(my $in, '<', $file) or next;
		my $stat = <$in> // next;
		my ($pid, $session) = $stat =~ /^(\d+) .*\) \S \d+ \d+ (\d+)/ or next;
		next unless $pid == $session;
		open(my $cmd, '<', "/proc/$pid/cmdline") or next;
		local $/;
		push @found, $pid if index(<$cmd> // '', $demo) >= 0;
	}
	return @found;
}
