# Which 32 bytes a DEK is, so that a test can look for them.  They can be learnt
# only where the secret region can be read: secret_memory = fallback and
# harden_backends = off.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::Deks;

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256);

# In a slot the DEK lies 48 bytes after its check value (src/cache/dek_cache.c);
# each place is proven by the check value, as format/README.md specifies it.
# undef: no version of that key is cached.
sub cached
{
	my ($node, $pid, $key) = @_;
	my ($check, $binding) = map { pack('H*', $_) } split /\|/, $node->safe_psql('postgres', qq{
		SELECT encode(check_value, 'hex'), '01' || replace(keyring::text, '-', '') ||
			lpad(to_hex(dek_id), 8, '0') || lpad(to_hex(version), 8, '0') || '01' ||
			CASE algorithm WHEN 'XAES_256_GCM' THEN '01' ELSE '02' END ||
			lpad(to_hex(octet_length(key_id)), 4, '0') || encode(key_id::bytea, 'hex')
		FROM envelope.dek WHERE key_id = '$key' AND state = 'active'});
	for my $memory (shared_memory($pid))
	{
		for (my $at = -1; ($at = index($memory, $check, $at + 1)) >= 0;)
		{
			my $dek = substr($memory, $at + 48, 32);
			return $dek if length($dek) == 32 && check_value($dek, $binding) eq $check;
		}
	}
	return;
}

sub check_value
{
	my ($dek, $binding) = @_;
	my $key = hmac_sha256('pg_envelope check v1' . "\x01", hmac_sha256($dek, "\0" x 32));
	return hmac_sha256($binding, $key);
}

sub shared_memory
{
	my ($pid) = @_;
	open(my $maps, '<', "/proc/$pid/maps") or die "maps: $!";
	open(my $mem, '<:raw', "/proc/$pid/mem") or die "mem: $!";
	no warnings 'portable';    # 64-bit addresses
	my @contents;
	for (map { /^([0-9a-f]+)-([0-9a-f]+) rw.s/ ? [ hex $1, hex $2 ] : () } <$maps>)
	{
		sysseek($mem, $_->[0], 0);
		sysread($mem, my $bytes, $_->[1] - $_->[0]);
		push @contents, $bytes if defined $bytes;
	}
	return @contents;
}

1;
