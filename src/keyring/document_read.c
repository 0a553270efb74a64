/*-------------------------------------------------------------------------
 *
 * document_read.c
 *	  From the jsonb of a keyring document to structs, and nothing on trust.
 *
 * Each field has to be there and of its kind, and no other.  Messages name the place,
 * and do not repeat what stands there.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/report.h"
#include "keyring/document.h"
#include "keyring/document_private.h"
#include "keyring/key_name.h"

#define FORMAT	"pg_envelope keyring"

/* An object of the document, and where: "keys[0].deks[2]". */
typedef struct Object
{
	const char *path;
	JsonbContainer *fields;
} Object;

typedef struct Array
{
	char	   *path;
	JsonbContainer *elements;
	int			count;
} Array;

typedef int (*WordNumber) (const char *word);

static void refuse(const char *path, const char *name, const char *what) pg_attribute_noreturn();
static Object object_of(const JsonbValue * value, const char *path, uint32 nfields);
static JsonbValue field(const Object *object, const char *name);
static Array array_field(const Object *object, const char *name);
static Object object_at(const Array *array, int at, uint32 nfields);
static char *text_of(const JsonbValue * value, const Object *object, const char *name, size_t most);
static char *text_field(const Object *object, const char *name, size_t most);
static int64 number_field(const Object *object, const char *name, int64 most);
static bool boolean_field(const Object *object, const char *name);
static int	word_field(const Object *object, const char *name, WordNumber number);
static PgeBytes hex_field(const Object *object, const char *name, size_t least, size_t most);
static void uuid_field(const Object *object, const char *name, uint8 uuid[PGE_UUID_LEN]);
static TimestampTz time_field(const Object *object, const char *name);
static void version_field(const Object *object, const char *name, char **version);
static int	hex_digit(char c);
static int	algorithm_of(const char *word);
static void check_format(const Object *top);
static void read_keks(const Object *top, KeyringDocument *document);
static void read_keys(const Object *top, KeyringDocument *document);
static void read_deks(const Object *object, DocumentKey *key, const KeyringDocument *document);
static void read_dek(const Object *object, DocumentKey *key, DocumentDek *dek);
static void read_wrappings(const Object *object, DocumentDek *dek, const KeyringDocument *document);
static int	kek_field(const Object *object, const KeyringDocument *document);
static void *room_for_one(void *array, int count, size_t size);
static int	compare_keks(const void *a, const void *b);
static int	compare_keys(const void *a, const void *b);

void
pge_document_read(Jsonb * jsonb, KeyringDocument *document)
{
	JsonbValue	whole = {.type = jbvBinary,.val.binary = {.len = VARSIZE(jsonb), .data = &jsonb->root}};
	Object		top = object_of(&whole, "", 5);
	JsonbValue	keyring = field(&top, "keyring");
	uint8		uuid[PGE_UUID_LEN];

	memset(document, 0, sizeof(*document));
	check_format(&top);
	if (keyring.type != jbvNull)
		uuid_field(&top, "keyring", uuid);
	read_keks(&top, document);
	read_keys(&top, document);
	pge_document_check(document);
}

static void
refuse(const char *path, const char *name, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the keyring document is not valid"),
			 errdetail("%s%s%s %s.", path, path[0] && name[0] ? "." : "",
					   path[0] || name[0] ? name : "It", what),
			 errhint(PGE_DOCUMENT_HINT)));
}

static Object
object_of(const JsonbValue * value, const char *path, uint32 nfields)
{
	Object		object = {.path = path};

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		refuse(path, "", "is not an object");
	object.fields = value->val.binary.data;
	if (JsonContainerSize(object.fields) > nfields)
		refuse(path, "", "has a field that no such document has");
	return object;
}

static JsonbValue
field(const Object *object, const char *name)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(object->fields, name, (int) strlen(name), &value) == NULL)
		refuse(object->path, name, "is missing");
	return value;
}

static Array
array_field(const Object *object, const char *name)
{
	JsonbValue	value = field(object, name);
	Array		array;

	if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data))
		refuse(object->path, name, "is not an array");
	array.path = psprintf("%s%s%s", object->path, object->path[0] ? "." : "", name);
	array.elements = value.val.binary.data;
	array.count = (int) JsonContainerSize(array.elements);
	return array;
}

static Object
object_at(const Array *array, int at, uint32 nfields)
{
	JsonbValue *element = getIthJsonbValueFromContainer(array->elements, (uint32) at);

	return object_of(element, psprintf("%s[%d]", array->path, at), nfields);
}

/* Not an empty one; and nothing long is copied to find out that it is. */
static char *
text_of(const JsonbValue * value, const Object *object, const char *name, size_t most)
{
	if (value->type != jbvString)
		refuse(object->path, name, "is not a string");
	if (value->val.string.len < 1 || (size_t) value->val.string.len > most)
		refuse(object->path, name, psprintf("does not have 1 to %zu bytes", most));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static char *
text_field(const Object *object, const char *name, size_t most)
{
	JsonbValue	value = field(object, name);

	return text_of(&value, object, name, most);
}

/* By its digits: a number of jsonb may have any size, and a fraction. */
static int64
number_field(const Object *object, const char *name, int64 most)
{
	JsonbValue	value = field(object, name);
	int64		number = 0;
	char	   *digits;

	if (value.type != jbvNumeric)
		refuse(object->path, name, "is not a number");
	digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
	if (strlen(digits) <= 10 && strspn(digits, "0123456789") == strlen(digits))
		number = (int64) strtou64(digits, NULL, 10);
	if (number < 1 || number > most)
		refuse(object->path, name, psprintf("is not a whole number from 1 to " INT64_FORMAT, most));
	pfree(digits);
	return number;
}

static bool
boolean_field(const Object *object, const char *name)
{
	JsonbValue	value = field(object, name);

	if (value.type != jbvBool)
		refuse(object->path, name, "is not true or false");
	return value.val.boolean;
}

static int
word_field(const Object *object, const char *name, WordNumber number)
{
	char	   *word = text_field(object, name, NAMEDATALEN);
	int			found = number(word);

	if (found < 0)
		refuse(object->path, name, "is a word that has no meaning there");
	pfree(word);
	return found;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static PgeBytes
hex_field(const Object *object, const char *name, size_t least, size_t most)
{
	JsonbValue	value = field(object, name);
	const char *hex = value.val.string.val;
	size_t		len = value.type == jbvString ? value.val.string.len / 2 : 0;
	uint8	   *bytes;

	if (value.type != jbvString || value.val.string.len % 2 != 0 || len < least || len > most)
		refuse(object->path, name, least == most ?
			   psprintf("is not %zu bytes in hexadecimal digits", least) :
			   psprintf("is not %zu to %zu bytes in hexadecimal digits", least, most));
	bytes = palloc(len);
	for (size_t i = 0; i < len; i++)
	{
		int			high = hex_digit(hex[2 * i]);
		int			low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			refuse(object->path, name, "has something that is no hexadecimal digit (0-9, a-f)");
		bytes[i] = (uint8) (high << 4 | low);
	}
	return pge_bytes(bytes, len);
}

/* As the server writes them: 8-4-4-4-12. */
static void
uuid_field(const Object *object, const char *name, uint8 uuid[PGE_UUID_LEN])
{
	JsonbValue	value = field(object, name);
	const char *at = value.val.string.val;
	bool		valid = value.type == jbvString && value.val.string.len == 36;

	for (int i = 0; valid && i < PGE_UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			valid = *at++ == '-';
		valid = valid && hex_digit(at[0]) >= 0 && hex_digit(at[1]) >= 0;
		if (valid)
			uuid[i] = (uint8) (hex_digit(at[0]) << 4 | hex_digit(at[1]));
		at += 2;
	}
	if (!valid)
		refuse(object->path, name, "is not a uuid");
}

/* What has this shape and is no day is refused by the server's own reader. */
static TimestampTz
time_field(const Object *object, const char *name)
{
	static const char shape[] = "0000-00-00T00:00:00.000000Z";
	char	   *text = text_field(object, name, strlen(shape));
	bool		valid = strlen(text) == strlen(shape);

	for (size_t i = 0; valid && i < strlen(shape); i++)
		valid = shape[i] == '0' ? text[i] >= '0' && text[i] <= '9' : text[i] == shape[i];
	if (!valid)
		refuse(object->path, name, psprintf("is not a time such as %s", "2026-01-31T12:00:00.000000Z"));
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* ASCII, as pge_answer_has_wrappings() has it; a service may tell none. */
static void
version_field(const Object *object, const char *name, char **version)
{
	JsonbValue	value = field(object, name);

	if (value.type == jbvString && value.val.string.len == 0)
		*version = pstrdup("");
	else
		*version = text_of(&value, object, name, PGE_KEK_VERSION_MAX);
	for (const char *c = *version; *c != '\0'; c++)
		if (*c < 0x20 || *c > 0x7e)
			refuse(object->path, name, "is not printable ASCII");
}

static int
algorithm_of(const char *word)
{
	uint8		number = pge_algorithm_number(word);

	return number == 0 ? -1 : number;
}

static void
check_format(const Object *top)
{
	char	   *format = text_field(top, "format", NAMEDATALEN);
	int64		version = number_field(top, "version", PG_INT32_MAX);

	if (strcmp(format, FORMAT) != 0)
		refuse("", "format", "is not \"" FORMAT "\"");
	if (version != PGE_DOCUMENT_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the keyring document is of version " INT64_FORMAT ", and this is for version %d",
						version, PGE_DOCUMENT_VERSION),
				 errhint("Import it with the release of pg_envelope that exported it, or a later one.")));
}

static void
read_keks(const Object *top, KeyringDocument *document)
{
	Array		array = array_field(top, "keks");

	for (int i = 0; i < array.count; i++)
	{
		Object		object = object_at(&array, i, 4);
		DocumentKek *kek;

		CHECK_FOR_INTERRUPTS();
		document->keks = room_for_one(document->keks, i, sizeof(DocumentKek));
		kek = &document->keks[document->nkeks++];
		kek->name = text_field(&object, "name", PGE_KEK_NAME_MAX);
		pge_kek_name_check(kek->name);
		pge_kek_name_refuse_uri(kek->name);
		kek->uri = text_field(&object, "uri", PGE_KEK_URI_MAX);
		pge_kek_uri_check(kek->uri);
		kek->state = word_field(&object, "state", pge_kek_state_number);
		array_field(&object, "versions");
	}
	if (document->nkeks > 0)
		qsort(document->keks, document->nkeks, sizeof(DocumentKek), compare_keks);
}

static void
read_keys(const Object *top, KeyringDocument *document)
{
	Array		array = array_field(top, "keys");

	for (int i = 0; i < array.count; i++)
	{
		Object		object = object_at(&array, i, 6);
		DocumentKey *key;

		CHECK_FOR_INTERRUPTS();
		document->keys = room_for_one(document->keys, i, sizeof(DocumentKey));
		key = &document->keys[document->nkeys++];
		strlcpy(key->row.key_id, text_field(&object, "key_id", PGE_KEY_ID_MAX), sizeof(key->row.key_id));
		pge_key_id_check(key->row.key_id);
		key->kek = kek_field(&object, document);
		key->row.algorithm = (uint8) word_field(&object, "algorithm", algorithm_of);
		key->row.require_associated_data = boolean_field(&object, "require_associated_data");
		key->row.state = word_field(&object, "state", pge_key_state_number);
		read_deks(&object, key, document);
	}
	if (document->nkeys > 0)
		qsort(document->keys, document->nkeys, sizeof(DocumentKey), compare_keys);
}

static void
read_deks(const Object *object, DocumentKey *key, const KeyringDocument *document)
{
	Array		array = array_field(object, "deks");

	if (array.count == 0)
		refuse(object->path, "deks", "is empty");
	for (int i = 0; i < array.count; i++)
	{
		Object		element = object_at(&array, i, 9);
		DocumentDek *dek;

		CHECK_FOR_INTERRUPTS();
		key->deks = room_for_one(key->deks, i, sizeof(DocumentDek));
		dek = &key->deks[key->count++];
		read_dek(&element, key, dek);
		if (i > 0 && dek->row.version <= dek[-1].row.version)
			refuse(element.path, "version", "is not higher than the one before");
		read_wrappings(&element, dek, document);
	}
}

static void
read_dek(const Object *object, DocumentKey *key, DocumentDek *dek)
{
	KeyringDek *row = &dek->row;

	strlcpy(row->key_id, key->row.key_id, sizeof(row->key_id));
	row->dek_id = (uint32) number_field(object, "dek_id", PG_UINT32_MAX);
	row->version = (int32) number_field(object, "version", PG_INT32_MAX);
	row->purpose = (uint8) word_field(object, "purpose", pge_purpose_number);
	row->algorithm = (uint8) word_field(object, "algorithm", algorithm_of);
	uuid_field(object, "keyring", row->keyring);
	memcpy(row->check_value,
		   hex_field(object, "check_value", PGE_CHECK_VALUE_LEN, PGE_CHECK_VALUE_LEN).data,
		   PGE_CHECK_VALUE_LEN);
	row->state = word_field(object, "state", pge_dek_state_number);
	dek->created = time_field(object, "created");
}

/* Of one seq there is one; what it is here is drawn here. */
static void
read_wrappings(const Object *object, DocumentDek *dek, const KeyringDocument *document)
{
	Array		array = array_field(object, "wrappings");
	int64		before = 0;

	if (array.count > PGE_WRAPPINGS_MAX)
		refuse(object->path, "wrappings", psprintf("has more than %d elements", PGE_WRAPPINGS_MAX));
	dek->wrappings = palloc0(Max(array.count, 1) * sizeof(DocumentWrapping));
	for (int i = 0; i < array.count; i++)
	{
		Object		element = object_at(&array, i, 4);
		DocumentWrapping *wrapping = &dek->wrappings[dek->count++];
		int64		seq = number_field(&element, "seq", PG_INT32_MAX);

		if (seq <= before)
			refuse(element.path, "seq", "is not higher than the one before");
		before = seq;
		wrapping->kek = kek_field(&element, document);
		version_field(&element, "kek_version", &wrapping->kek_version);
		wrapping->wrapped = hex_field(&element, "wrapped", 4, PGE_WRAPPED_MAX);
	}
}

static int
kek_field(const Object *object, const KeyringDocument *document)
{
	DocumentKek sought = {.name = text_field(object, "kek", PGE_KEK_NAME_MAX)};
	DocumentKek *found;

	found = document->nkeks == 0 ? NULL :
		bsearch(&sought, document->keks, document->nkeks, sizeof(DocumentKek), compare_keks);
	if (found == NULL)
		refuse(object->path, "kek", "is none of \"keks\"");
	return (int) (found - document->keks);
}

/*
 * An element of jsonb may be far smaller than ours, and is refused then: so there is
 * never room for more of them than have been read, twice.
 */
static void *
room_for_one(void *array, int count, size_t size)
{
	size_t		room = count == 0 ? 1 : 2 * (size_t) count;

	if (array == NULL)
		array = palloc(size);
	else if ((count & (count - 1)) == 0)
		array = repalloc_huge(array, room * size);
	memset((char *) array + count * size, 0, size);
	return array;
}

static int
compare_keks(const void *a, const void *b)
{
	return strcmp(((const DocumentKek *) a)->name, ((const DocumentKek *) b)->name);
}

static int
compare_keys(const void *a, const void *b)
{
	return strcmp(((const DocumentKey *) a)->row.key_id, ((const DocumentKey *) b)->row.key_id);
}
