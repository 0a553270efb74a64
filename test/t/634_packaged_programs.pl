# What a user gets has nothing of the crash points that the test build has
# (src/base/crash_point.h): no name of one, no symbol, no file that arms one.  Nor has it
# bitcode, from which a server with LLVM would inline functions without what wipes keys.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::CrashPoints;
use Test::More;

# Both programs of the server with this bindir, as one text.
sub programs
{
	my ($bindir) = @_;
	chomp(my $pkglibdir = qx('$bindir/pg_config' --pkglibdir));
	return join '', map { PgEnvelope::Cluster::slurp_binary($_) // die "$_: $!" } "$pkglibdir/pg_envelope.so", "$bindir/pg_envelope_agent";
}

my ($packaged, $tested) = map { programs($ENV{$_} // die "set $_ (test/suites.sh does)") } qw(PGE_BINDIR PGE_TEST_BINDIR);
my @names = map { $_->{name} } PgEnvelope::CrashPoints::all();
my @words = (qw(pge_crash crash_point crash_armed crash_fired), @names);
is_deeply([ grep { index($tested, $_) < 0 } @words ], [], 'the test build has all ' . @names . ' crash points (the control)');
is_deeply([ grep { index($packaged, $_) >= 0 } @words ], [], 'a build for users has none of them');

chomp(my $pkglibdir = qx('$ENV{PGE_BINDIR}/pg_config' --pkglibdir));
like(scalar qx('$ENV{PGE_BINDIR}/pg_config' --configure), qr/--with-llvm/, "this server would take an extension's bitcode (the control)");
is_deeply([ glob "$pkglibdir/bitcode/pg_envelope*" ], [], 'and there is none of this one');
done_testing();
