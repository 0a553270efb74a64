-- What pg_dump, replication and the rights of PUBLIC rely on stands in the catalogs.
-- pg_dump takes all rows of these tables
SELECT c.oid::regclass AS dumped, e.extcondition[o] AS condition
  FROM pg_extension e, unnest(e.extconfig) WITH ORDINALITY AS x(oid, o), pg_class c
  WHERE e.extname = 'pg_envelope' AND c.oid = x.oid ORDER BY o;
-- every table is ours, permanent, and guarded for everybody, replicas too
SELECT c.relname, c.relpersistence, d.deptype, t.tgname, t.tgenabled
  FROM pg_class c
  LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
	AND d.refclassid = 'pg_extension'::regclass
  LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
  WHERE c.relnamespace = 'envelope'::regnamespace AND c.relkind = 'r' ORDER BY 1, t.tgname;
-- a database owner's pg_dump can read them
SELECT r.rolname, has_schema_privilege(r.oid, 'envelope', 'USAGE') AS usage,
	   bool_and(has_table_privilege(r.oid, c.oid, 'SELECT')) AS select,
	   bool_or(has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')) AS write
  FROM pg_roles r, pg_class c
  WHERE c.relnamespace = 'envelope'::regnamespace AND c.relkind = 'r'
	AND r.rolname IN ('pg_database_owner', 'pg_read_all_data')
  GROUP BY r.oid, 1 ORDER BY 1;
SELECT has_schema_privilege('public', 'envelope', 'USAGE') AS public_sees;
-- the functions that PUBLIC may run, all of them
SELECT p.oid::regprocedure AS public_function, p.provolatile, p.proparallel
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
	AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_envelope'
  WHERE has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY p.oid::regprocedure::text COLLATE "C";
-- none runs as its owner or is leakproof; strict are only those that read a header
SELECT p.oid::regprocedure, p.prosecdef, p.proleakproof
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
	AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_envelope'
  WHERE p.prosecdef OR p.proleakproof OR p.proisstrict
  ORDER BY p.oid::regprocedure::text COLLATE "C";
-- everything has a comment
SELECT pg_describe_object(d.classid, d.objid, 0) AS without_comment
  FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_envelope'
  WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_namespace'::regclass)
	AND obj_description(d.objid, d.classid::regclass::text) IS NULL;
-- a schema that is there already is never taken over
SELECT current_database() AS tested \gset
CREATE DATABASE regress_pge_planted;
\c regress_pge_planted
CREATE SCHEMA envelope;
-- (18 says where in the script)
\set SHOW_CONTEXT never
CREATE EXTENSION pg_envelope;
\echo :LAST_ERROR_SQLSTATE
DROP SCHEMA envelope;
CREATE EXTENSION pg_envelope;
-- a new keyring is empty, so that a restore or a subscription can fill it
SELECT (SELECT count(*) FROM envelope.keyring) + (SELECT count(*) FROM envelope.kek)
	 + (SELECT count(*) FROM envelope.key) + (SELECT count(*) FROM envelope.key_grant) AS rows;
-- nothing can be made before there is a KEK
SELECT envelope_create_key('a', 'main');
\echo :LAST_ERROR_SQLSTATE
\c :tested
DROP DATABASE regress_pge_planted;
