# Who may seal and who may open: the current user of the moment, by the rights on
# the key; and where sealed bytes may be carried to.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;

my $node = PgEnvelope::Cluster->new('rights');
my $admin = $node->session;
$admin->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('main')},
  q{SELECT envelope_create_key('acme', 'main'), envelope_create_key('other', 'main')},
  q{CREATE TABLE t AS SELECT envelope_encrypt('value', 'acme') AS sealed}, q{GRANT SELECT ON t TO PUBLIC},
  q{GRANT CREATE ON SCHEMA public TO PUBLIC};
for my $right ('encrypt', 'decrypt', 'manage')
{
	$admin->query("CREATE ROLE may_$right");
	$admin->query("SELECT envelope_grant('acme', 'may_$right', ARRAY['$right'])");
}
$admin->query($_) for q{CREATE ROLE nobody}, q{CREATE ROLE app LOGIN},
  q{GRANT EXECUTE ON FUNCTION envelope_rotate_key TO PUBLIC};

# From 16 on each membership has what the member inherits, as it was then.
sub inherits
{
	my ($attribute) = @_;
	$admin->query($_) for "ALTER ROLE app $attribute", q{REVOKE nobody, may_encrypt, may_decrypt, may_manage FROM app},
	  q{GRANT nobody, may_encrypt, may_decrypt, may_manage TO app};
	return;
}
inherits('NOINHERIT');

my %does = (
	seal => q{SELECT length(envelope_encrypt('x', 'acme')) > 0},
	open => q{SELECT envelope_decrypt(sealed, 'acme') = 'value' FROM t},
	'open by header' => q{SELECT envelope_decrypt(sealed) = 'value' FROM t},
	'open bytes' => q{SELECT envelope_decrypt_bytea(sealed, 'acme') = 'value' FROM t},
	'seal bytes' => q{SELECT length(envelope_encrypt_bytea('x', 'acme')) > 0},
	'reencrypt' => q{SELECT length(envelope_reencrypt(sealed, 'acme')) > 0 FROM t},
	rotate => q{SELECT envelope_rotate_key('acme') > 0});
my $s = $node->session(user => 'app');

sub outcome
{
	my ($sql) = @_;
	my ($out, $err) = $s->try($sql);
	return $err =~ /ERROR:  (\w{5}):/ ? $1 : $out;
}

sub may
{
	my ($who, %allowed) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(outcome($does{$_}), $allowed{$_} ? 't' : '42501', "$who: $_ " . ($allowed{$_} ? 'works' : 'is refused'))
	  for sort keys %does;
	return;
}

my @roles = (
	[ 'nobody' ],
	[ 'may_encrypt', 'seal', 'seal bytes' ],
	[ 'may_decrypt', 'open', 'open by header', 'open bytes' ],
	[ 'may_manage', 'rotate' ]);
for (@roles)
{
	my ($role, @allowed) = @$_;
	$s->query("SET ROLE $role");
	may($role, map { $_ => 1 } @allowed);
}
$s->query('RESET ROLE');
may('a member that does not inherit');
inherits('INHERIT');
may('a member that inherits', map { $_ => 1 } keys %does);
inherits('NOINHERIT');
is(outcome(q{SELECT envelope_encrypt('x', 'other')}), '42501', 'none of it is a right to another key');

#
# SET ROLE in a transaction, and within one statement: each value is decided for
# the user of its moment, whatever the session has opened before.
#
$s->query('SET ROLE may_decrypt');
$s->query('BEGIN');
is(outcome($does{open}), 't', 'a role with the right opens in a transaction');
$s->query('SET LOCAL ROLE nobody');
$s->query('SAVEPOINT a');
is(outcome($does{open}), '42501', 'after SET ROLE to one without it does not');
$s->query('ROLLBACK TO a');
$s->query('SET LOCAL ROLE may_encrypt');
is(outcome($does{seal}), 't', 'after SET ROLE to another one it seals');
$s->query('SET LOCAL ROLE may_decrypt');
is(outcome($does{open}), 't', 'and back: it opens');
$s->query('COMMIT');
$s->query('BEGIN');
$s->query('SET LOCAL ROLE nobody');
$s->query('COMMIT');
is(outcome($does{open}), 't', 'SET LOCAL ends with its transaction');
is(outcome(q{SELECT envelope_decrypt(sealed, 'acme') || set_config('role', 'nobody', false) || envelope_decrypt(sealed, 'acme') FROM t}),
	'42501', 'the role changes between two values of one row');
$s->query('RESET ROLE');

#
# SECURITY DEFINER lends its owner's rights, for its time.
#
$s->query('SET ROLE may_decrypt');
$s->query(q{CREATE FUNCTION lend_open() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT envelope_decrypt(sealed, 'acme') FROM t $$});
$s->query(q{CREATE FUNCTION plain_open() RETURNS text LANGUAGE sql AS $$ SELECT envelope_decrypt(sealed, 'acme') FROM t $$});
$s->query('SET ROLE nobody');
$s->query(q{CREATE FUNCTION keep_from_opening() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT envelope_decrypt(sealed, 'acme') FROM t $$});
is(outcome('SELECT lend_open()'), 'value', 'SECURITY DEFINER of a role with the right opens for one without');
is(outcome($does{open}), '42501', 'which has not gained it');
is(outcome(q{SELECT lend_open() || envelope_decrypt(sealed, 'acme') FROM t}), '42501', 'not in the same statement either');
is(outcome('SELECT plain_open()'), '42501', 'a function without SECURITY DEFINER lends nothing');
$s->query('SET ROLE may_decrypt');
is(outcome('SELECT keep_from_opening()'), '42501', 'and SECURITY DEFINER of a role without it opens for nobody');
$s->query('RESET ROLE');

#
# A role that is dropped and made again under its name.
#
$admin->query($_) for q{CREATE ROLE leaver LOGIN}, q{SELECT envelope_grant('acme', 'leaver', ARRAY['encrypt', 'decrypt'])};
my $leaver = $node->session(user => 'leaver');
is($leaver->query($does{open}), 't', 'a role opens');
$admin->query($_) for q{DROP ROLE leaver}, q{CREATE ROLE leaver LOGIN};
my (undef, $err) = $leaver->try($does{open});
like($err, qr/ERROR:  42501:/, 'dropped, its session does not open any more');
$leaver->close;
$leaver = $node->session(user => 'leaver');
(undef, $err) = $leaver->try($does{$_}), like($err, qr/ERROR:  42501:/, "made again it may not $_") for 'open', 'seal';
is($admin->query(q{SELECT count(*) FROM envelope.key_grant WHERE role_name = 'leaver'}), '1', 'though the row of its name is still there');
$leaver->close;

#
# pg_write_all_data writes all tables, but not these.
#
$admin->query($_) for q{CREATE ROLE writer LOGIN IN ROLE pg_write_all_data, pg_read_all_data};
my $writer = $node->session(user => 'writer');
my $oid = $admin->query(q{SELECT 'writer'::regrole::oid});
for my $sql (qq{INSERT INTO envelope.key_grant VALUES ('acme', 'writer', $oid, ARRAY['decrypt'])},
	qq{UPDATE envelope.key_grant SET role_name = 'writer', role_oid = $oid},
	q{MERGE INTO envelope.key_grant g USING t ON g.role_name = 'may_encrypt' WHEN MATCHED THEN UPDATE SET rights = ARRAY['decrypt']},
	qq{INSERT INTO envelope.key_grant VALUES ('acme', 'may_encrypt', 0, ARRAY['decrypt']) ON CONFLICT (key_id, role_name) DO UPDATE SET rights = ARRAY['decrypt']})
{
	(undef, $err) = $writer->try($sql);
	like($err, qr/ERROR:  42501:/, 'refused by hand: ' . ($sql =~ /^(\w+)/)[0]);
	(undef, $err) = $writer->try($does{open});
	like($err, qr/ERROR:  42501:/, 'and it still does not open');
}
$writer->close;

#
# Values carried to other rows.
#
$admin->query($_) for q{CREATE TABLE people (id int, tenant text, ssn bytea)},
  q{INSERT INTO people SELECT id, tenant, envelope_encrypt('ssn ' || id, tenant) FROM (VALUES (1, 'acme'), (2, 'acme'), (3, 'other')) v(id, tenant)},
  q{CREATE TABLE bound AS SELECT id, tenant, envelope_encrypt('ssn ' || id, tenant, envelope_bind('bound', id::text)) AS ssn FROM people};
$s->close;
$s = $admin;
my $people = q{SELECT string_agg(envelope_decrypt(ssn, tenant), ',' ORDER BY id) FROM people};
my $bound = q{SELECT string_agg(envelope_decrypt(ssn, tenant, envelope_bind('bound', id::text)), ',' ORDER BY id) FROM bound};
my $swap = 'UPDATE %s a SET ssn = b.ssn FROM %s b WHERE a.id IN (%s) AND b.id IN (%s) AND a.id <> b.id';
is(outcome($people), 'ssn 1,ssn 2,ssn 3', 'each row opens');
is(outcome($bound), 'ssn 1,ssn 2,ssn 3', 'each bound row too');
$admin->query('BEGIN');
$admin->query(sprintf $swap, 'people', 'people', '1, 2', '1, 2');
is(outcome($people), 'ssn 2,ssn 1,ssn 3', 'two rows of one tenant, swapped, open (the README says so)');
$admin->query('ROLLBACK');
$admin->query(sprintf $swap, 'people', 'people', '1, 3', '1, 3');
is(outcome($people), 'KE001', 'two rows of different tenants, swapped, do not');
is(outcome("SELECT envelope_decrypt(ssn, tenant) FROM people WHERE id = $_"), 'KE001', "row $_ does not") for 1, 3;
is(outcome('SELECT envelope_decrypt(ssn, tenant) FROM people WHERE id = 2'), 'ssn 2', 'the one between does');
$admin->query(sprintf $swap, 'bound', 'bound', '1, 2', '1, 2');
is(outcome("SELECT envelope_decrypt(ssn, tenant, envelope_bind('bound', id::text)) FROM bound WHERE id = $_"), 'KE001', "bound row $_, swapped within its tenant, does not") for 1, 2;
is(outcome('SELECT envelope_decrypt(ssn, tenant) FROM bound WHERE id = 1'), 'KE001', 'nor without its binding');
is(outcome(q{SELECT envelope_decrypt(ssn, tenant, envelope_bind('people', id::text)) FROM bound WHERE id = 3}), 'KE001', 'nor in a table of another name');
is(outcome(q{SELECT envelope_decrypt(ssn, tenant, envelope_bind('bound', id::text)) FROM bound WHERE id = 3}), 'ssn 3', 'the one left in its place does');

$admin->close;
$node->stop;
done_testing();
