# Text that one side's encoding does not know: one SQLSTATE, a hint, and not a
# byte of it in the message, in databases of four encodings and both directions.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

my $node = PgEnvelope::Cluster->new('text', extension => 0);
my $not_text = qr/\A22021\|the opened value is not text of this database's encoding\|\|Open its bytes with envelope_decrypt_bytea\.\z/;

# Bytes that were sealed as bytes, and where they open as text: how long it is there.
my @never = (NUL => '\x00', 'NUL at the end' => '\x6100', overlong => '\xc0af', 'half a surrogate' => '\xeda080', 'beyond 10FFFF' => '\xf4908080',
	'a cut character' => '\x61e282', 'a continuation' => '\x80', FF => '\xff', '... after a megabyte' => q{' || repeat('78', 1048576) || 'ff});
my @somewhere = (
	[ 'nothing', '\x', { UTF8 => 0, LATIN1 => 0, SQL_ASCII => 0, EUC_JP => 0 } ],
	[ 'e acute', '\xc3a9', { UTF8 => 2, LATIN1 => 1, SQL_ASCII => 2, EUC_JP => 3 } ],
	[ 'e acute over the end of a megabyte', q{' || repeat('78', 1048575) || 'c3a9}, { UTF8 => 1048577, LATIN1 => 1048576, SQL_ASCII => 1048577, EUC_JP => 1048578 } ],
	[ 'C1', '\xc285', { UTF8 => 2, LATIN1 => 1, SQL_ASCII => 2 } ],
	[ 'euro', '\xe282ac', { UTF8 => 3, SQL_ASCII => 3 } ],
	[ 'hiragana', '\xe38182', { UTF8 => 3, SQL_ASCII => 3, EUC_JP => 2 } ],
	[ 'hiragana over the end of a megabyte', q{' || repeat('78', 1048574) || 'e38182}, { UTF8 => 1048577, SQL_ASCII => 1048577, EUC_JP => 1048576 } ],
	[ 'key symbol', '\xf09f9491', { UTF8 => 4, SQL_ASCII => 4 } ]);

my $admin = $node->session;
my %session;
for my $encoding (qw(UTF8 LATIN1 SQL_ASCII EUC_JP))
{
	my $db = lc $encoding;
	$admin->query("CREATE DATABASE $db TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
	my $s = $session{$encoding} = $node->session(dbname => $db);
	$s->query($_) for q{SET client_min_messages = error}, q{SET client_encoding = 'SQL_ASCII'}, 'CREATE EXTENSION pg_envelope',
	  q{SELECT envelope_create_kek('main'), envelope_create_key('x', 'main')},
	  q{CREATE FUNCTION say(what text) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE m text; d text; h text; answer text;
		BEGIN
			EXECUTE 'SELECT octet_length(' || what || ')' INTO answer;
			RETURN answer;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
			RETURN concat_ws('|', SQLSTATE, m, d, h);
		END $$};
	my $open = sub {
		my $hex = $_[0] =~ s/^\\x//r;
		return $s->query("SELECT say(\$q\$envelope_decrypt(envelope_encrypt_bytea(decode('$hex', 'hex'), 'x'), 'x')\$q\$)");
	};
	my @list = @never;
	while (my ($what, $bytes) = splice @list, 0, 2)
	{
		like($open->($bytes), $not_text, "$encoding: $what is no text");
	}
	for my $case (@somewhere)
	{
		my ($what, $bytes, $length) = @$case;
		defined $length->{$encoding}
		  ? is($open->($bytes), $length->{$encoding}, "$encoding: $what opens")
		  : like($open->($bytes), $not_text, "$encoding: $what is no text there");
	}
}

#
# Text of the database that cannot be written as UTF-8, wherever it is passed.
#
my %wrong = (SQL_ASCII => q{ab\xe9}, EUC_JP => q{ab\xa9\xa1});
my $hidden = qr/0x|e9|a9|\xe9|\xa9|"ab/;
for my $encoding (sort keys %wrong)
{
	my ($s, $text) = ($session{$encoding}, "E''$wrong{$encoding}''");
	my $say = sub { return $s->query("SELECT say('$_[0]')") };
	my %said = (
		value => [ $say->("envelope_encrypt($text, ''x'')"), qr/^22021\|the value cannot be sealed as text, because it cannot be written as UTF-8\|\|Seal its bytes with envelope_encrypt_bytea\.$/ ],
		'associated data' => [ $say->("envelope_encrypt(''v'', ''x'', $text)"), qr/^22021\|the associated data cannot be written as UTF-8\|\|\w/ ],
		'associated data to open' => [ $say->("envelope_decrypt(envelope_encrypt(''v'', ''x''), ''x'', $text)"), qr/^22021\|the associated data cannot be written as UTF-8\|\|\w/ ],
		'an element of envelope_bind' => [ $say->("envelope_bind(''row'', $text)"), qr/^22021\|the associated data cannot be written as UTF-8\|\|\w/ ],
		'key_id' => [ $say->("envelope_create_key($text, ''main'')::text"), qr/^22023\|key_id cannot be written as UTF-8\|\|\w/ ],
		'the name of a KEK' => [ $say->("envelope_create_kek($text)"), qr/^22023\|name of a KEK cannot be written as UTF-8\|\|\w/ ]);
	for my $what (sort keys %said)
	{
		my ($got, $wanted) = @{ $said{$what} };
		like($got, $wanted, "$encoding: $what that has no UTF-8");
		unlike($got, $hidden, '... of which nothing is shown');
	}
	like($say->("envelope_encrypt(''v'', $text)"), qr/^42704\|key "[^"]+" does not exist\|\|\w/, "$encoding: as the name of a key there is none");
	is($say->("envelope_encrypt_bytea(''\\x6162e9'', ''x'')"), 48, "$encoding: as bytes it is sealed");
}
is($session{EUC_JP}->query(q{SELECT envelope_decrypt_bytea(envelope_encrypt(E'\xa4\xa2', 'x', E'\xa4\xa2'), 'x', E'\xa4\xa2')}), '\xe38182', 'EUC_JP is sealed as UTF-8');
is($session{EUC_JP}->query(q{SELECT convert_to(envelope_bind(E'\xa4\xa2'), 'SQL_ASCII')}), '\x333aa4a22c', 'and bound by its length as UTF-8');

$_->close for $admin, values %session;
$node->stop;
unlike(PgEnvelope::Cluster::slurp_binary($node->logfile), qr/XX000|0xff|0xe9|0xa9|terminated by signal/, 'nothing of it is in the log');
done_testing();
