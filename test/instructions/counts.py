#!/usr/bin/env python3
"""Instruction counts of sealing and opening one value, for run.sh.

usage: counts.py sql-prepare ROWS | sql-measure ROWS
       counts.py --check|--write ROWS DIRECTORY FILE BUILD LIBRARIES

A case runs over ROWS values and over twice as many; the difference, divided by
ROWS, is one value, without what a statement or a transaction costs once.
Three figures per case:
  ours   instructions in pg_envelope.so itself
  calls  calls from there into other libraries and the server
  all    everything but what the server's own program did, which scans
"ours" and "calls" depend on compiler and server only, and are compared where
these are those of FILE.  "all" depends on OpenSSL and on what processor valgrind
plays (as the machine's own allows) too: it is compared where these are the same.

SPDX-License-Identifier: PostgreSQL
"""
import collections
import glob
import os
import re
import sys

MARGIN = {"ours": 0.05, "calls": 0.05, "all": 0.05}
ALGORITHMS = {"XAES_256_GCM": "x", "AES256_GCM": "g"}
SIZES = (11, 1024)


def cases():
    """Name, table, expression."""
    for algorithm, key in ALGORITHMS.items():
        for size in SIZES:
            yield f"seal {algorithm} {size}", f"plain_{size}", f"envelope_encrypt(v, '{key}')"
            yield f"open {algorithm} {size}", f"sealed_{key}_{size}", f"envelope_decrypt(v, '{key}')"
    yield "open XAES_256_GCM 11, salts differ", "sealed_salts", "envelope_decrypt(v, 'x')"


def slug(name):
    return re.sub(r"\W+", "_", name)


def sql_prepare(rows):
    print("CREATE EXTENSION pg_envelope; SET client_min_messages = error;")
    print("SELECT envelope_create_kek('main');")
    for algorithm, key in ALGORITHMS.items():
        print(f"SELECT envelope_create_key('{key}', 'main', '{algorithm}');")
    for size in SIZES:
        print(f"CREATE TABLE plain_{size} (v text); ALTER TABLE plain_{size} ALTER v SET STORAGE EXTERNAL;")
        print(f"INSERT INTO plain_{size} SELECT lpad(n::text, {size}, 'value ') FROM generate_series(1, {2 * rows}) n;")
        for key in ALGORITHMS.values():
            print(f"CREATE TABLE sealed_{key}_{size} (v bytea); ALTER TABLE sealed_{key}_{size} ALTER v SET STORAGE EXTERNAL;")
            print(f"INSERT INTO sealed_{key}_{size} SELECT envelope_encrypt(v, '{key}') FROM plain_{size};")
    # A salt serves a transaction.
    print("CREATE TABLE sealed_salts (v bytea);")
    print(f"DO $$ BEGIN FOR n IN 1 .. {2 * rows} LOOP INSERT INTO sealed_salts VALUES"
          " (envelope_encrypt(lpad(n::text, 11, 'value '), 'x')); COMMIT; END LOOP; END $$;")
    for function, arguments in (("meter_start", ""), ("meter_dump", "text")):
        print(f"CREATE FUNCTION {function}({arguments}) RETURNS void AS 'meter' LANGUAGE C;")
    print("VACUUM ANALYZE;")


def sql_measure(rows):
    statements = []
    for name, table, expression in cases():
        for factor in (1, 2):
            statements.append((f"{slug(name)}.{factor}",
                               f"SELECT count({expression}) FROM (SELECT v FROM {table} LIMIT {factor * rows}) t;"))
    for _, statement in statements:     # caches and pages warm
        print(statement)
    for name, statement in statements:
        print(f"SELECT meter_start();\n{statement}\nSELECT meter_dump('{name}');")


def parse(path):
    """What triggered a dump, and its counts by figure."""
    objects = {}
    ob = cob = None
    trigger = None
    counts = collections.Counter()
    call = None

    def name(text):
        number, _, rest = text.partition(" ")
        if rest:
            objects[number] = os.path.basename(rest)
        return objects[number]

    with open(path) as lines:
        for line in lines:
            line = line.rstrip("\n")
            if line.startswith("desc: Trigger:"):
                trigger = line.split()[-1]
            elif line.startswith("ob="):
                ob = name(line[3:])
            elif line.startswith("cob="):
                cob = name(line[4:])
            elif line.startswith("calls="):
                call = int(line[6:].split()[0])
                if ob == "pg_envelope.so" and cob not in (None, ob):
                    counts["calls"] += call
                cob = None
            elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
                if call is None and ob != "postgres":
                    counts["all"] += int(line.split()[1])
                    if ob == "pg_envelope.so":
                        counts["ours"] += int(line.split()[1])
                call = None     # the line after "calls=" is the callee's cost
    return trigger, counts


def measure(rows, directory):
    dumps = dict(parse(path) for path in glob.glob(directory + "/out.*"))
    figures = {}
    for name, _, _ in cases():
        once, twice = (dumps.get(f"{slug(name)}.{factor}") for factor in (1, 2))
        if not once or not twice:
            sys.exit(f"no counts of \"{name}\"")
        figures[name] = {f: (twice[f] - once[f]) / rows for f in MARGIN}
    return figures


def write(path, build, libraries, figures):
    with open(path, "w") as out:
        out.write("# Instructions per value, written by \"test/instructions/run.sh --write\"; counts.py says what the figures are.\n"
                  "# SPDX-License-Identifier: PostgreSQL\n")
        out.write(f"build: {build}\nlibraries: {libraries}\n")
        for name, figure in figures.items():
            out.write(f"{name}: {figure['ours']:.1f} {figure['calls']:.2f} {figure['all']:.0f}\n")


def read(path):
    lines = [line.rstrip("\n").split(": ", 1) for line in open(path) if not line.startswith("#")]
    head = {key: text for key, text in lines[:2]}
    figures = {key: dict(zip(MARGIN, map(float, text.split()))) for key, text in lines[2:]}
    return head["build"], head["libraries"], figures


def too_far(measured, expected, which):
    return [(name, f) for name in expected for f in which
            if name not in measured or
            abs(measured[name][f] - expected[name][f]) > MARGIN[f] * expected[name][f]]


def check(path, build, libraries, measured):
    expected_build, expected_libraries, expected = read(path)
    print(f"{'per value':38} {'ours':>16} {'calls':>16} {'all':>16}")
    for name, figure in measured.items():
        before = expected.get(name, dict.fromkeys(MARGIN, 0))
        print(f"{name:38}" + "".join(f" {figure[f]:8.1f} ({before[f]:5.0f})" for f in MARGIN))
    print(f"(in brackets what is expected; with {build}; {libraries})")
    if build != expected_build:
        print(f"skipped: {path} is of {expected_build}, this is {build}")
        sys.exit(77)
    which = ["ours", "calls"]
    if libraries == expected_libraries:
        which.append("all")
    else:
        print(f"\"all\" is not compared: {path} is of {expected_libraries}")
    bad = too_far(measured, expected, which)
    for name, f in bad:
        print(f"not ok - {name}: \"{f}\" is not within {MARGIN[f]:.0%} of {expected[name][f]:g}")
    # The control: a slowdown, or a speed-up nobody wrote down, of 6 % is seen in every figure.
    missed = 0
    for factor in (1.06, 0.94):
        planted = {name: {f: x * factor for f, x in figure.items()} for name, figure in expected.items()}
        missed += len(expected) * len(which) - len(too_far(planted, expected, which))
    if missed:
        print(f"not ok - {missed} planted differences were not seen")
    failed = len(bad) + missed
    print(f"{len(expected) * len(which) + 1 - len(bad)} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def main():
    verb, rows = sys.argv[1], int(sys.argv[2])
    if verb == "sql-prepare":
        sql_prepare(rows)
    elif verb == "sql-measure":
        sql_measure(rows)
    else:
        directory, path, build, libraries = sys.argv[3:]
        figures = measure(rows, directory)
        if verb == "--write":
            write(path, build, libraries, figures)
        else:
            check(path, build, libraries, figures)


main()
