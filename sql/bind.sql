-- envelope_bind writes each element with its length, so no two lists agree.
SELECT envelope_bind('customers.ssn', '42');
SELECT envelope_bind('a', 'b') = envelope_bind('ab') AS same,
       envelope_bind('1:a,') = envelope_bind('a') AS forged;
-- lengths count bytes of UTF-8
SELECT envelope_bind('é', '');
SELECT envelope_bind(VARIADIC ARRAY['x', 'y']);
-- an element that is NULL would silently unbind the row
SELECT envelope_bind('customers.ssn', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_bind(VARIADIC NULL::text[]);
\echo :LAST_ERROR_SQLSTATE
SELECT envelope_bind(VARIADIC '{}');
\echo :LAST_ERROR_SQLSTATE
