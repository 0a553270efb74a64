"""A small tree that breaks no rule of lint.py, and faults to plant in it.

Each entry of PLANTED is (rule, files that replace or join the clean ones).

SPDX-License-Identifier: PostgreSQL
"""
from frozen import EVER, SUMS, digest

HEAD = "/* x -- SPDX-License-Identifier: PostgreSQL */\n"
GUARD = '\\echo Use "CREATE EXTENSION pg_envelope" to load this file. \\quit\n'
SCRIPT = GUARD + """
CREATE SCHEMA envelope;
COMMENT ON SCHEMA envelope IS 'keys; and one more';
CREATE TABLE envelope.kek (name text DEFAULT ('a;b'));
COMMENT ON TABLE envelope.kek IS 'keys';
CREATE UNIQUE INDEX kek_one ON envelope.kek (name);
COMMENT ON INDEX envelope.kek_one IS 'one';
CREATE FUNCTION envelope_bind(VARIADIC elements text[]) RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE;
COMMENT ON FUNCTION envelope_bind(text[]) IS 'bind';
CREATE FUNCTION envelope_create_kek(name text, uri text DEFAULT NULL, OUT was text) RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION envelope_create_kek(text, text) IS 'create';
REVOKE ALL ON FUNCTION envelope_create_kek(text, text) FROM PUBLIC;
CREATE FUNCTION envelope.guard() RETURNS trigger AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION envelope.guard() IS 'guard';
CREATE PROCEDURE envelope_rewrap(old_kek text, batch double precision = 5)
AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON PROCEDURE envelope_rewrap(text, double precision) IS 'rewrap';
REVOKE ALL ON PROCEDURE envelope_rewrap(text, double precision) FROM PUBLIC;
"""
SETTINGS = HEAD + """
DefineCustomIntVariable("pg_envelope.cache_size", "x");
DefineCustomIntVariable("pg_envelope.cache_ttl", "x");
"""
SECRETS = HEAD + """
/* memcmp(secret, other, 3), strcpy(a, b), ereport(ERROR, (errmsg("no"))) are words here */
int f(void)
{
	if (memcmp(row->dek.key_id, key_id, len) == 0 || memcmp(uuid, secret_len, sizeof(secret)) == 0)
		memset(key, 0x0b, 3);
	stream->system(1);
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR), errmsg("could not (really) \\"")));
	ereport(LOG, (errmsg("strcpy(a, b)")));
	ereport(bad ? WARNING : LOG, (errmsg("x")));
	memset(&tag, 0, sizeof(tag));
	return fprintf(stderr, "sprintf(");
}
"""

CLEAN = {
    "Makefile": "all:\n",
    "README.md": "# x\n## Settings\n| name | what |\n|---|---|\n| `cache_size` | x |\n| `pg_envelope.cache_ttl` | x |\n"
                 "## Errors by SQLSTATE\n| SQLSTATE | meaning |\n|---|---|\n| KE001 | x |\n| KE002, 42704 | x |\n| KE003 | x |\n"
                 "## Next\n| `other` | y |\n| KE009 | y |\n",
    "CHANGELOG.md": "# Changelog\n\n## 0.1.0 (unreleased)\n",
    "pg_envelope.control": "default_version = '0.1.0'\n",
    "pg_envelope--0.1.0.sql": SCRIPT,
    "sql/bind.sql": "SELECT 1;\n",
    "expected/bind.out": "ERROR:  42704: no\nKE003\n",
    "test/t/010_x.pl": "# SPDX-License-Identifier: PostgreSQL\n$n->fails_with('SELECT 1', 'KE001', 'x');\nlike($err, qr/ERROR:  KE002: /, 'x');\n",
    "test/isolation/specs/race.spec": "",
    "test/isolation/expected/race.out": "",
    "test/t/100_opens.pl": "ok(1);\n",
    "test/mutants/no_cleanse.mutant": "# Nothing is wiped.\ntest: tap 100_opens\n@@ src/base/secret.c\n"
                                      "-void w(void) { OPENSSL_cleanse(p, n); }\n+void w(void) { }\n",
    "test/run.sh": "# SPDX-License-Identifier: PostgreSQL\ncd \"$root/home/$who\" && ls 127.0.0.1 1.10.2.3\n",
    "src/pg_envelope.c": HEAD + '#include "postgres.h"\n#include "keeper/keeper.h"\n#include "ops/seal.h"\n',
    "src/base/limits.h": HEAD + '#define PGE_VERSION\t\t"0.1.0"\n',
    "src/base/compat.h": HEAD + "#if PG_VERSION_NUM >= 160000\n#endif\n",
    "src/base/secret.c": HEAD + '#include <openssl/crypto.h>\n#include "base/secret.h"\nvoid w(void) { OPENSSL_cleanse(p, n); }\n',
    "src/base/secret.h": HEAD,
    "src/base/settings.c": SETTINGS,
    "src/crypto/aead.c": HEAD + '#include <string.h>\n#include <openssl/evp.h>\n#include "base/secret.h"\n',
    "src/format/frame.h": HEAD + '#include <stdint.h>\n#include "base/limits.h"\n',
    "src/ops/seal.h": HEAD + '#include "client/client.h"\n#include "base/report.h"\n',
    "src/ops/seal.c": SECRETS,
    "src/keeper/keeper.h": HEAD + '#include "postgres.h"\n#include "cache/slots.h"\n',
    "src/agent/main.c": HEAD + '#include <curl/curl.h>\n#include <jansson.h>\n#include <sys/socket.h>\n#include "agent/kms/kms.h"\n',
    "src/agent/kms/kms.h": HEAD + '#include "format/frame.h"\n',
}

# A version that is out, one before it, and what is pinned of them.
OLDER, KEYRING = "pg_envelope--0.0.9.sql", "test/fixtures/0.1.0/keyring.plain"
CLEAN |= {
    OLDER: SCRIPT,
    "pg_envelope--0.0.9--0.0.10.sql": GUARD,
    "pg_envelope--0.0.10--0.1.0.sql": GUARD,
    "test/fixtures/0.0.9/dump.sql": "SELECT 9;\n",
    KEYRING: "PGEKEYR\x01\0\udcff\udc80",
}
PINNED = "".join(f"{digest(CLEAN[path])}  {path}\n" for path in sorted(CLEAN)
                 if path.startswith(("test/fixtures/", "pg_envelope--")))
CLEAN |= {SUMS: PINNED, EVER: PINNED}
UNPINNED = "".join(line for line in PINNED.splitlines(True) if not line.endswith(KEYRING + "\n"))


def without(*paths):
    """The clean tree's files of these names are not there."""
    return {path: None for path in paths}


def c(path, code):
    return {path: HEAD + code}


def script(text):
    return {"pg_envelope--0.1.0.sql": SCRIPT + text}


PLANTED = [
    ("arrows", c("src/base/x.c", '#include "crypto/aead.h"\n')),
    ("arrows", c("src/crypto/x.c", '#include "format/frame.h"\n')),
    ("arrows", c("src/cache/x.c", '#include "keyring/keyring.h"\n')),
    ("arrows", c("src/client/x.c", '#include "keyring/keyring.h"\n')),
    ("arrows", c("src/ops/x.c", '# include "sqlapi/doors.h"\n')),
    ("arrows", c("src/ops/x.c", '#include "agent/kms/kms.h"\n')),
    ("arrows", c("src/keeper/x.c", '#include "keyring/keyring.h"\n')),
    ("arrows", c("src/agent/kms/x.c", '#include "agent/loop.h"\n')),
    ("arrows", c("src/agent/x.c", '#include "cache/slots.h"\n')),
    ("arrows", c("src/pg_envelope.c", '#include "agent/loop.h"\n')),
    ("arrows", c("src/attic/x.c", "")),
    ("no-server-headers", c("src/agent/x.c", '#include "postgres.h"\n')),
    ("no-server-headers", c("src/agent/x.c", "#include <libpq-fe.h>\n")),
    ("no-server-headers", c("src/agent/kms/x.c", '#include "base/report.h"\n')),
    ("no-server-headers", c("src/crypto/x.c", '#include "c.h"\n')),
    ("no-server-headers", c("src/format/x.c", "#include <curl/curl.h>\n")),
    ("no-server-headers", c("src/format/x.c", "#include <jansson.h>\n")),
    ("no-server-headers", c("src/base/status.c", '#include "base/settings.h"\n')),
    ("version-if", c("src/cache/x.c", "#if PG_VERSION_NUM < 160000\n#endif\n")),
    ("version-if", c("src/base/compat.c", "#if PG_VERSION_NUM >= 170000\n#endif\n")),
    ("version-if", c("src/cache/x.h", "#if 1\n#elif defined(X) && PG_VERSION_NUM > 1\n#endif\n")),
    ("base-names", c("src/cache/seal.c", "")),
    ("base-names", c("src/agent/keeper.c", "")),
    ("memcmp-on-secrets", c("src/ops/x.c", "int x = memcmp(secret->bytes, other, 32);\n")),
    ("memcmp-on-secrets", c("src/ops/x.c", "int x = memcmp(a, message.mac,\n\t32);\n")),
    ("memcmp-on-secrets", c("src/ops/x.c", "int x = strcmp(passphrase, old_passphrase);\n")),
    ("memcmp-on-secrets", c("src/ops/x.c", "void x(void) { memset(slot->dek, 0, sizeof(slot->dek)); }\n")),
    ("memcmp-on-secrets", c("src/ops/x.c", "void x(void) { memset(&key, 0, sizeof key); }\n")),
    ("memcmp-on-secrets", c("src/ops/x.c", "void x(void) { explicit_bzero(p, 3); }\n")),
    ("memcmp-on-secrets", c("src/agent/x.c", "void x(void) { OPENSSL_cleanse(p, 3); }\n")),
    ("unsafe-calls", c("src/ops/x.c", "void x(void) { strcpy(a, b); }\n")),
    ("unsafe-calls", c("src/agent/x.c", "int x(void) { return atoi (a); }\n")),
    ("unsafe-calls", c("src/agent/x.c", "int x(void) { return system(a); }\n")),
    ("unsafe-calls", c("test/unit/x.c", "void x(void) { sprintf(a, b); }\n")),
    ("errcode", c("src/ops/x.c", 'void x(void) { ereport(ERROR, (errmsg("errcode(1)"))); }\n')),
    ("errcode", c("src/ops/x.c", 'void x(void) { ereport(FATAL,\n\terrmsg("a")); ereport(ERROR, errcode(1)); }\n')),
    ("errcode", c("src/ops/x.c", 'void x(void) { ereport(level, (errmsg("a"))); }\n')),
    ("errcode", c("src/ops/x.c", 'void x(void) { ereport(soft ? WARNING : ERROR, (errmsg("a"))); }\n')),
    ("unfinished", c("src/ops/x.c", "/* TO" "DO: all of it */\n")),
    ("unfinished", {"README.md": CLEAN["README.md"] + "FIX" "ME\n"}),
    ("comment", script("CREATE FUNCTION envelope_bind(a text) RETURNS text LANGUAGE C;\n")),
    ("comment", script("CREATE FUNCTION f(a text, b text) RETURNS text LANGUAGE C;\nCOMMENT ON FUNCTION f(text) IS 'x';\n")),
    ("comment", script("CREATE PROCEDURE f(a text) LANGUAGE C;\nCOMMENT ON FUNCTION f(text) IS 'x';\n")),
    ("comment", script("CREATE TABLE envelope.dek (x int);\n-- COMMENT ON TABLE envelope.dek IS 'x';\n")),
    ("comment", script("CREATE VIEW envelope.v AS SELECT 1;\n")),
    ("comment", script("CREATE UNIQUE INDEX dek_one ON envelope.kek (name);\n")),
    ("comment", script("CREATE TRIGGER guard BEFORE INSERT ON envelope.kek EXECUTE FUNCTION envelope.guard();\n")),
    ("revoke", script("CREATE FUNCTION envelope_rotate_kek(name text) RETURNS text LANGUAGE C;\n")),
    ("revoke", script("CREATE FUNCTION envelope_create_kek(name text) RETURNS text LANGUAGE C;\n")),
    ("revoke", script("CREATE FUNCTION f(name text) RETURNS text LANGUAGE C;\nREVOKE ALL ON FUNCTION f(text) FROM someone;\n")),
    ("revoke", script("CREATE FUNCTION f(name text) RETURNS text LANGUAGE C;\n-- REVOKE ALL ON FUNCTION f(text) FROM PUBLIC;\n")),
    ("security-definer", script("CREATE FUNCTION f() RETURNS int LANGUAGE C SECURITY\n\tDEFINER;\n")),
    ("script-guard", {"pg_envelope--0.1.0--0.2.0.sql": "SELECT 1;\n"}),
    ("settings", c("src/base/settings.c", 'DefineCustomIntVariable("pg_envelope.cache_ttl");\n'
                   'DefineCustomIntVariable("pg_envelope.cache_size");\n')),
    ("settings", c("src/base/settings.c", SETTINGS + 'DefineCustomBoolVariable(\n"pg_envelope.other");\n')),
    ("settings", c("src/base/settings.c", 'DefineCustomIntVariable("pg_envelope.cache_ttl");\n')),
    ("sqlstates", {"expected/bind.out": "1\n"}),
    ("sqlstates", {"expected/bind.out": "ERROR:  42704: no\n-- KE003\n"}),
    ("sqlstates", {"test/t/010_x.pl": "like($err, qr/ERROR:  KE002: /, 'x');    # 'KE001'\n"}),
    ("sqlstates", {"test/t/010_x.pl": "unlike($err, qr/KE002/, 'x');\n$n->fails_with('SELECT 1', 'KE001', 'x');\n"}),
    ("sqlstates", {"README.md": CLEAN["README.md"].replace("| KE001 |", "| KE001 | x |\n| KE010 |")}),
    ("version", {"pg_envelope.control": "default_version = '0.2.0'\n"}),
    ("version", {"pg_envelope.control": ""}),
    ("version", c("src/base/limits.h", '#define PGE_VERSION "0.1.1"\n')),
    ("version", {"CHANGELOG.md": "# Changelog\n\n## 0.2.0\n\n## 0.1.0\n"}),
    ("version", c("src/ops/x.c", 'const char *v = "0.1.0";\n')),
    ("machine", {"Makefile": "all:\n\tcp /" "work/x .\n"}),
    ("machine", {"README.md": CLEAN["README.md"] + "see ../" "shared/DESIGN.md\n"}),
    ("machine", {".ci/run": "cd /home" "/somebody\n"}),
    ("machine", {"test/x.sh": "# SPDX-License-Identifier: PostgreSQL\npip install -i http://10.1." "2.3/simple\n"}),
    ("machine", {"README.md": CLEAN["README.md"] + "https://europe-west1-python.pkg." "dev/x\n"}),
    ("machine", {"test/x.sh": "# SPDX-License-Identifier: PostgreSQL\necho deb-src http://deb.debian." "org/debian\n"}),
    ("machine", {"test/x.sh": "# SPDX-License-Identifier: PostgreSQL\ncurl https://files.pythonhosted." "org/x\n"}),
    ("machine", {"Makefile": "all:\n\tcurl https://static.crates." "io/x\n"}),
    ("spdx", {"src/ops/x.c": "int x;\n"}),
    ("spdx", {"test/tools/x.sh": "echo\n"}),
    ("mutants", c("src/base/secret.c", "void w(void) { OPENSSL_cleanse(q, n); }\n")),
    ("mutants", c("src/base/secret.c", "void w(void) { OPENSSL_cleanse(p, n); }\n" * 2)),
    ("mutants", {"test/mutants/x.mutant": "# x\ntest: tap 100_opens\n@@ src/base/lost.c\n-int x;\n"}),
    ("mutants", {"test/mutants/x.mutant": "# x\ntest: tap 200_lost\n@@ test/t/100_opens.pl\n-ok(1);\n"}),
    ("mutants", {"test/mutants/x.mutant": "# x\n@@ test/t/100_opens.pl\n-ok(1);\n"}),
    ("mutants", {"test/mutants/x.mutant": "# x\ntest: tap 100_opens\n@@ test/t/100_opens.pl\n ok(1);\n"}),
    ("mutants", {"test/mutants/x.mutant": "# x\ntest: tap 100_opens\n@@ test/t/100_opens.pl\nok(1);\n"}),
    ("frozen", {KEYRING: "PGEKEYR\x01\0\udcff\udc81"}),
    ("frozen", {KEYRING: CLEAN[KEYRING] + "\n"}),
    ("frozen", without(KEYRING)),
    ("frozen", {"test/fixtures/0.1.0/more.sql": "SELECT 1;\n"}),
    ("frozen", {OLDER: SCRIPT.replace("one", "1")}),
    ("frozen", script("-- a comment\n")),
    ("frozen", {SUMS: UNPINNED}),
    # a file and its line together: git remembers
    ("frozen", {SUMS: UNPINNED, **without(KEYRING)}),
    ("frozen", {KEYRING: "x", SUMS: UNPINNED + f"{digest('x')}  {KEYRING}\n"}),
    ("frozen", {SUMS: "", **without(KEYRING, "test/fixtures/0.0.9/dump.sql", OLDER)}),
    ("frozen", {SUMS: PINNED + "more\n"}),
    # without git, what is out is still known by its folder and its scripts
    ("frozen", {EVER: "", SUMS: UNPINNED}),
    ("frozen", {EVER: "", SUMS: "".join(line for line in PINNED.splitlines(True) if "fixtures" in line)}),
    ("frozen", without("pg_envelope--0.0.10--0.1.0.sql")),
    ("frozen", {"pg_envelope.control": "default_version = '0.2.0'\n", "pg_envelope--0.2.0.sql": SCRIPT}),
    ("frozen", {"pg_envelope--0.0.9--0.1.0.sql": GUARD}),
    ("frozen", {"pg_envelope--0.1.0--0.3.0.sql": GUARD}),
    ("expected", {"sql/lost.sql": ""}),
    ("expected", {"expected/lost.out": ""}),
    ("expected", {"test/isolation/specs/lost.spec": ""}),
    ("expected", {"test/isolation/expected/lost.out": ""}),
    ("expected", {"test/isolation/expected/lost_1.out": ""}),
]
