-- A key that is named again and again comes in once.
SET client_min_messages = error;
SELECT envelope_create_kek('prewarm') IS NOT NULL AS made;
RESET client_min_messages;
SELECT envelope_create_key('prewarm', 'prewarm');
SELECT envelope_cache_flush() >= 0 AS flushed;
SELECT envelope_prewarm(array_fill('prewarm'::text, ARRAY[1000]));
SELECT envelope_prewarm(ARRAY['prewarm']);
SELECT envelope_prewarm('{}');
