-- Rights on a key: none by default, by role and its members, for a role of
-- that name and oid only.
SET client_min_messages = error;
SELECT envelope_create_kek('rights_kek') IS NOT NULL AS made;
RESET client_min_messages;
\set VERBOSITY terse
CREATE ROLE regress_pge_manager;
CREATE ROLE regress_pge_member IN ROLE regress_pge_manager;
CREATE ROLE regress_pge_noinherit NOINHERIT IN ROLE regress_pge_manager;
CREATE ROLE regress_pge_outsider;
SELECT envelope_create_key('rights', 'rights_kek');
SELECT envelope_create_key('rights_2', 'rights_kek');
-- administration is closed to PUBLIC
SET ROLE regress_pge_outsider;
SELECT envelope_rotate_key('rights');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_kek('rights_mine');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT EXECUTE ON FUNCTION envelope_rotate_key, envelope_disable_key, envelope_enable_key,
	envelope_destroy_key, envelope_mark_compromised, envelope_grant, envelope_create_key,
	envelope_revoke(text, name), envelope_revoke(text, name, text[])
	TO regress_pge_manager, regress_pge_member, regress_pge_noinherit, regress_pge_outsider;
-- EXECUTE alone is not enough, and neither are the other rights
SELECT envelope_grant('rights', 'regress_pge_outsider', '{encrypt,decrypt}');
SET ROLE regress_pge_outsider;
SELECT envelope_rotate_key('rights');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_disable_key('rights');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_enable_key('rights');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_destroy_key('rights');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_mark_compromised('rights', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_grant('rights', 'regress_pge_outsider', '{manage}');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_revoke('rights', 'regress_pge_outsider');
\echo :LAST_ERROR_SQLSTATE
-- who creates a key may do all with it, and only with it
SELECT envelope_create_key('rights_own', 'rights_kek');
SELECT envelope_rotate_key('rights_own');
SELECT envelope_create_key('rights', 'rights_kek');
RESET ROLE;
-- granted: to the role and to who inherits from it
SELECT envelope_grant('rights', 'regress_pge_manager', '{manage}');
SET ROLE regress_pge_manager;
SELECT envelope_rotate_key('rights');
SET ROLE regress_pge_member;
SELECT envelope_rotate_key('rights');
SELECT envelope_rotate_key('rights_2');
SET ROLE regress_pge_noinherit;
SELECT envelope_rotate_key('rights');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
-- the current user counts: a SECURITY DEFINER wrapper lends its owner's rights
CREATE FUNCTION rights_wrapper() RETURNS integer LANGUAGE sql SECURITY DEFINER
	AS $$ SELECT envelope_rotate_key('rights') $$;
ALTER FUNCTION rights_wrapper() OWNER TO regress_pge_manager;
SET ROLE regress_pge_outsider;
SELECT rights_wrapper();
RESET ROLE;
-- grants add up, revokes take away
SELECT envelope_grant('rights', 'regress_pge_manager', '{decrypt,encrypt,decrypt}');
SELECT rights FROM envelope.key_grant WHERE role_name = 'regress_pge_manager';
SELECT envelope_revoke('rights', 'regress_pge_manager', '{encrypt,manage}');
SELECT rights FROM envelope.key_grant WHERE role_name = 'regress_pge_manager';
SET ROLE regress_pge_member;
SELECT envelope_rotate_key('rights');
RESET ROLE;
SELECT envelope_revoke('rights', 'regress_pge_manager', '{decrypt}');
SELECT count(*) FROM envelope.key_grant WHERE role_name = 'regress_pge_manager';
-- all keys: for superusers to give
SET ROLE regress_pge_outsider;
SELECT envelope_grant('*', 'regress_pge_outsider', '{manage}');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_revoke('*', 'regress_pge_outsider');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT envelope_grant('*', 'regress_pge_manager', '{manage}');
SET ROLE regress_pge_member;
SELECT envelope_rotate_key('rights');
SELECT envelope_rotate_key('rights_2');
RESET ROLE;
SELECT envelope_revoke('*', 'regress_pge_manager');
SET ROLE regress_pge_member;
SELECT envelope_rotate_key('rights_2');
RESET ROLE;
-- a role that is dropped and made again inherits nothing
SELECT envelope_grant('rights', 'regress_pge_manager', '{manage,decrypt}');
DROP FUNCTION rights_wrapper();
DROP OWNED BY regress_pge_manager;
DROP ROLE regress_pge_manager;
CREATE ROLE regress_pge_manager;
GRANT EXECUTE ON FUNCTION envelope_rotate_key TO regress_pge_manager;
SET ROLE regress_pge_manager;
SELECT envelope_rotate_key('rights');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
-- and a new grant to it does not bring back the old ones
SELECT envelope_grant('rights', 'regress_pge_manager', '{encrypt}');
SELECT g.rights, g.role_oid = r.oid AS this_role
  FROM envelope.key_grant g JOIN pg_roles r ON r.rolname = g.role_name
  WHERE g.role_name = 'regress_pge_manager';
-- a renamed role has no rights under its new name
SELECT envelope_grant('rights', 'regress_pge_member', '{manage}');
ALTER ROLE regress_pge_member RENAME TO regress_pge_renamed;
SET ROLE regress_pge_renamed;
SELECT envelope_rotate_key('rights');
RESET ROLE;
-- arguments
SELECT envelope_grant('rights', 'regress_pge_nobody', '{manage}');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_grant('no such key', 'regress_pge_manager', '{manage}');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_grant('rights', 'regress_pge_manager', '{search}');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_grant('rights', 'regress_pge_manager', '{}');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_grant('rights', 'regress_pge_manager', '{manage,NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_grant('rights', 'regress_pge_manager', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_grant('rights', NULL, '{manage}');
\echo :LAST_ERROR_SQLSTATE
-- the grant of a role that is gone can still be taken away
DROP OWNED BY regress_pge_renamed;
DROP ROLE regress_pge_renamed;
SELECT envelope_revoke('rights', 'regress_pge_member');
SELECT count(*) FROM envelope.key_grant WHERE role_name = 'regress_pge_member';
DROP OWNED BY regress_pge_manager, regress_pge_noinherit, regress_pge_outsider;
DROP ROLE regress_pge_manager, regress_pge_noinherit, regress_pge_outsider;
