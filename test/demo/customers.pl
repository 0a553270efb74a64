#!/usr/bin/perl
# Writes a CSV of customers to standard output: id, tenant, name, ssn.
# usage: customers.pl ROWS TENANTS > customers.csv
#
# The same arguments give the same file.  Tenant sizes are skewed (a square
# law), every name that is a control is unique, SSNs pass the format of the US
# Social Security Administration (area 001-665 or 667-899, group 01-99, serial
# 0001-9999) and are drawn at random; one row in 50 has no SSN (NULL), one in
# 97 an empty one, and one in 89 a non-ASCII one, as imported data have.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings FATAL => 'all';

my ($rows, $tenants) = @ARGV;
die "usage: customers.pl ROWS TENANTS\n" unless defined $tenants and $rows > 0 and $tenants > 0;
binmode STDOUT, ':raw';

my @first = (qw(Ada Barbara Claude Donald Edsger Frances Grace Hedy Ivan Jean Kurt Leslie Margaret Niklaus Olga Peter), "Zo\xc3\xab", "S\xc3\xb8ren", "Jos\xc3\xa9");
my @last = (qw(Lovelace Liskov Shannon Knuth Dijkstra Allen Hopper Lamarr Sutherland Bartik Goedel Lamport Hamilton Wirth Taussky Naur), "Garc\xc3\xada", "\xc5\x81ukasiewicz");
srand 20261122;

for my $id (1 .. $rows)
{
	my $tenant = $id <= $tenants ? $id : 1 + int($tenants * rand() ** 2);
	my $name = sprintf '%s %s %07d', $first[ rand @first ], $last[ rand @last ], $id;
	my $area = 1 + int rand 899;
	$area = 667 if $area == 666;
	my $ssn = sprintf '%03d-%02d-%04d', $area, 1 + int(rand 99), 1 + int(rand 9999);
	if ($id % 50 == 0) { $ssn = '' }                              # CSV: an unquoted empty field is NULL
	elsif ($id % 97 == 0) { $ssn = '""' }                         # a quoted one is an empty string
	elsif ($id % 89 == 0) { $ssn = "n\xc2\xb0 $ssn" }
	printf "%d,tenant-%04d,%s,%s\n", $id, $tenant, $name, $ssn;
}
