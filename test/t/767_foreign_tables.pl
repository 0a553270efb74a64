# postgres_fdw sends none of our functions to the other server that opens or seals, not even if
# the extension is listed there: values travel sealed, and who asks needs the keys himself.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

my $node = PgEnvelope::Cluster->new('main');
$node->safe_psql('postgres', 'CREATE DATABASE far');
$node->create_extension('far');
$node->safe_psql('far', q{SET client_min_messages = error;
	SELECT envelope_create_kek('main'); SELECT envelope_create_key('acme', 'main');
	CREATE TABLE t AS SELECT i, envelope_encrypt('value ' || i, 'acme') AS sealed FROM generate_series(1, 5) i});
my ($host, $port) = ($node->host, $node->port);
my $s = $node->session;
$s->query($_) for q{SET client_min_messages = error}, 'CREATE EXTENSION postgres_fdw',
  qq{CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'far', extensions 'pg_envelope')},
  'CREATE USER MAPPING FOR CURRENT_USER SERVER far', q{IMPORT FOREIGN SCHEMA public LIMIT TO (t) FROM SERVER far INTO public};

sub remote
{
	my ($sql) = @_;
	return join "\n", $s->query("EXPLAIN (VERBOSE, COSTS OFF) $sql") =~ /Remote SQL: (.*)/g;
}
like(remote('SELECT i FROM t WHERE envelope_is_encrypted(sealed)'), qr/envelope_is_encrypted/, 'control: what is immutable, and opens nothing, is sent');
for my $sql (q{SELECT envelope_decrypt(sealed, 'acme') FROM t}, q{SELECT i FROM t WHERE envelope_decrypt(sealed, 'acme') = 'value 3'}, q{SELECT i FROM t ORDER BY envelope_decrypt(sealed)},
	q{SELECT count(envelope_decrypt_bytea(sealed)) FROM t}, q{UPDATE t SET sealed = envelope_encrypt('x', 'acme')}, q{UPDATE t SET sealed = envelope_reencrypt(sealed, 'acme')},
	q{DELETE FROM t WHERE envelope_decrypt(sealed, 'acme') = 'value 1'})
{
	my $sent = remote($sql);
	ok($sent ne '' && $sent !~ /envelope_/, "nothing of it is sent: $sql") or diag($sent);
}
like(($s->try(q{SELECT envelope_decrypt(sealed, 'acme') FROM t}))[1], qr/ERROR:  KE003:/, 'who asks needs the keys');
my $document = $node->safe_psql('far', q{SELECT envelope_export_keyring('{acme}')});
$s->query("SELECT count(*) FROM envelope_import_keyring('$document')");
is($s->query(q{SELECT string_agg(i::text, ' ') FROM t WHERE envelope_decrypt(sealed, 'acme') IN ('value 2', 'value 4')}), '2 4', 'with them, he opens');
$s->query(q{UPDATE t SET sealed = envelope_encrypt('changed', 'acme') WHERE envelope_decrypt(sealed, 'acme') = 'value 5'});
is($node->safe_psql('far', q{SELECT envelope_decrypt(sealed, 'acme') FROM t WHERE i = 5}), 'changed', 'and what he seals opens there');
$s->close;
$node->stop;
done_testing();
