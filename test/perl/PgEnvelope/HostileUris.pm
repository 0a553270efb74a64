# The URIs of test/vectors/hostile_uris.txt, for tests that count connections.
#
#	for my $case (hostile_uris('127.0.0.1', 8200)) {
#		# $case->{uri}, {what} (taken, malformed, refused, foreign), {remark}
#	}
#
# The file says for which configuration they are.  URIs that SQL cannot carry
# (a NUL, bytes that are no UTF-8) are left out; the others are bytes.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::HostileUris;

use strict;
use warnings FATAL => 'all';

use Carp;
use Exporter qw(import);
use FindBin;

our @EXPORT_OK = qw(hostile_uris);

sub hostile_uris
{
	my ($host, $port) = @_;
	my $file = "$FindBin::RealBin/../vectors/hostile_uris.txt";
	my @cases;
	open my $in, '<:raw', $file or croak "$file: $!";
	while (my $line = <$in>)
	{
		chomp $line;
		next if $line =~ /^(#|$)/;
		my ($what, $uri, $remark) = split /\t/, $line, 3;
		croak "$file: $line" unless defined $remark;
		my %value = (server => "$host:$port", host => $host, port => $port);
		$uri =~ s/\{(server|host|port)\}/$value{$1}/g;
		$uri =~ s/\\x([0-9a-f]{2})/chr hex $1/ge;
		my $decoded = $uri;
		next if $uri =~ /\0/ || !utf8::decode($decoded);
		push @cases, { what => $what, uri => $uri, remark => $remark };
	}
	close $in or croak "$file: $!";
	return @cases;
}

1;
