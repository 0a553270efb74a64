"""What is frozen: the SQL scripts, values and fixtures of versions that are out.

test/fixtures/SHA256SUMS pins them, a line a file as sha256sum writes it; lines are only ever
added to it (test/fixtures/make.sh does).  Whoever changes a file and its line together is
seen by what git knows of that file: pinned.sh prints every line that it ever had.

A version is out when test/fixtures has its folder.  The scripts of default_version may still
change until then.

SPDX-License-Identifier: PostgreSQL
"""
import hashlib
import re

SUMS = "test/fixtures/SHA256SUMS"
EVER = "test/fixtures/.pinned"
LINE = re.compile(r"([0-9a-f]{64})  (\S+)")
SCRIPT = re.compile(r"pg_envelope--([^-/]+(?:-[^-/]+)*?)(?:--([^/]+?))?\.sql")
BACK = "put it back as it was (git checkout)"
NEXT = "; a change of the SQL is a new default_version with a script that updates to it (CONTRIBUTING.md, \"Change the SQL\")"


def digest(text):
    """Of the bytes that were read (see read_tree in lint.py)."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def scripts(tree):
    """(path, from or None, to) of each script of the extension."""
    for path in sorted(tree):
        m = SCRIPT.fullmatch(path)
        if m:
            yield (path, m.group(1), m.group(2)) if m.group(2) else (path, None, m.group(1))


def reaches(tree, start, goal):
    known, new = {start}, {start}
    while new:
        new = {to for _, of, to in scripts(tree) if of in new} - known
        known |= new
    return goal in known


def frozen(tree):
    pinned = {}
    for number, line in enumerate(tree.get(SUMS, "").splitlines(), 1):
        m = LINE.fullmatch(line)
        if m is None:
            yield SUMS, number, "no line of sha256sum"
            continue
        pinned[m.group(2)] = m.group(1)
        advice = BACK + (NEXT if SCRIPT.fullmatch(m.group(2)) else "")
        if m.group(2) not in tree:
            yield m.group(2), 1, f"is frozen, and gone: {advice}"
        elif digest(tree[m.group(2)]) != m.group(1):
            yield m.group(2), 1, f"is frozen, and changed: {advice}"
    lines = set(tree.get(SUMS, "").splitlines())
    for line in tree.get(EVER, "").splitlines():
        if line not in lines:
            yield SUMS, 1, f"had the line \"{line[:12]}...{line[64:]}\" once: what is pinned stays pinned; {BACK}"
    yield from versions(tree, pinned)


def versions(tree, pinned):
    m = re.search(r"^default_version\s*=\s*'([^']+)'", tree.get("pg_envelope.control", ""), re.M)
    current = m.group(1) if m else ""
    folders = {path.split("/")[2] for path in tree if path.startswith("test/fixtures/") and path.count("/") > 2}
    for path in sorted(tree):
        if path.startswith("test/fixtures/") and path.count("/") > 2 and path not in pinned:
            yield path, 1, f"is new in a frozen folder: {BACK}, or take it away"
    for path, of, to in scripts(tree):
        if path in pinned:
            continue
        if to in folders:
            yield path, 1, f"{to} is out, and this script is not pinned in {SUMS}" + NEXT
        elif to != current:
            yield path, 1, f"leads to {to}, which is neither out (test/fixtures/{to}) nor the default_version"
    out = folders | {to for path, of, to in scripts(tree) if of is None}
    for version in sorted(out):
        if f"pg_envelope--{version}.sql" not in tree:
            yield "pg_envelope.control", 1, f"{version} is out, and pg_envelope--{version}.sql is gone: its dumps are updated from it"
        if not reaches(tree, version, current):
            yield "pg_envelope.control", 1, f"no script leads from {version} to {current}: write pg_envelope--{version}--{current}.sql"
