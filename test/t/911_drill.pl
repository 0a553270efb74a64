# make drill, on fewer rows: every step passes, and nothing is left; a drill without the copy of the
# keyring, and one whose dump has no keys, say so and fail.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Path qw(make_path);
use IPC::Run;
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $place = PostgreSQL::Test::Utils::tempdir_short();
$ENV{TMPDIR} = $place;
$ENV{PGE_SERVER_BINDIR} = $ENV{PGE_BINDIR};
my $drill = "$FindBin::RealBin/../drill/drill.sh";

my ($status, $out) = run_drill();
is($status, 0, 'the drill ends well') or diag($out);
is(() = $out =~ /^ +\S*PASS\S* /mg, 14, 'with a PASS for each claim');
unlike($out, qr/FAIL/, 'and no FAIL');
like($out, qr/^ +12 sealed values open, under 6 data keys of keyring /m, 'it has sealed something, under two versions of each key');
my @steps = $out =~ /^\S*([1-4]\. \w+)/mg;
is("@steps", '1. Dump 2. Wipe 3. Restore 4. Open', 'in four steps');
like($out, qr/^\S*The drill is passed \(\d+ s\): what was dumped and wiped opens again.*\n\z/m, 'and says so in its last line');

# --- one that leaves out what is needed ---
my $copy = "$place/tree";
make_path("$copy/test/drill");
symlink("$FindBin::RealBin/../tools", "$copy/test/tools") or die $!;
my $script = slurp_file($drill);
$drill = "$copy/test/drill/drill.sh";

broken(qr/"\$bin\/pg_envelope_agent" keyring restore .*$/m, 'true', 'without the copy of the keyring', qr/PASS\S*  the key tables have the rows/,
	qr/FAIL\S*  every value opens to what it was\n.*KE007:.*What to do: .*bring the copy of the keyring \(README, Lose the keyring\)/s);
broken(qr/(?= app$)/m, ' -N envelope', 'without the key tables', qr/PASS\S*  the owner of the database dumps it/,
	qr/FAIL\S*  the dump has the rows of the six key tables\n.*What to do: .*-e pg_envelope: README, Back up/s);
done_testing();

sub run_drill
{
	my $out = '';
	IPC::Run::run([ $drill, 3, 4 ], '<', '/dev/null', '>', \$out, '2>&1', IPC::Run::timeout(3 * $PostgreSQL::Test::Utils::timeout_default));
	my $status = $? >> 8;
	my @left = glob "$place/pg_envelope-drill.*";
	is("@left", '', 'nothing of it is left');
	return ($status, $out);
}

sub broken
{
	my ($what, $by, $name, $until, $failure) = @_;
	my $text = $script;
	is($text =~ s/$what/$by/g, 1, "(a drill $name)");
	unlink $drill;
	append_to_file($drill, $text);
	chmod 0755, $drill or die $!;
	my ($status, $out) = run_drill();
	is($status, 1, "$name it fails");
	like($out, $until, 'at the right place');
	like($out, $failure, 'and says what failed and what to do');
	is(() = $out =~ /FAIL\S*  /g, 1, 'once');
	like($out, qr/The drill FAILED: what was dumped does not open\S*\n\z/, 'in its last line, too');
	return;
}
