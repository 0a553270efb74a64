-- No value is opened where the server would keep what it sees: not in ANALYZE,
-- an index build or a materialized view; and what would do so is not created.
SET client_min_messages = error;
\set SHOW_CONTEXT never
SELECT envelope_create_kek('leak_guards') IS NOT NULL AS made;
SELECT envelope_create_key('lg', 'leak_guards');
CREATE TABLE lg (id int, sealed bytea);
INSERT INTO lg SELECT i, envelope_encrypt('canary ' || i % 7, 'lg') FROM generate_series(1, 100) i;

-- An index: whatever kind, on whatever path, under whatever name.
CREATE INDEX ON lg (envelope_decrypt(sealed, 'lg'));
\echo :LAST_ERROR_SQLSTATE
CREATE UNIQUE INDEX CONCURRENTLY ON lg ((upper(envelope_decrypt(sealed))));
CREATE INDEX ON lg (id) WHERE envelope_decrypt_bytea(sealed, 'lg', 'x') > '\x00';
ALTER TABLE lg ADD EXCLUDE USING btree ((envelope_decrypt(sealed, 'lg')) WITH =);
ALTER TABLE lg ADD EXCLUDE USING btree (id WITH =) WHERE (envelope_decrypt(sealed, 'lg') <> '');
CREATE TABLE lg_other (sealed bytea, EXCLUDE USING btree ((envelope_decrypt(sealed, 'lg')) WITH =));
-- functions that say they are immutable, in text, parsed, in C, and as an operator
CREATE FUNCTION lg_text(bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT public.Envelope_Decrypt($1, 'lg')$$;
CREATE FUNCTION lg_parsed(v bytea) RETURNS text LANGUAGE sql IMMUTABLE RETURN upper(envelope_decrypt(v, 'lg'));
CREATE FUNCTION lg_twice(v bytea) RETURNS text LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT lower(lg_parsed(v)); END;
CREATE FUNCTION lg_c(bytea, text) RETURNS text LANGUAGE c IMMUTABLE AS '$libdir/pg_envelope', 'envelope_decrypt_text';
CREATE OPERATOR ~~~~ (FUNCTION = lg_c, LEFTARG = bytea, RIGHTARG = text);
CREATE INDEX ON lg (lg_text(sealed));
CREATE INDEX ON lg (lg_parsed(sealed));
CREATE INDEX ON lg (lg_twice(sealed));
CREATE INDEX ON lg ((sealed ~~~~ 'lg'));
CREATE INDEX ON lg (id) WHERE sealed ~~~~ 'lg' <> '';
-- however deep
DO $$
BEGIN
	CREATE FUNCTION lg_deep0(v bytea) RETURNS text LANGUAGE sql IMMUTABLE RETURN envelope_decrypt(v, 'lg');
	FOR i IN 1..20 LOOP
		EXECUTE format('CREATE FUNCTION lg_deep%s(v bytea) RETURNS text LANGUAGE sql IMMUTABLE RETURN lower(lg_deep%s(v))', i, i - 1);
	END LOOP;
END $$;
CREATE TABLE lg_empty (sealed bytea, name text);
CREATE INDEX ON lg_empty (lg_deep20(sealed));
DROP FUNCTION lg_deep0 CASCADE;
-- and by way of an aggregate
CREATE FUNCTION lg_step(text, v bytea) RETURNS text LANGUAGE sql IMMUTABLE RETURN envelope_decrypt(v, 'lg');
CREATE AGGREGATE lg_aggregate(bytea) (SFUNC = lg_step, STYPE = text);
CREATE FUNCTION lg_by_aggregate(v bytea) RETURNS text LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT lg_aggregate(v); END;
CREATE INDEX ON lg_empty (lg_by_aggregate(sealed));
DROP FUNCTION lg_step CASCADE;
-- and a function is looked through once, however often it is called (this would take hours)
DO $$
BEGIN
	CREATE FUNCTION lg_wide0(v text) RETURNS text LANGUAGE sql STABLE RETURN lower(v);
	FOR i IN 1..8 LOOP
		EXECUTE format('CREATE FUNCTION lg_wide%s(v text) RETURNS text LANGUAGE sql STABLE RETURN %s', i,
			(SELECT string_agg(format('lg_wide%s(v)', i - 1), '||') FROM generate_series(1, 20)));
	END LOOP;
END $$;
CREATE STATISTICS lg_stat ON (lg_wide8(name)) FROM lg_empty;
DROP FUNCTION lg_wide0 CASCADE;
-- Another function of the same name, for other arguments, opens nothing.
CREATE FUNCTION lg_text(name text) RETURNS text LANGUAGE sql IMMUTABLE RETURN upper(name);
CREATE INDEX ON lg_empty (lg_text(name));
CREATE INDEX ON lg_empty (lg_text(sealed));
DROP FUNCTION lg_text(text) CASCADE;
DROP TABLE lg_empty;

-- Statistics, which the server does not even ask to be immutable.
CREATE STATISTICS lg_stat ON (envelope_decrypt(sealed, 'lg')) FROM lg;
\echo :LAST_ERROR_SQLSTATE
CREATE STATISTICS lg_stat ON id, (length(envelope_decrypt_bytea(sealed, 'lg'))) FROM lg;
CREATE STATISTICS lg_stat ON (lg_text(sealed)) FROM lg;
CREATE STATISTICS lg_stat ON (sealed ~~~~ 'lg') FROM lg;

-- What opens nothing is created as ever, and copied.
CREATE INDEX ON lg (envelope_is_encrypted(sealed)) WHERE length(sealed) > 3;
CREATE STATISTICS lg_fine ON (length(sealed)), (envelope_key_info(sealed) IS NULL) FROM lg;
CREATE TABLE lg_like (LIKE lg INCLUDING ALL);
ALTER TABLE lg ALTER id TYPE bigint;
ANALYZE lg;
DROP TABLE lg_like;

-- A call that no text shows is refused when it is made.
CREATE FUNCTION lg_hidden(v bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE opened text;
BEGIN
	EXECUTE format('SELECT public.envelope_%s($1, ''lg'')', 'decrypt') USING v INTO opened;
	RETURN opened;
END $$;
CREATE INDEX ON lg (lg_hidden(sealed));
\echo :LAST_ERROR_SQLSTATE
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET parallel_leader_participation = off;
ALTER TABLE lg SET (parallel_workers = 2);
CREATE INDEX ON lg (lg_hidden(sealed));
CREATE STATISTICS lg_stat ON (lg_hidden(sealed)) FROM lg;
ANALYZE lg;
VACUUM ANALYZE lg;
SET pg_envelope.allow_materialized_views = on;
ANALYZE lg;
CREATE INDEX ON lg (lg_hidden(sealed));
RESET pg_envelope.allow_materialized_views;
SELECT count(*) FROM pg_statistic_ext_data d JOIN pg_statistic_ext s ON s.oid = d.stxoid
WHERE s.stxname = 'lg_stat';
DROP STATISTICS lg_stat;
ANALYZE lg;

-- A materialized view, unless a superuser permits it.
CREATE MATERIALIZED VIEW lg_view AS SELECT id, envelope_decrypt(sealed, 'lg') AS opened FROM lg;
\echo :LAST_ERROR_SQLSTATE
CREATE MATERIALIZED VIEW lg_view AS
SELECT id, sealed, envelope_decrypt(sealed, 'lg') AS opened FROM lg WITH NO DATA;
REFRESH MATERIALIZED VIEW lg_view;
-- nor by EXPLAIN, which fills it and sets no restriction of its own
EXPLAIN ANALYZE
CREATE MATERIALIZED VIEW lg_explained AS SELECT envelope_decrypt(sealed, 'lg') AS opened FROM lg;
EXPLAIN ANALYZE
CREATE MATERIALIZED VIEW lg_explained AS SELECT lg_hidden(sealed) AS opened FROM lg;
SELECT to_regclass('lg_explained');
SET pg_envelope.allow_materialized_views = on;
DO $$BEGIN
	EXECUTE 'EXPLAIN ANALYZE CREATE MATERIALIZED VIEW lg_explained AS SELECT envelope_decrypt(sealed, ''lg'') AS opened FROM lg';
END$$;
SELECT count(*) FROM lg_explained WHERE opened LIKE 'canary%';
-- (a constant call is made by the planner, and to leave partitions out)
CREATE TABLE lg_part (name text) PARTITION BY LIST (name);
CREATE TABLE lg_part1 PARTITION OF lg_part FOR VALUES IN ('canary 1');
CREATE TABLE lg_part2 PARTITION OF lg_part FOR VALUES IN ('canary 2');
INSERT INTO lg_part VALUES ('canary 1'), ('canary 2');
ANALYZE lg_part;
SELECT envelope_encrypt('canary 1', 'lg') AS constant \gset
CREATE MATERIALIZED VIEW lg_planned AS
SELECT * FROM lg_part WHERE name = envelope_decrypt(:'constant'::bytea, 'lg');
REFRESH MATERIALIZED VIEW lg_planned;
SELECT name FROM lg_planned;
CREATE MATERIALIZED VIEW lg_planned1 AS
SELECT * FROM lg_part1 WHERE name = envelope_decrypt(:'constant'::bytea, 'lg');
DROP TABLE lg_part CASCADE;
-- (what an event trigger on the command runs is no view, and not restricted)
CREATE FUNCTION lg_after() RETURNS event_trigger LANGUAGE plpgsql AS
$$BEGIN CREATE TEMP TABLE lg_after AS SELECT envelope_decrypt(sealed, 'lg') AS opened FROM lg; END$$;
CREATE EVENT TRIGGER lg_after ON ddl_command_end WHEN TAG IN ('CREATE MATERIALIZED VIEW')
	EXECUTE FUNCTION lg_after();
CREATE MATERIALIZED VIEW lg_plain AS SELECT id FROM lg;
SELECT count(*) FROM lg_after WHERE opened LIKE 'canary%';
DROP EVENT TRIGGER lg_after;
DROP TABLE lg_after;
DROP MATERIALIZED VIEW lg_plain;
DROP FUNCTION lg_after;
-- (also where the plan wants parallel workers)
REFRESH MATERIALIZED VIEW lg_view;
SELECT opened, count(*) FROM lg_view GROUP BY 1 ORDER BY 1 LIMIT 2;
CREATE MATERIALIZED VIEW lg_view2 AS SELECT lg_hidden(sealed) AS opened FROM lg;
SELECT count(*) FROM lg_view2 WHERE opened LIKE 'canary%';
CREATE UNIQUE INDEX ON lg_view (id);
UPDATE lg SET sealed = envelope_encrypt('other', 'lg') WHERE id = 1;
REFRESH MATERIALIZED VIEW CONCURRENTLY lg_view;
SELECT opened FROM lg_view WHERE id = 1;
-- its query alone, not the rebuild of its indexes, nor an ANALYZE within
REFRESH MATERIALIZED VIEW lg_view WITH NO DATA;
CREATE INDEX lg_view_hidden ON lg_view (lg_hidden(sealed));
REFRESH MATERIALIZED VIEW lg_view;
DROP INDEX lg_view_hidden;
CREATE STATISTICS lg_stat ON (lg_hidden(sealed)) FROM lg;
CREATE FUNCTION lg_analyze() RETURNS text LANGUAGE plpgsql AS $$BEGIN ANALYZE public.lg; RETURN 'done'; END$$;
CREATE MATERIALIZED VIEW lg_view3 AS SELECT lg_analyze();
DROP STATISTICS lg_stat;
RESET pg_envelope.allow_materialized_views;
REFRESH MATERIALIZED VIEW lg_view;

-- What is no such operation opens as ever, and so does the move to a new version.
CREATE TABLE lg_copy AS SELECT envelope_decrypt(sealed, 'lg') AS opened FROM lg;
SELECT count(*) FROM lg_copy WHERE opened LIKE 'canary%';
DO $$BEGIN PERFORM envelope_decrypt(sealed, 'lg') FROM lg; END$$;
SELECT max(envelope_decrypt(sealed, 'lg')) FROM lg;
SELECT envelope_rotate_key('lg');
CREATE MATERIALIZED VIEW lg_moved AS SELECT envelope_reencrypt(sealed, 'lg') AS sealed FROM lg;
SELECT max(envelope_decrypt(sealed, 'lg')) FROM lg_moved;

DROP MATERIALIZED VIEW lg_view, lg_view2, lg_explained, lg_moved;
DROP TABLE lg, lg_copy;
DROP FUNCTION lg_text, lg_twice, lg_parsed, lg_hidden, lg_analyze;
DROP OPERATOR ~~~~ (bytea, text);
DROP FUNCTION lg_c;
