-- What a transaction changes itself counts for it from the next command on, each
-- time anew, and no more once it is undone.
SET client_min_messages = error;
SELECT envelope_create_kek('own') IS NOT NULL AS made;
SELECT envelope_create_key('own', 'own');
CREATE ROLE regress_pge_own;
CREATE FUNCTION own_version() RETURNS integer LANGUAGE sql VOLATILE
	RETURN (envelope_key_info(envelope_encrypt('v', 'own'))).version;

-- by our functions, in one command and in several
BEGIN;
SELECT own_version();
SELECT envelope_rotate_key('own'), own_version(), envelope_rotate_key('own'), own_version();
SELECT own_version();
SAVEPOINT a;
SELECT envelope_rotate_key('own');
SELECT own_version();
ROLLBACK TO a;
SELECT own_version();
SELECT envelope_rotate_key('own');
SELECT own_version();
RELEASE a;
SELECT envelope_rotate_key('own');
SELECT own_version();
ROLLBACK;
SELECT own_version();

-- rights too
BEGIN;
SELECT envelope_grant('own', 'regress_pge_own', '{encrypt}');
SET LOCAL ROLE regress_pge_own;
SELECT own_version();
RESET ROLE;
SELECT envelope_revoke('own', 'regress_pge_own');
SELECT envelope_grant('own', 'regress_pge_own', '{encrypt}');
SET LOCAL ROLE regress_pge_own;
SELECT own_version();
RESET ROLE;
SAVEPOINT a;
SELECT envelope_revoke('own', 'regress_pge_own');
SET LOCAL ROLE regress_pge_own;
SELECT own_version();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO a;
SET LOCAL ROLE regress_pge_own;
SELECT own_version();
RESET ROLE;
SELECT envelope_revoke('own', 'regress_pge_own');
SET LOCAL ROLE regress_pge_own;
SELECT own_version();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- by hand, and all in one transaction without a savepoint
SELECT envelope_rotate_key('own');
BEGIN;
SELECT own_version();
UPDATE envelope.dek SET state = 'retired' WHERE key_id = 'own' AND version = 2;
UPDATE envelope.dek SET state = 'active' WHERE key_id = 'own' AND version = 1;
SELECT own_version();
UPDATE envelope.dek SET state = 'retired' WHERE key_id = 'own' AND version = 1;
UPDATE envelope.dek SET state = 'active' WHERE key_id = 'own' AND version = 2;
SELECT own_version();
UPDATE envelope.dek SET state = 'retired' WHERE key_id = 'own' AND version = 2;
UPDATE envelope.dek SET state = 'active' WHERE key_id = 'own' AND version = 1;
-- looked up while the command that changes it runs, a key is as it was before
UPDATE envelope.key SET state = 'disabled' WHERE key_id = 'own' RETURNING own_version();
SELECT own_version();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT own_version();

DROP FUNCTION own_version;
DROP ROLE regress_pge_own;
