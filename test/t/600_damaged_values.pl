# Whatever is done to the bytes of a value, it does not open, and nobody learns
# from the error what was wrong with them once its key is known.
#
# The damaged values take turns at the functions that open: envelope_decrypt and
# envelope_decrypt_bytea in all forms, envelope_reencrypt.  What must become of
# each is worked out here from its bytes (the "fate"); how many tags were checked,
# the server counts itself (test build: the row tag_checks of envelope_status).
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{PGE_DAMAGE_SEED} // 20260101;
diag("seed $seed (PGE_DAMAGE_SEED)");

my $node = PgEnvelope::Cluster->new('damage', test_build => 1);
my $admin = $node->session;
$admin->query($_) for split /;;/, <<'SQL';
SET client_min_messages = error;;
SELECT envelope_create_kek('main');;
CREATE ROLE app LOGIN IN ROLE pg_monitor;;

-- Two tenants of the caller for each algorithm, a tenant of somebody else.  The
-- values are under version 1 and version 2 is active, so that envelope_reencrypt
-- has to open them.
SELECT envelope_create_key(k, 'main', a) FROM (VALUES ('x1', 'XAES_256_GCM'), ('x2', 'XAES_256_GCM'),
	('g1', 'AES256_GCM'), ('g2', 'AES256_GCM'), ('foreign', 'XAES_256_GCM'), ('off', 'XAES_256_GCM'), ('gone', 'AES256_GCM')) v(k, a);;
SELECT envelope_grant(k, 'app', '{encrypt,decrypt}') FROM unnest('{x1,x2,g1,g2,off,gone}'::text[]) k;;
CREATE TABLE originals (o int GENERATED ALWAYS AS IDENTITY, key_id text, bound text, plain text, sealed bytea);;
INSERT INTO originals (key_id, bound, plain, sealed)
	SELECT key_id, bound, plain, CASE WHEN bound IS NULL THEN envelope_encrypt(plain, key_id) ELSE envelope_encrypt(plain, key_id, bound) END
	FROM unnest('{x1,x2,g1,g2}'::text[]) key_id, unnest(ARRAY[NULL, 'row 7']) bound,
		unnest('{0,11,100,1024,8192}'::int[]) size, repeat(key_id, size) r, left(r, size) plain
	WHERE key_id LIKE '%1' OR size IN (11, 100);;
CREATE TABLE others AS SELECT key_id, envelope_encrypt('theirs', key_id) AS sealed FROM unnest('{foreign,off,gone}'::text[]) key_id;;
SELECT envelope_rotate_key(k) FROM unnest('{x1,x2,g1,g2}'::text[]) k;;
SELECT envelope_disable_key('off');;
SELECT envelope_disable_key('gone');;
SELECT envelope_destroy_key('gone');;
CREATE TABLE deks AS SELECT dek_id, key_id, state = 'active' AS active,
	CASE algorithm WHEN 'XAES_256_GCM' THEN 45 ELSE 33 END AS shortest FROM envelope.dek;;
GRANT SELECT ON originals, others, deks TO app;;
GRANT CREATE ON SCHEMA public TO app;;
SQL

my $app = $node->session(user => 'app');
my $pid = $app->pid;
$app->query('SET jit = off');
$app->query($_) for split /;;/, <<'SQL';
-- What a function says: the opened text's digest, or all fields of its error.
CREATE FUNCTION attempt(door text, sealed bytea, k text, bound text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	bytes bytea; state text; message text; detail text; hint text;
	f1 text; f2 text; f3 text; f4 text; f5 text;
BEGIN
	bytes := CASE door
		WHEN 'decrypt 1' THEN convert_to(envelope_decrypt(sealed), 'UTF8')
		WHEN 'decrypt 2' THEN convert_to(envelope_decrypt(sealed, k), 'UTF8')
		WHEN 'decrypt 3' THEN convert_to(envelope_decrypt(sealed, k, bound), 'UTF8')
		WHEN 'decrypt_bytea 1' THEN envelope_decrypt_bytea(sealed)
		WHEN 'decrypt_bytea 2' THEN envelope_decrypt_bytea(sealed, k)
		WHEN 'decrypt_bytea 3' THEN envelope_decrypt_bytea(sealed, k, bound)
		WHEN 'reencrypt 2' THEN envelope_reencrypt(sealed, k)
		WHEN 'reencrypt 3' THEN envelope_reencrypt(sealed, k, bound) END;
	IF door LIKE 'reencrypt%' THEN
		IF bytes = sealed THEN
			RETURN 'unchanged';
		END IF;
		bytes := CASE WHEN bound IS NULL THEN envelope_decrypt_bytea(bytes, k) ELSE envelope_decrypt_bytea(bytes, k, bound) END;
	END IF;
	RETURN 'opened ' || md5(bytes);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
		f1 = COLUMN_NAME, f2 = CONSTRAINT_NAME, f3 = PG_DATATYPE_NAME, f4 = TABLE_NAME, f5 = SCHEMA_NAME;
	RETURN concat_ws('|', state, message, detail, hint, f1, f2, f3, f4, f5);
END $$;;

CREATE FUNCTION header_id(sealed bytea) RETURNS bigint LANGUAGE sql IMMUTABLE AS
	$$ SELECT ('x' || encode(substr(sealed, 2, 4), 'hex'))::bit(32)::bigint $$;;

-- Deterministic bytes and numbers.
CREATE FUNCTION noise(what text, len int) RETURNS bytea LANGUAGE sql IMMUTABLE AS
	$$ SELECT substr(string_agg(sha256(convert_to(what || '/' || i, 'UTF8')), ''), 1, len) FROM generate_series(0, len / 32) i $$;;
CREATE FUNCTION pick(what text, below int) RETURNS int LANGUAGE sql IMMUTABLE AS
	$$ SELECT (('x' || left(md5(what), 8))::bit(32)::bigint % below)::int $$;;

CREATE TABLE results (class text, door text, fate text, outcome text, n bigint);;

-- The values of one class, each at one function; the intact ones at all.  With a
-- NULL "bound" the forms without associated data are meant.
CREATE FUNCTION run_class(class text, query text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($q$
		WITH damaged AS NOT MATERIALIZED (
			SELECT d.*, row_number() OVER () AS turn FROM (%s) d JOIN originals USING (o)
			WHERE d.intact OR d.sealed <> originals.sealed),
		judged AS (
			SELECT door, d.key_id, d.bound, d.sealed, d.intact, CASE
				WHEN length(d.sealed) < 33 OR get_byte(d.sealed, 0) <> 1 OR header_id(d.sealed) = 0 THEN 'malformed'
				WHEN k.dek_id IS NULL THEN 'unknown'
				WHEN door NOT LIKE '%% 1' AND k.key_id <> d.key_id THEN 'another key'
				WHEN door LIKE 'reencrypt%%' AND k.active THEN 'already there'
				WHEN length(d.sealed) < k.shortest THEN 'too short'
				WHEN d.intact THEN 'intact'
				ELSE 'tag' END AS fate,
				CASE WHEN d.intact THEN md5(o.plain) END AS right_one
			FROM damaged d JOIN originals o USING (o)
			CROSS JOIN LATERAL (SELECT CASE WHEN d.bound IS NULL
				THEN ARRAY['decrypt 1', 'decrypt 2', 'decrypt_bytea 1', 'decrypt_bytea 2', 'reencrypt 2']
				ELSE ARRAY['decrypt 3', 'decrypt_bytea 3', 'reencrypt 3'] END) a(doors)
			JOIN LATERAL unnest(doors) WITH ORDINALITY u(door, place) ON d.intact OR place = 1 + turn %% cardinality(doors)
			LEFT JOIN deks k ON length(d.sealed) >= 5 AND k.dek_id = header_id(d.sealed)),
		tried AS (
			SELECT door, fate, right_one, attempt(door, sealed, key_id, bound) AS outcome FROM judged OFFSET 0)
		INSERT INTO results SELECT %L, door, fate,
			CASE WHEN outcome = 'opened ' || right_one THEN 'right' ELSE outcome END, count(*) FROM tried GROUP BY 1, 2, 3, 4 $q$, query, class);
END $$;;
SQL

# Damage that keeps key_id and bound of the original, by what becomes of the bytes.
sub of_originals
{
	my ($bytes, $from) = @_;
	return "SELECT o, key_id, bound, $bytes AS sealed, false AS intact FROM originals, $from";
}
my @classes = (
	[ 'bits of the first 64 bytes', of_originals('set_bit(sealed, i, 1 - get_bit(sealed, i))', 'generate_series(0, least(length(sealed), 64) * 8 - 1) i') ],
	[ 'bits of the last 32 bytes', of_originals('set_bit(sealed, i, 1 - get_bit(sealed, i))', 'generate_series(greatest(length(sealed) - 32, 64) * 8, length(sealed) * 8 - 1) i') ],
	[ 'every truncation', of_originals('substr(sealed, 1, i)', 'generate_series(0, length(sealed) - 1) i') ],
	[ 'cut at the front', of_originals('substr(sealed, 1 + i)', 'generate_series(1, 40) i') ],
	[ 'bytes missing after the header', of_originals('substr(sealed, 1, 5) || substr(sealed, 6 + i)', 'generate_series(1, least(length(sealed) - 5, 100)) i') ],
	[ 'extensions', of_originals(qq{sealed || CASE WHEN zeros THEN decode(repeat('00', i), 'hex') ELSE noise('$seed ext' || o || i, i) END}, 'generate_series(1, 64) i, unnest(ARRAY[true, false]) zeros') ],
	[ 'twice the same', of_originals('sealed || sealed', 'generate_series(1, 1) i') ],
	[ 'inserted after the header', of_originals(qq{substr(sealed, 1, 5) || noise('$seed ins' || o || i, i) || substr(sealed, 6)}, 'generate_series(1, 40) i') ],
	[ 'another byte anywhere', of_originals('set_byte(sealed, p, (get_byte(sealed, p) + 1 + v) % 256)',
		qq{generate_series(1, 900) i, LATERAL (SELECT 5 + pick('$seed at' || o || '/' || i, length(sealed) - 5), pick('$seed by' || o || '/' || i, 255)) r(p, v)}) ],
	[ 'noise after the header', of_originals(qq{substr(sealed, 1, 5) || noise('$seed body' || o || '/' || i, 28 + pick('$seed len' || o || '/' || i, 120))}, 'generate_series(1, 400) i') ],
	[ 'all zeros, all ones', of_originals(q{substr(sealed, 1, 5) || decode(repeat(b, i), 'hex')}, q{generate_series(0, 60) i, unnest(ARRAY['00', 'ff']) b}) ],
	# between two values: of the same tenant and of another, of the same algorithm and of the other
	map({ [ "$_->[0] of another value", qq{
		SELECT a.o, a.key_id, a.bound, $_->[1] AS sealed, false AS intact FROM originals a JOIN originals b ON } . ($_->[2] // 'a.o <> b.o') ] }
		[ 'tag', 'overlay(a.sealed PLACING substr(b.sealed, length(b.sealed) - 15) FROM length(a.sealed) - 15)' ],
		[ 'salt', 'overlay(a.sealed PLACING substr(b.sealed, 6, 12) FROM 6)' ],
		[ 'IV', 'overlay(a.sealed PLACING substr(b.sealed, 18, 12) FROM 18)' ],
		[ 'salt and IV', 'overlay(a.sealed PLACING substr(b.sealed, 6, 24) FROM 6)' ],
		[ 'id', 'overlay(a.sealed PLACING substr(b.sealed, 2, 4) FROM 2)' ],
		[ 'everything', 'b.sealed', 'a.bound IS DISTINCT FROM b.bound' ]),
	[ 'id of another version', q{SELECT o, key_id, bound, overlay(sealed PLACING decode(lpad(to_hex(dek_id), 8, '0'), 'hex') FROM 2) AS sealed, false AS intact
		FROM originals JOIN deks USING (key_id) WHERE active} ],
);

# Intact values are among the damaged ones of every class.
my $intact = q{SELECT o, key_id, bound, sealed, true AS intact FROM originals};
my $begun = time;
my $checked = 0;
for my $class (@classes)
{
	my ($name, $query) = @$class;
	my $before = tag_checks();
	$app->query("SELECT run_class(\$n\$$name\$n\$, \$q\$$query UNION ALL $intact\$q\$)");
	my $now = tag_checks() - $before;
	$checked += $now;
	# what was reencrypted is opened once more by the test itself
	my $expected = $app->query(qq{SELECT coalesce(sum(CASE WHEN fate = 'intact' AND door LIKE 'reencrypt%' THEN 2 * n ELSE n END), 0)
		FROM results WHERE class = '$name' AND fate IN ('tag', 'intact')});
	is($now, $expected, "$name: the server checked as many tags as it had to");
}
my $seconds = time - $begun;

sub tag_checks { return $app->query(q{SELECT value FROM envelope_status() WHERE name = 'tag_checks'}); }
sub outcomes
{
	my ($where) = @_;
	return $app->query("SELECT DISTINCT outcome FROM results WHERE $where ORDER BY 1");
}

my ($cases, $past_header) = split /\|/, $app->query(q{SELECT sum(n), sum(n) FILTER (WHERE fate NOT IN ('malformed', 'unknown')) FROM results WHERE fate <> 'intact'});
my $controls = $app->query(q{SELECT sum(n) FROM results WHERE fate = 'intact'});
my $reached = $app->query(q{SELECT sum(n) FROM results WHERE fate = 'tag'});
diag(sprintf '%d damaged values in %.1f s; %.1f %% kept the header of a live key; %d tags were checked: of %d damaged values and %d times of intact ones',
	$cases, $seconds, 100 * $past_header / $cases, $checked, $reached, $checked - $reached);
diag($app->query(q{SELECT string_agg(format('%s: %s', fate, n), ', ' ORDER BY n DESC) FROM (SELECT fate, sum(n) AS n FROM results GROUP BY 1) s}));

cmp_ok($cases, '>=', 100_000, 'at least 100,000 damaged values');
cmp_ok($past_header / $cases, '>=', 0.9, 'nine of ten keep the header of a live key');
cmp_ok($controls, '>=', 1000, 'intact values were among them');
is(outcomes(q{fate = 'intact'}), 'right', 'and each opened to what it was');
is($app->query(q{SELECT coalesce(sum(n), 0) FROM results WHERE fate <> 'intact' AND (outcome LIKE 'opened%' OR outcome = 'right')}), '0', 'nothing else opened');
is($app->query('SELECT pg_backend_pid()'), $pid, 'in one session, which is still there');

my $one = join '|', 'KE001', 'could not open the value', '', 'Check that key_id and associated_data are the ones that the value was sealed with.', ('') x 5;
is(outcomes(q{fate IN ('tag', 'too short', 'another key')}), $one, 'one error for all, once the key is known');
is($app->query(q{SELECT count(DISTINCT fate) FROM results WHERE fate IN ('tag', 'too short', 'another key')}), '3', 'with all three ways to come there');
like(outcomes(q{fate = 'malformed'}), qr/\AKE002\|the value is not a sealed value\|\|[^\n]+\z/, 'one for what is no sealed value');
is($app->query(q{SELECT DISTINCT regexp_replace(outcome, '\d+ of the value', 'N of the value') FROM results WHERE fate = 'unknown'})
	=~ s/\|\|.*//r, 'KE003|data key N of the value is not known', 'one for a data key that nobody made');
is(outcomes(q{fate = 'already there'}), 'unchanged', 'envelope_reencrypt gives back what names the active version, and opens nothing');

#
# Whole values under keys and associated data that are not theirs, and of keys
# that are not live or not the caller's.
#
my $attempt = sub { $app->query("SELECT attempt('$_[0]', sealed, '$_[2]', " . ($_[3] // 'NULL') . ") FROM $_[1]") };
my $x1 = q{originals WHERE key_id = 'x1' AND bound IS NULL AND length(plain) = 11};
my $x1_bound = q{originals WHERE key_id = 'x1' AND bound IS NOT NULL AND length(plain) = 11};
for my $how ('decrypt', 'decrypt_bytea', 'reencrypt')
{
	like($attempt->("$how 2", $x1, 'x1'), qr/^opened/, "$how: the control opens");
	is($attempt->("$how 2", $x1, 'x2'), $one, "$how: another key of the caller");
	is($attempt->("$how 2", $x1_bound, 'x1'), $one, "$how: without its associated data");
	is($attempt->("$how 3", $x1_bound, 'x1', "'row 8'"), $one, "$how: with that of another row");
	is($attempt->("$how 3", $x1, 'x1', "'row 7'"), $one, "$how: with some where it had none");
	is($attempt->("$how 2", "others WHERE key_id = '$_'", 'x1'), $one, "$how: a value of key \"$_\" under a key of the caller") for qw(foreign off gone);
	like($attempt->("$how 2", q{others WHERE key_id = 'foreign'}, 'foreign'), qr/^42501\|permission denied for key "foreign"\|/, "$how: the key of somebody else");
	like($attempt->("$how 2", q{others WHERE key_id = 'off'}, 'off'), qr/^KE004\|key "off" is disabled\|/, "$how: a disabled key");
	like($attempt->("$how 2", q{others WHERE key_id = 'gone'}, 'gone'), qr/^KE005\|key "gone" is destroyed\|/, "$how: a destroyed key");
	next if $how eq 'reencrypt';
	like($attempt->("$how 1", q{others WHERE key_id = 'foreign'}, ''), qr/^42501\|permission denied for the key of this value\|/, "$how: without a name, of somebody else's key");
	like($attempt->("$how 1", q{others WHERE key_id = 'off'}, ''), qr/^KE004\|/, "$how: of a disabled key");
	like($attempt->("$how 1", q{others WHERE key_id = 'gone'}, ''), qr/^KE005\|/, "$how: of a destroyed key");
}

#
# Who reads only the header never fails on what has one, and says the same of
# each value: stored inline, compressed, or out of line.
#
$app->query($_) for 'CREATE TABLE stored (how text, sealed bytea)',
	'ALTER TABLE stored ALTER sealed SET STORAGE EXTENDED',
	qq{INSERT INTO stored SELECT 'cut', substr(sealed, 1, i) FROM originals, generate_series(0, 120) i WHERE length(plain) IN (100, 8192)},
	qq{INSERT INTO stored SELECT 'bit', set_bit(sealed, i, 1 - get_bit(sealed, i)) FROM originals, generate_series(0, 63) i},
	qq{INSERT INTO stored SELECT 'compressed', substr(sealed, 1, 5) || decode(repeat('00', 3000 * i), 'hex') FROM originals, generate_series(1, 3) i};
my $has_header = q{(length(sealed) >= 33 AND get_byte(sealed, 0) = 1 AND header_id(sealed) <> 0)};
is($app->query("SELECT count(*) FILTER (WHERE $has_header) > 1000 AND count(*) FILTER (WHERE NOT $has_header) > 500 FROM stored"), 't', 'values with and without a header');
is($app->query("SELECT count(*) FROM stored WHERE envelope_is_encrypted(sealed) <> $has_header"), '0', 'envelope_is_encrypted knows them apart');
is($app->query("SELECT count(*) FROM stored, envelope_key_info(sealed) i WHERE $has_header AND i.dek_id = header_id(sealed)"),
	$app->query("SELECT count(*) FROM stored WHERE $has_header"), 'envelope_key_info tells the id of each that has one');
$app->query(q{CREATE FUNCTION info(sealed bytea) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE m text; h text;
	BEGIN
		RETURN 'told ' || (envelope_key_info(sealed)).dek_id;
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, h = PG_EXCEPTION_HINT;
		RETURN concat_ws('|', SQLSTATE, m, '', h, '', '', '', '', '');
	END $$});
is($app->query("SELECT DISTINCT info(sealed) FROM stored WHERE NOT $has_header"), outcomes(q{fate = 'malformed'}), 'and of the others says what envelope_decrypt says');
is($app->query(q{SELECT DISTINCT outcome FROM stored, attempt('decrypt_bytea 1', sealed, NULL, NULL) outcome WHERE how = 'compressed'}), $one, 'compressed bytes are read as others are');

$app->close;
$admin->close;
$node->stop;
unlike(PgEnvelope::Cluster::slurp_binary($node->logfile), qr/terminated by signal|terminated by exception|PANIC|TRAP:/, 'nothing crashed');
done_testing();
