-- A KEK without a URI is made in the local keyring, with a WARNING that it
-- must be backed up; one with a URI is proved first.
\set VERBOSITY terse
SELECT envelope_create_kek('kek_local') AS uri \gset
SELECT :'uri' ~ '^local:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' AS local;
SELECT uri = :'uri' AS stored, state, unused_since IS NULL AS in_use
  FROM envelope.kek WHERE name = 'kek_local';
-- the keyring gets its one name with the first KEK, and keeps it
SELECT uuid AS keyring FROM envelope.keyring \gset
SET client_min_messages = error;
SELECT envelope_create_kek('kek_other') <> :'uri' AS another;
RESET client_min_messages;
SELECT uuid = :'keyring' AS same FROM envelope.keyring;
-- a KEK that is there: no warning, because nothing new must be backed up, but
-- a word that it has a name already
SELECT envelope_create_kek('kek_again', :'uri') = :'uri' AS same;
-- a KEK that is not there, and a service that we do not know
SELECT envelope_create_kek('kek_missing', 'local:00000000-0000-4000-8000-000000000000');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_kek('kek_unknown', 'nowhere:1');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_kek('kek_unknown', 'local: x');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_kek('kek_unknown', '');
\echo :LAST_ERROR_SQLSTATE
-- what the agent says of a URI tells what is wrong with it, or what to configure
\set VERBOSITY default
SELECT envelope_create_kek('kek_unknown', 'local:KEK');
SELECT envelope_create_kek('kek_unknown', 'vault://vault.example/transit/keys/k');
SELECT envelope_create_kek('kek_unknown', 'vault://vault.example/transit/keys/k?instance=corp');
SELECT envelope_create_kek('kek_unknown', 'vault://user:password@vault.example/transit/keys/k');
SELECT envelope_create_kek('kek_unknown', 'vault://vault.example/transit/keys/../k');
\set VERBOSITY terse
SELECT count(*) AS left_behind FROM envelope.kek WHERE name IN ('kek_missing', 'kek_unknown');
-- names
SELECT envelope_create_kek('kek_local');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_kek('');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_kek(repeat('k', 64));
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_kek(E'a\nb');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_create_kek(NULL);
\echo :LAST_ERROR_SQLSTATE
-- a rolled-back KEK leaves no row
BEGIN;
SET LOCAL client_min_messages = error;
SELECT envelope_create_kek('kek_undone') IS NOT NULL AS made;
ROLLBACK;
SELECT count(*) FROM envelope.kek WHERE name = 'kek_undone';
-- rotating tells the service's new version
SELECT envelope_rotate_kek('kek_local');
SELECT envelope_rotate_kek('kek_nowhere');
\echo :LAST_ERROR_SQLSTATE
-- a retired KEK wraps no more, until it is enabled again
UPDATE envelope.kek SET state = 'retired' WHERE name = 'kek_local';
SELECT envelope_create_key('kek_user', 'kek_local');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_rotate_kek('kek_local');
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_enable_kek('kek_local');
SELECT envelope_create_key('kek_user', 'kek_local');
SELECT envelope_enable_kek('kek_nowhere');
\echo :LAST_ERROR_SQLSTATE
