# .ci/run: one closing line with the sums of make check and make check-versions, and a
# failure if either fails, however it says so; what broke on Debian's unstable is told again
# at the end, and not counted.
use strict;
use warnings FATAL => 'all';
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $bin = PostgreSQL::Test::Utils::tempdir();
append_to_file("$bin/make", <<'END');
#!/bin/sh
for target; do :; done
echo "CI=$CI PGE_REQUIRE_ALL=$PGE_REQUIRE_ALL"
echo '  | 900 passed, 900 failed'
eval "printf '%b\n' \"\$SAYS_$(echo $target | tr - _)\""
eval "exit \${STATUS_$(echo $target | tr - _):-0}"
END
chmod 0755, "$bin/make";

sub run_ci
{
	my (%with) = @_;
	local %ENV = (%ENV, PATH => "$bin:$ENV{PATH}", SAYS_check => '5 passed, 0 failed', SAYS_check_versions => '7 passed, 0 failed', %with);
	my ($out, $err) = run_command([ "$FindBin::RealBin/../../.ci/run" ]);
	return ($? >> 8, $out);
}

# What stands at the end, and whether that is good.
sub ends
{
	my ($name, $status, $last, %with) = @_;
	my ($got, $out) = run_ci(%with);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is("$got: " . ($out =~ /(.*)\z/)[0], "$status: $last", $name);
	is(scalar(() = $out =~ /^\d+ passed, \d+ failed$/mg), 1, 'in the one closing line');
	return $out;
}

my $out = ends('the sums of both', 0, '12 passed, 0 failed');
like($out, qr/^make check: 5 passed, 0 failed$/m, 'each has said its own');
like($out, qr/^CI=true PGE_REQUIRE_ALL=1$/m, 'and a skip is a failure');
ends('a failure of one', 1, '11 passed, 2 failed', SAYS_check => '4 passed, 2 failed', STATUS_check => 2);
ends('of the other', 1, '11 passed, 1 failed', SAYS_check_versions => '6 passed, 1 failed', STATUS_check_versions => 2);
ends('failures that make does not notice', 1, '11 passed, 1 failed', SAYS_check_versions => '6 passed, 1 failed');
ends('a failure that the closing line does not say', 1, '12 passed, 1 failed', STATUS_check => 2);
ends('no closing line', 1, '5 passed, 1 failed', SAYS_check_versions => 'nothing');
my $broken = q{!! PostgreSQL 18, Debian's unstable: 3 failed: reported, not counted};
$out = ends('what broke on unstable', 0, '12 passed, 0 failed', SAYS_check_versions => "$broken\n7 passed, 0 failed");
like($out, qr/^\Q$broken\E\n12 passed, 0 failed\z/m, 'stands before it');
done_testing();
