# What a test that looks for key bytes has to look for.
#
# No function of the extension shows a key.  A DEK is read out of the secret
# region of a server with secret_memory = fallback, where it is proven by its check value;
# a KEK out of a plain keyring file; what is derived from either is computed here, or by
# other programs than ours.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::KeyBytes;

use strict;
use warnings FATAL => 'all';

use Carp;
use Digest::SHA qw(hmac_sha256);
use IPC::Run;

use PgEnvelope::ProcMem;

# In a slot the DEK lies that far after its check value (src/cache/dek_cache.c).
my $dek_after_check = 56;

# The active DEK of a key that is cached, and the mapping of the process where it
# was found (the postmaster's, if none is named); empty if it is not there.  The check
# value is in shared buffers too, so each place is proven.
sub dek
{
	my ($node, $key, %params) = @_;
	my $pid = $params{pid} // $node->postmaster_pid;
	my ($check, $binding) = check_and_binding($node, $key, $params{dbname} // 'postgres');
	for my $mapping (grep { $_->{shared} } PgEnvelope::ProcMem::mappings($pid))
	{
		my $memory = PgEnvelope::ProcMem::content($pid, $mapping) // next;
		for (my $at = -1; ($at = index($memory, $check, $at + 1)) >= 0;)
		{
			my $dek = substr($memory, $at + $dek_after_check, 32);
			return ($dek, $mapping) if length($dek) == 32 && check_value($dek, $binding) eq $check;
		}
	}
	return;
}

sub check_and_binding
{
	my ($node, $key, $dbname) = @_;
	return map { pack('H*', $_) } split /\|/, $node->safe_psql($dbname, qq{
		SELECT encode(check_value, 'hex'), '01' || replace(keyring::text, '-', '') ||
			lpad(to_hex(dek_id), 8, '0') || lpad(to_hex(version), 8, '0') || '01' ||
			CASE algorithm WHEN 'XAES_256_GCM' THEN '01' ELSE '02' END ||
			lpad(to_hex(octet_length(convert_to(key_id, 'UTF8'))), 4, '0') || encode(convert_to(key_id, 'UTF8'), 'hex')
		FROM envelope.dek WHERE key_id = '$key' AND state = 'active'});
}

# The check value as format/README specifies it.
sub check_value
{
	my ($dek, $binding) = @_;
	my $key = hmac_sha256('pg_envelope check v1' . "\x01", hmac_sha256($dek, "\0" x 32));
	return hmac_sha256($binding, $key);
}

# All versions of all KEKs of a plain keyring file (agent/kms/README.md).
sub keks
{
	my ($file) = @_;
	my $bytes = PgEnvelope::Cluster::slurp_binary($file) // croak "$file: $!";
	my ($magic, $protection, $count) = unpack('a8 C x9 x16 N', $bytes);
	croak "$file is no plain keyring" unless $magic eq "PGEKEYR\x01" && $protection == 0;
	return map { substr($bytes, 38 + $_ * 61 + 29, 32) } 0 .. $count - 1;
}

# The key that the passphrase gives a keyring file.
sub file_key
{
	my ($file, $passphrase) = @_;
	my $bytes = PgEnvelope::Cluster::slurp_binary($file) // croak "$file: $!";
	my ($magic, $protection, $salt) = unpack('a8 C x9 a16', $bytes);
	croak "$file is under no passphrase" unless $magic eq "PGEKEYR\x01" && $protection == 1;
	my $key = output_of($passphrase, 'python3', '-c',
		'import hashlib, sys; sys.stdout.buffer.write(hashlib.scrypt(sys.stdin.buffer.read(), '
		  . 'salt=bytes.fromhex(sys.argv[1]), n=1 << 17, r=8, p=1, maxmem=1 << 28, dklen=32))',
		unpack('H*', $salt));
	croak 'no scrypt' unless length $key == 32;
	return $key;
}

# The key that XAES-256-GCM derives from a DEK for a salt (C2SP's words).
sub xaes_key
{
	my ($dek, $salt) = @_;
	my $l = aes_block($dek, "\0" x 16);
	my $k1 = pack('B*', substr(unpack('B*', $l), 1) . '0');
	$k1 ^= ("\0" x 15) . "\x87" if ord($l) & 0x80;
	return join '', map { aes_block($dek, (pack('n C x', $_, 0x58) . $salt) ^ $k1) } 1, 2;
}

sub aes_block
{
	my ($key, $block) = @_;
	my $out = output_of($block, 'openssl', 'enc', '-aes-256-ecb', '-nopad', '-K', unpack('H*', $key));
	croak 'no AES block' unless length $out == 16;
	return $out;
}

sub output_of
{
	my ($in, @command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(\@command, '<', \$in, '>', \$out, '2>', \$err) or croak "$command[0] failed: $err";
	return $out;
}

1;
