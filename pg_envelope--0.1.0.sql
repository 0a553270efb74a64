/* pg_envelope--0.1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_envelope" to load this file. \quit

-- Immutable: the same elements give the same text for ever.
CREATE FUNCTION envelope_bind(VARIADIC elements text[])
RETURNS text
AS 'MODULE_PATHNAME', 'envelope_bind'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION envelope_bind(text[]) IS
	'several values as one unambiguous associated data';
