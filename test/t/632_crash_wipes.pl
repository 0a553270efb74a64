# When a backend dies the server starts over, but the secret region is the old one: it
# is zero before the first new connection.  With the fallback we look ourselves; secret memory
# opens to nobody, so there a test build says what the postmaster saw.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::KeyBytes;
use PgEnvelope::ProcMem;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my $page = POSIX::sysconf(POSIX::_SC_PAGESIZE());
crash('fallback');
SKIP:
{
	my $fd = syscall(447, 0);
	skip 'this kernel has no memfd_secret (before Linux 6.5 it needs the boot option secretmem.enable=1)', 1 if $fd < 0;
	POSIX::close($fd);
	crash('require');
}
done_testing();

sub crash
{
	my ($kind) = @_;
	my $node = PgEnvelope::Cluster->new("crash_$kind", test_build => 1, 'restart_after_crash' => 'on', 'log_connections' => 'on',
		'pg_envelope.secret_memory' => $kind, 'pg_envelope.cache_size' => '256');
	my $s = $node->session;
	$s->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('main'), envelope_create_key('x', 'main')},
	  q{CREATE TABLE t AS SELECT envelope_encrypt('value', 'x') AS x},
	  'BEGIN', q{SELECT envelope_decrypt(x, 'x') FROM t};
	is($node->status('cache_used'), '1', "$kind: a DEK is in the region");
	my ($dek, $region) = $kind eq 'fallback' ? PgEnvelope::KeyBytes::dek($node, 'x') : ();
	mark_region($node, $region) if $kind eq 'fallback';

	# Nobody connects from here on.
	like(slurp_file($node->logfile), qr/connection authorized/, "$kind: the log tells connections");
	my $seen = -s $node->logfile;
	kill 'KILL', $s->pid or die $!;
	PgEnvelope::Cluster::wait_until(sub {
		substr(slurp_file($node->logfile), $seen) =~ /database system is ready to accept connections/ }, 'the server to start over');
	my $log = substr slurp_file($node->logfile), $seen;
	my ($before, $after) = $log =~ /not zero: (\d+) before the wipe, (\d+) after it.*ready to accept connections/s;
	cmp_ok($before // 0, '>=', 32, "$kind: the region held something (the control)");
	is($after, '0', "$kind: and is zero before the first new connection");
	unlike($log, qr/connection (?:received|authorized)/, "$kind: of which there was none yet");
	look_at_region($node, $region, $dek) if $kind eq 'fallback';

	$s->close;
	is($node->safe_psql('postgres', q{SELECT envelope_decrypt(x, 'x') FROM t}), 'value', "$kind: values open again");
	$node->stop;
	return;
}

# Bytes that no slot of the cache accounts for, so that no keeper wipes them: in every
# page but that of the socket's secret, which a new keeper draws.
sub mark_region
{
	my ($node, $region) = @_;
	open(my $mem, '+<:raw', '/proc/' . $node->postmaster_pid . '/mem') or die "mem: $!";
	for (my $at = $region->{start} + 2 * $page - 16; $at < $region->{end}; $at += $page)
	{
		sysseek($mem, $at, 0);
		is(syswrite($mem, 'marked by a test'), 16, "a mark at $at") or return;
	}
	return;
}

# The socket's secret is drawn anew, everything else is zero.
sub look_at_region
{
	my ($node, $region, $dek) = @_;
	my $bytes = PgEnvelope::ProcMem::content($node->postmaster_pid, $region);
	is(length $bytes, $region->{end} - $region->{start}, 'the region is still there');
	is(index($bytes, $dek), -1, 'the DEK is not in it');
	is(($bytes =~ s/marked by a test//g) || 0, 0, 'nor a mark of ours');
	is(substr($bytes, $page) =~ tr/\0//c, 0, 'nor anything in any slot');
	is(substr($bytes, 32, $page - 32) =~ tr/\0//c, 0, 'nor behind the secret of the socket');
	return;
}
