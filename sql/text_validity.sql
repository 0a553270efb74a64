-- Bytes that are no text of the database's encoding do not open as text, wherever
-- they stand.
SET client_min_messages = error;
SELECT envelope_create_kek('text_validity') IS NOT NULL AS made;
SELECT envelope_create_key('tv', 'text_validity');
-- Wherever such a byte stands in texts of lengths around a machine's words: none opens.
CREATE FUNCTION tv_opens(value bytea) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RETURN octet_length(envelope_decrypt(envelope_encrypt_bytea(value, 'tv'), 'tv')) = length(value);
EXCEPTION WHEN character_not_in_repertoire THEN
	RETURN false;
END $$;
SELECT with_what, count(*) AS tried, count(*) FILTER (WHERE tv_opens(overlay(text PLACING with_what FROM at))) AS opened
	FROM unnest(ARRAY[1, 2, 7, 8, 9, 16, 63, 64, 65, 72, 127, 128, 129, 200]) length,
		convert_to(repeat('~', length), 'UTF8') text, generate_series(1, length) at,
		unnest(ARRAY['\x00', '\x80', '\xff', '\x01', '\x7f']::bytea[]) with_what
	GROUP BY 1 ORDER BY 1;
SELECT count(*) AS tried, count(*) FILTER (WHERE tv_opens(overlay(text PLACING '\xc3ab' FROM at))) AS opened
	FROM unnest(ARRAY[2, 8, 64, 65, 129]) length,
		convert_to(repeat('~', length), 'UTF8') text, generate_series(1, length - 1) at;
