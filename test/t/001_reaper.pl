# What outlives a suite is named, counted and ended, however it hides.
use strict;
use warnings FATAL => 'all';
use FindBin;
use File::Temp;
use Test::More;

my $reaper = "$FindBin::RealBin/../tools/reaper.py";
my $dir = File::Temp->newdir;
$ENV{REAPER_GRACE_S} = 0.5;

sub reap
{
	my (@command) = @_;
	my $pid = open(my $out, '-|', $reaper, "$dir/left", @command) or die "$reaper: $!";
	local $/;
	my $text = <$out>;
	close $out;
	open(my $left, '<', "$dir/left") or return ($? >> 8, $text, undef);
	return ($? >> 8, $text, <$left> + 0);
}

is_deeply([ reap('true') ], [ 0, '', 0 ], 'a command that leaves nothing');
is((reap('sh', '-c', 'exit 7'))[0], 7, 'its exit code comes through');

# A daemon as servers are: own session, no parent left, standard streams elsewhere.
# (It says that it is there when its parent has gone, who would be counted too.)
my $daemon = q{use POSIX; fork and exit; POSIX::setsid(); my $parent = $$; fork and exit; select undef, undef, undef, 0.01 while getppid == $parent;
	open STDIN, '/dev/null'; open STDOUT, '>/dev/null'; open STDERR, '>/dev/null';
	open my $f, '>', "$ARGV[0].new"; print $f $$; close $f; rename "$ARGV[0].new", $ARGV[0]; %s
	select undef, undef, undef, 600};
for my $kind ([ '', 'a daemon' ], [ q{$SIG{TERM} = 'IGNORE';}, 'a daemon that ignores SIGTERM' ],
	[ q{kill STOP => $$;}, 'a stopped daemon' ])
{
	unlink "$dir/pid";
	my ($code, $text, $left) = reap('sh', '-c',
		q{perl -e "$1" "$2" && until [ -s "$2" ]; do :; done}, 'sh',
		sprintf($daemon, $kind->[0]), "$dir/pid");
	open(my $fh, '<', "$dir/pid") or die "no daemon came up: $!";
	my $pid = <$fh>;
	is($left, 1, "$kind->[1] is counted");
	like($text, qr/still running after the suites:\n  $pid perl/, 'and named');
	ok(!kill(0, $pid), 'and ended');
}
done_testing();
