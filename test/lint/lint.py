#!/usr/bin/env python3
"""The rules of this tree that a compiler does not know.

usage: lint.py [TOP]

Each rule says in one line why it exists.  Before the tree is judged, each rule
is tried on a small clean tree, where it must find nothing, and on that tree
with faults planted, where it must find each.  Closing line: N passed, N failed.

SPDX-License-Identifier: PostgreSQL
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mutants"))
from frozen import EVER, frozen as find_unfrozen  # noqa: E402
from mutants import Fault, read_all  # noqa: E402
from planted import CLEAN, PLANTED  # noqa: E402

RULES = []


def rule(name, why):
    def register(function):
        RULES.append((name, why, function))
        return function
    return register


# --- reading ---------------------------------------------------------------

SKIPPED_DIRS = {".git", "build", "__pycache__", "results", "tmp_check", "output_iso"}
SKIPPED_ENDS = (".o", ".so", ".d", ".bc", ".pyc")


def read_tree(top):
    tree = {}
    for folder, dirs, files in os.walk(top):
        dirs[:] = sorted(d for d in dirs if d not in SKIPPED_DIRS)
        for name in sorted(files):
            path = os.path.relpath(os.path.join(folder, name), top)
            if name in SKIPPED_DIRS or name.endswith(SKIPPED_ENDS) or os.path.islink(os.path.join(top, path)):
                continue
            with open(os.path.join(top, path), "rb") as f:
                data = f.read()
            if path.startswith("test/fixtures/"):
                tree[path] = data.decode("utf-8", "surrogateescape")
            elif b"\0" not in data:
                tree[path] = data.decode("utf-8", "replace")
    # A copy of the tree without its history brings along what pinned.sh said.
    if os.path.exists(os.path.join(top, ".git")):
        tree[EVER] = subprocess.run([os.path.join(top, "test/lint/pinned.sh")], stdout=subprocess.PIPE, text=True, check=True).stdout
    return tree


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def is_c(path):
    return path.endswith((".c", ".h"))


def sources(tree, start="src/"):
    return [(p, t) for p, t in tree.items() if p.startswith(start) and is_c(p)]


def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def without_comments(text):
    return TOKEN.sub(lambda m: blank(m) if m.group(0)[0] == "/" else m.group(0), text)


def code_only(text):
    """Neither comments nor what is in quotes; every offset stays."""
    return TOKEN.sub(blank, text)


def arguments(code, at):
    """What stands between the parenthesis at `at` and its partner."""
    depth = 0
    for i in range(at, len(code)):
        depth += {"(": 1, ")": -1}.get(code[i], 0)
        if depth == 0:
            return code[at + 1:i]
    return code[at + 1:]


# --- rooms -----------------------------------------------------------------

PURE_BASE = {"bytes", "crash_point", "limits", "secret", "status"}
RIGHT_OF = {
    "base": {"base"},
    "crypto": {"crypto", "base"},
    "format": {"format", "crypto", "base"},  # a binding's check value is a MAC; never the reverse
    "cache": {"cache", "format", "crypto", "base"},
    "keyring": {"keyring", "cache", "format", "crypto", "base"},
    "client": {"client", "cache", "format", "crypto", "base"},
    "keeper": {"keeper", "cache", "format", "crypto", "base"},
    "ops": {"ops", "keyring", "client", "cache", "format", "crypto", "base"},
    "sqlapi": {"sqlapi", "ops", "keyring", "client", "cache", "format", "crypto", "base"},
    "agent": {"agent", "agent/kms", "format", "crypto", "base"},
    "agent/kms": {"agent/kms", "format", "crypto", "base"},
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.M)


def room_of(path):
    """src/agent/kms/x.c is in agent/kms; src/pg_envelope.c is in none."""
    return os.path.dirname(path[len("src/"):])


def stem(path):
    return os.path.splitext(os.path.basename(path))[0]


def is_pure(path):
    room = room_of(path)
    return room in ("crypto", "format") or room == "base" and stem(path) in PURE_BASE


def includes(text):
    for m in INCLUDE.finditer(without_comments(text)):
        yield m.group(1) or m.group(2), m.group(1) is not None, line_of(text, m.start())


def is_ours(name):
    return os.path.dirname(name) in RIGHT_OF


@rule("arrows", "rooms point one way only, so each can be read and tested without those to its left")
def arrows(tree):
    for path, text in sources(tree):
        room = room_of(path)
        if room and room not in RIGHT_OF:
            yield path, 1, f"no room \"{room}\" is on the map (RIGHT_OF in test/lint/lint.py)"
            continue
        for name, _, line in includes(text):
            target = os.path.dirname(name)
            if not is_ours(name):
                continue
            if room and target not in RIGHT_OF[room]:
                yield path, line, f"{room} must not include {name}"
            if not room and target.startswith("agent"):
                yield path, line, f"the library must not include {name}"


LIBC = set("""assert ctype errno fcntl float inttypes limits locale math poll pthread pwd grp sched setjmp
    signal spawn stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings
    syslog termios threads time unistd endian dirent getopt malloc""".split())


def is_system(name):
    return name[:-2] in LIBC or name.startswith(("sys/", "linux/", "netinet/", "arpa/"))


@rule("no-server-headers",
      "agent and pure rooms are linked without the server: a crash there must not be able to touch it")
def no_server_headers(tree):
    for path, text in sources(tree):
        in_agent = room_of(path).startswith("agent")
        if not in_agent and not is_pure(path):
            continue
        for name, _, line in includes(text):
            if is_ours(name):
                if name.startswith("base/") and stem(name) not in PURE_BASE:
                    yield path, line, f"{name} is for the server only"
            elif is_system(name) or name.startswith("openssl/"):
                pass
            elif not (in_agent and (name.startswith("curl/") or name == "jansson.h")):
                yield path, line, f"{name}: only the C library, OpenSSL and, in the agent, libcurl and Jansson"


@rule("version-if", "differences between server versions live in one place, base/compat.h")
def version_if(tree):
    for path, text in sources(tree):
        if path == "src/base/compat.h":
            continue
        for m in re.finditer(r"^[ \t]*#[ \t]*(?:el)?if.*\bPG_(?:MAJOR)?VERSION(?:_NUM)?\b", text, re.M):
            yield path, line_of(text, m.start()), "move this into base/compat.h"


@rule("base-names", "a file's name says which file it is, in a backtrace too")
def base_names(tree):
    seen = {}
    for path, _ in sources(tree):
        other = seen.setdefault(stem(path), path)
        if os.path.dirname(other) != os.path.dirname(path):
            yield path, 1, f"has the name of {other}"


# --- secrets, calls, errors ------------------------------------------------

NAMES = r"^(?:\w*_)?(?:secret|dek|passphrase|password|token|plain|plaintext|prk|okm%s)$" \
        r"|^(?:key|subkey|derived_key|shared_key)$"
WIPED = re.compile(NAMES % "")
SECRET = re.compile(NAMES % "|proof|mac|tag")


def names_a_secret(args, names):
    """The last name of an operand counts: secret->len, dek.key_id are no secrets."""
    args = re.sub(r"\bsizeof\s*(\([^()]*\)|\S+)", " ", args)
    args = re.sub(r"(?:->|\.)\s*(?:bytes|data)\b", "", args)
    return any(names.match(m.group(1))
               for m in re.finditer(r"\b([A-Za-z_]\w*)\b(?!\s*(?:->|\.|\())", args))


@rule("memcmp-on-secrets",
      "memcmp returns at the first difference and the compiler may drop a memset: pge_secret_equal, pge_secret_wipe")
def memcmp_on_secrets(tree):
    for path, text in sources(tree):
        code = code_only(text)
        for m in re.finditer(r"\b(memcmp|bcmp|strcmp|strncmp|memset|bzero)\s*(?=\()", code):
            args = arguments(code, m.end())
            if m.group(1) == "memset" and not re.search(r",\s*(?:0|'\\0')\s*,", args):
                continue
            if names_a_secret(args, SECRET if m.group(1) != "memset" else WIPED):
                yield path, line_of(code, m.start()), f"{m.group(1)}({' '.join(args.split())})"
        if path == "src/base/secret.c":
            continue
        for m in re.finditer(r"\b(explicit_bzero|OPENSSL_cleanse|CRYPTO_memcmp|memset_s)\s*\(", code):
            yield path, line_of(code, m.start()), f"{m.group(1)}: use base/secret.h"


UNSAFE = "strcpy strcat sprintf vsprintf stpcpy strncpy strncat gets system popen atoi atol atoll atof alloca " \
         "tmpnam mktemp rand random srand drand48"


@rule("unsafe-calls", "these overrun, cut off quietly, run a shell, or say nothing of a bad number")
def unsafe_calls(tree):
    calls = re.compile(r"(?<![\w.>])(" + "|".join(UNSAFE.split()) + r")\s*\(")
    for path, text in sources(tree) + sources(tree, "test/"):
        code = code_only(text)
        for m in calls.finditer(code):
            yield path, line_of(code, m.start()), f"{m.group(1)}()"


@rule("errcode", "an application tells errors apart by SQLSTATE; without one it reads as a broken server")
def errcode(tree):
    for path, text in sources(tree):
        code = code_only(text)
        for m in re.finditer(r"\bereport(?:_domain)?\s*(?=\()", code):
            args = arguments(code, m.end())
            level = args.split(",", 1)[0].strip()
            if all(re.fullmatch(r"LOG|COMMERROR|INFO|NOTICE|WARNING|DEBUG\d", choice)
                   for choice in re.split(r"[\s:]+", level.split("?")[-1].strip())):
                continue
            if not re.search(r"\berrcode\w*\s*\(", args):
                yield path, line_of(code, m.start()), f"ereport({level}) without errcode"


@rule("unfinished", "what is for later is in an issue, not in the tree")
def unfinished(tree):
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
    for path, text in tree.items():
        if path.startswith(("src/", "test/")) or path.endswith((".sql", ".md")) or path == "Makefile":
            for m in marks.finditer(text):
                yield path, line_of(text, m.start()), m.group(1)


# --- SQL -------------------------------------------------------------------

MAY_BE_PUBLIC = set("""envelope_encrypt envelope_encrypt_bytea envelope_decrypt envelope_decrypt_bytea
    envelope_reencrypt envelope_bind envelope_key_info envelope_is_encrypted envelope_verify envelope_status""".split())
SQL_TOKEN = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:''|[^'])*'|\$(\w*)\$.*?\$\1\$", re.S)


def sql_code(text):
    return SQL_TOKEN.sub(blank, text)


def top_level(args):
    """Splits at commas outside of parentheses."""
    parts, depth, current = [], 0, ""
    for c in args:
        depth += {"(": 1, ")": -1}.get(c, 0)
        if c == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += c
    return [p for p in parts + [current] if p.strip()]


def argument_types(args):
    """As COMMENT ON and REVOKE name a function: types only, no OUT arguments."""
    types = []
    for arg in top_level(args):
        arg = re.sub(r"\s+DEFAULT\b.*|\s*=.*", "", arg, flags=re.I | re.S).strip()
        mode = re.match(r"(?:(IN|OUT|INOUT|VARIADIC)\s+)?(.*)", arg, re.I | re.S)
        if (mode.group(1) or "").upper() == "OUT":
            continue
        words = mode.group(2).split()
        known = {"double", "character", "timestamp", "time", "bit"}
        types.append(" ".join(words if len(words) == 1 or words[0].lower() in known else words[1:]).lower())
    return ", ".join(types)


def routines(code, verb):
    """(kind, name, types, offset, what follows up to the semicolon) of each VERB FUNCTION name(args)."""
    for m in re.finditer(verb + r"\s+(FUNCTION|PROCEDURE|AGGREGATE)\s+([\w.@]+)\s*(?=\()", code, re.I):
        args = arguments(code, m.end())
        rest = code[m.end() + len(args) + 2:].split(";", 1)[0]
        yield m.group(1).upper(), m.group(2).lower(), argument_types(args), m.start(), rest


def install_scripts(tree):
    return [(p, sql_code(t)) for p, t in tree.items()
            if re.fullmatch(r"pg_envelope--[^/]*\.sql", p)]


@rule("comment", "\\d+ and \\df+ are the first documentation that a DBA opens")
def comment(tree):
    for path, code in install_scripts(tree):
        have = {(k, n, t) for k, n, t, _, _ in routines(code, r"\bCOMMENT\s+ON")}
        for kind, name, types, at, _ in routines(code, r"\bCREATE(?:\s+OR\s+REPLACE)?"):
            if (kind, name, types) not in have:
                yield path, line_of(code, at), f"no COMMENT ON {kind} {name}({types})"
        plain = r"(SCHEMA|TABLE|VIEW|TYPE|DOMAIN|SEQUENCE|INDEX|TRIGGER)\s+([\w.]+)"
        have = {(m.group(1).upper(), m.group(2).lower())
                for m in re.finditer(r"\bCOMMENT\s+ON\s+" + plain, code, re.I)}
        for m in re.finditer(r"\bCREATE\s+(?:UNIQUE\s+|UNLOGGED\s+)?(?:OR\s+REPLACE\s+)?" + plain, code, re.I):
            kind, name = m.group(1).upper(), m.group(2).lower()
            named = {n for k, n in have if k == kind}
            # An index is named without its schema where it is made.
            if name not in named and not (kind == "INDEX" and any(n.endswith("." + name) for n in named)):
                yield path, line_of(code, m.start()), f"no COMMENT ON {kind} {name}"


@rule("revoke", "what makes or changes KEKs, keys or grants is nobody's until it is granted")
def revoke(tree):
    for path, code in install_scripts(tree):
        revoked = set()
        for m in re.finditer(r"\bREVOKE\s+(?:ALL|EXECUTE)(?:\s+PRIVILEGES)?\s+ON\s+([^;]*?)\s+FROM\s+PUBLIC\b", code, re.I | re.S):
            text = re.sub(r"^(FUNCTION|PROCEDURE|ROUTINE)\s+", "", m.group(1), flags=re.I)
            for one in top_level(text):
                f = re.match(r"\s*([\w.]+)\s*\((.*)\)\s*$", one, re.S)
                if f:
                    revoked.add((f.group(1).lower(), argument_types(f.group(2))))
        for kind, name, types, at, rest in routines(code, r"\bCREATE(?:\s+OR\s+REPLACE)?"):
            if name in MAY_BE_PUBLIC or re.search(r"\bRETURNS\s+(?:event_)?trigger\b", rest, re.I):
                continue
            if (name, types) not in revoked:
                yield path, line_of(code, at), f"no REVOKE ALL ON {kind} {name}({types}) FROM PUBLIC"


@rule("security-definer", "a function that runs as its owner makes everyone the owner")
def security_definer(tree):
    for path, code in install_scripts(tree):
        for m in re.finditer(r"\bSECURITY\s+DEFINER\b", code, re.I):
            yield path, line_of(code, m.start()), "SECURITY DEFINER"


@rule("script-guard", "psql -f of an install script would make objects that no extension owns")
def script_guard(tree):
    for path, text in tree.items():
        if re.fullmatch(r"pg_envelope--[^/]*\.sql", path) and not re.search(r"^\\echo .*\\quit$", text, re.M):
            yield path, 1, "no \\echo ... \\quit guard"


# --- one truth in one place ------------------------------------------------

@rule("settings", "a setting that is not in README is not known; sorted, it is found")
def settings(tree):
    path = "src/base/settings.c"
    text = without_comments(tree.get(path, ""))
    defined = [(m.group(1), line_of(text, m.start()))
               for m in re.finditer(r"DefineCustom\w+Variable\s*\(\s*\"(?:pg_envelope\.)(\w+)\"", text)]
    names = [n for n, _ in defined]
    for (name, line), before in zip(defined[1:], names):
        if name < before:
            yield path, line, f"{name} stands after {before}"
    rows = set(re.findall(r"^\|\s*`(?:pg_envelope\.)?(\w+)`\s*\|", section(tree.get("README.md", ""), "Settings"), re.M))
    for name, line in defined:
        if name not in rows:
            yield path, line, f"{name} is not in README's table of settings"
    for name in sorted(rows - set(names)):
        yield "README.md", 1, f"the table of settings names {name}, which is none"


def section(text, title):
    m = re.search(r"^## [^\n]*\b" + title + r"\b[^\n]*\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return m.group(1) if m else ""


def asserted_codes(tree):
    """Every SQLSTATE that a test waits for: in a pattern or a quoted word, or in expected output."""
    found = set()
    for path, text in tree.items():
        if re.fullmatch(r"test/t/[^/]+\.pl", path):
            for line in text.split("\n"):
                line = re.sub(r"(^|\s)#.*", "", line)
                if not re.search(r"\b(?:unlike|isnt|diag|note)\b", line):
                    found.update(re.findall(r"['\"]([0-9A-Z]{5})['\"]", line))
                    for pattern in re.findall(r"/[^/]*/", line):
                        found.update(re.findall(r"(?<![0-9A-Z])[0-9A-Z]{5}(?![0-9A-Z])", pattern))
        elif re.fullmatch(r"(?:test/isolation/)?expected/[^/]+\.out", path):
            found.update(re.findall(r"^(?:ERROR:\s+)?([0-9A-Z]{5})(?::.*)?$", text, re.M))
    return found


@rule("sqlstates", "an SQLSTATE that README promises and no test has seen may be another one")
def sqlstates(tree):
    table = section(tree.get("README.md", ""), "SQLSTATE")
    asserted = asserted_codes(tree)
    for first in re.findall(r"^\| ([0-9A-Z, ]+?) \|", table, re.M):
        for code in first.split(", "):
            if len(code) == 5 and code not in asserted:
                yield "README.md", line_of(tree["README.md"], tree["README.md"].find(f"{code}")), f"no test asserts {code}"


@rule("version", "a version written twice is wrong once")
def version(tree):
    def find(path, pattern):
        m = re.search(pattern, tree.get(path, ""), re.M)
        return m.group(1) if m else None
    control = find("pg_envelope.control", r"^default_version\s*=\s*'([^']+)'")
    if control is None:
        yield "pg_envelope.control", 1, "no default_version"
        return
    if find("src/base/limits.h", r'^#define\s+PGE_VERSION\s+"([^"]+)"') != control:
        yield "src/base/limits.h", 1, f"PGE_VERSION is not {control}"
    if f"pg_envelope--{control}.sql" not in tree:
        yield "pg_envelope.control", 1, f"no script pg_envelope--{control}.sql"
    if find("CHANGELOG.md", r"^## (\S+)") != control:
        yield "CHANGELOG.md", 1, f"the newest heading is not {control}"
    for path, text in sources(tree):
        at = text.find(f'"{control}"')
        if at >= 0 and path != "src/base/limits.h":
            yield path, line_of(text, at), "use PGE_VERSION"


MACHINE = re.compile("|".join((
    r"(?<![\w.$}/])/" r"work/", r"\.\./" r"shared/", r"(?<![\w.$}])/home" r"/[a-z]\w*",
    r"pkg\." r"dev\b", r"artifact" r"ory", r"(?<![\w.])(?:10\.\d+|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d+){1,2}(?![\w.])",
    r"\bindex-" r"url\b", r"registry\." r"npmjs", r"proxy\.golang\." r"org", r"\bpypi\." r"org", r"pythonhosted\." r"org",
    r"\b(?:static|index)\.crates\." r"io", r"\bmaven\." r"(?:org|apache)", r"\b(?:apt|ftp|download)\.postgresql\." r"org",
    r"\b(?:deb|security|archive|snapshot|ftp(?:\.\w+)?)\.debian\." r"org", r"\b(?:archive|security)\.ubuntu\." r"com")))


@rule("machine", "what names one machine or one registry works nowhere else")
def machine(tree):
    for path, text in tree.items():
        if path.startswith(("test/vectors/", "test/fixtures/", "test/lint/")):
            continue
        for m in MACHINE.finditer(text):
            yield path, line_of(text, m.start()), m.group(0)


@rule("spdx", "a file that travels alone still says under which licence")
def spdx(tree):
    for path, text in tree.items():
        if not path.startswith(("src/", "test/")) or not path.endswith((".c", ".h", ".py", ".pm", ".sh", ".pml")):
            continue
        if not re.search(r"SPDX-License-Identifier: PostgreSQL", "\n".join(text.split("\n")[:90])):
            yield path, 1, "no SPDX-License-Identifier: PostgreSQL"


# NAME_1.out to NAME_9.out: other outputs that pg_regress takes for right, too.
PAIRS = ((r"sql/([^/]+)\.sql", "expected/%s.out"),
         (r"expected/([^/]+?)(?:_[1-9])?\.out", "sql/%s.sql"),
         (r"test/isolation/specs/([^/]+)\.spec", "test/isolation/expected/%s.out"),
         (r"test/isolation/expected/([^/]+?)(?:_[1-9])?\.out", "test/isolation/specs/%s.spec"))


@rule("expected", "a test without its expected output never ran; an output without its test never will")
def expected(tree):
    for path in tree:
        for pattern, partner in PAIRS:
            m = re.fullmatch(pattern, path)
            if m and partner % m.group(1) not in tree:
                yield path, 1, f"there is no {partner % m.group(1)}"


@rule("frozen", "somebody's values depend on it: every later version restores, updates and opens what a version wrote")
def unfrozen(tree):
    return find_unfrozen(tree)


@rule("mutants", "a mutant that does not fit the code any more proves nothing of it")
def mutants(tree):
    for path, mutant in read_all(tree):
        if isinstance(mutant, Fault):
            yield path, 1, str(mutant)


# --- running ---------------------------------------------------------------

def self_test():
    """Each rule is silent on the clean tree and speaks of each planted fault."""
    passed = failed = 0
    names = {name for name, _, _ in RULES}
    for name, _, function in RULES:
        found = list(function(CLEAN))
        faults = [f for n, f in PLANTED if n == name]
        if found:
            print(f"self-test: {name} finds {found[0]} in the clean tree")
        if not faults:
            print(f"self-test: no fault is planted for {name}")
        bad = bool(found) or not faults
        for files in faults:
            if not list(function({path: text for path, text in {**CLEAN, **files}.items() if text is not None})):
                print(f"self-test: {name} does not see what is planted in {', '.join(files)}")
                bad = True
        passed, failed = (passed, failed + 1) if bad else (passed + 1, failed)
    for name, _ in PLANTED:
        if name not in names:
            print(f"self-test: no rule {name}")
            failed += 1
    return passed, failed


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    top = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "..")
    passed, failed = self_test()
    tree = read_tree(top)
    for name, why, function in RULES:
        found = sorted(set(function(tree)))
        if not found:
            passed += 1
            continue
        failed += 1
        print(f"{name}: {why}")
        for path, line, message in found:
            print(f"  {path}:{line}: {message}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
