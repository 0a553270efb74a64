# A key_id counts as UTF-8 in a database of any encoding.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

my $node = PgEnvelope::Cluster->new('main', extension => 0);
for my $encoding (qw(LATIN1 SQL_ASCII))
{
	my $db = lc $encoding;
	$node->safe_psql('postgres',
		"CREATE DATABASE $db TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
	$node->create_extension($db);
	$node->safe_psql($db, q{SET client_min_messages = error; SELECT envelope_create_kek('main')});
}

# é is one byte in LATIN1, and two as UTF-8.
my $e = q{SET client_encoding = 'LATIN1'; SELECT envelope_create_key(repeat(chr(233), %d), 'main')};
is($node->safe_psql('latin1', sprintf($e, 127)), '1', '254 bytes as UTF-8');
$node->fails_with(sprintf($e, 128), '22023', '256 bytes as UTF-8', dbname => 'latin1');
$node->fails_with(q{SELECT envelope_create_key('a' || chr(133), 'main')}, '22023',
	'a control character of the upper half', dbname => 'latin1');

# C2 before a letter is no UTF-8 here, but two letters.
$node->safe_psql('latin1', q{SET client_min_messages = error; SELECT envelope_create_kek(chr(194) || 'B')});
is($node->safe_psql('latin1', q{SELECT envelope_create_key('of two letters', chr(194) || 'B')}), '1',
	'a KEK of two letters of LATIN1');

# There a control character of the upper half is one byte.
$node->fails_with(q{SELECT envelope_create_kek('a' || chr(155) || '2J')}, '22023',
	'a KEK with a control character of the upper half', dbname => 'latin1');
my ($out, $said) = $node->try(q{SET client_encoding = 'LATIN1'; SELECT envelope_rotate_kek('a' || chr(155) || chr(233) || E'\\nLOG')}, dbname => 'latin1');
like($said, qr/ERROR:  42704: KEK "a\?\xe9\?LOG" does not exist\n/, 'nor does a message show one');

# SQL_ASCII has no characters, only bytes: those must be UTF-8.
my $bytes = q{SELECT envelope_create_key(convert_from('\x%s', 'SQL_ASCII'), 'main')};
is($node->safe_psql('sql_ascii', sprintf($bytes, 'c3a9')), '1', 'UTF-8 in SQL_ASCII');
my $err = $node->fails_with(sprintf($bytes, 'e9'), '22023', 'LATIN1 in SQL_ASCII', dbname => 'sql_ascii');
like($err, qr/cannot be written as UTF-8/, 'says what is wrong');
$err = $node->fails_with(q{SELECT envelope_create_kek(convert_from('\xe9', 'SQL_ASCII'))}, '22023', 'nor is it the name of a KEK', dbname => 'sql_ascii');
like($err, qr/cannot be written as UTF-8/, 'for the same reason');

is($node->safe_psql($_, q{SELECT DISTINCT envelope_rotate_key(key_id) FROM envelope.key}), '2',
	"and can be found again in $_") for qw(latin1 sql_ascii);

# As a document it comes to a database of another encoding.
my ($document, $sealed) = split /\|/, $node->safe_psql('latin1',
	q{SET client_encoding = 'UTF8'; SELECT envelope_export_keyring(ARRAY[k]), envelope_encrypt(k, k) FROM repeat(chr(233), 127) k});
$node->create_extension('postgres');
is($node->safe_psql('postgres', "SELECT key_id = repeat(chr(233), 127), outcome FROM envelope_import_keyring(\$d\$$document\$d\$) WHERE version = 2"), 't|imported',
	'a key moves from LATIN1 to UTF8');
is($node->safe_psql('postgres', "SELECT envelope_decrypt('$sealed', k) = k FROM repeat(chr(233), 127) k"), 't', 'and opens what it sealed there');
$node->stop;
done_testing();
