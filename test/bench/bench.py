#!/usr/bin/env python3
"""The benchmark, on servers that bench.sh has started: measures, judges, writes.

SPDX-License-Identifier: PostgreSQL
"""
import datetime
import os
import sys
import time

import latency
import machine
import memory
import plot
import rewrap
import rows
import targets
import throughput
import value_report
import values
from rounds import QUICK, ROUNDS, Journal
from server import BIN, DIR, EACH_SALT, PRODUCT, WITHOUT, BenchError, Session, create_database

STARTED = time.monotonic()


def say(what):
    print(f"bench: {time.monotonic() - STARTED:4.0f} s  {what}", file=sys.stderr, flush=True)


def set_up():
    for port in (PRODUCT, EACH_SALT, WITHOUT):
        create_database(port, "bench")
        session = Session(port)
        session.query("CREATE EXTENSION pgcrypto")
        if port != WITHOUT:
            session.query("CREATE EXTENSION pg_envelope; SELECT envelope_create_kek('main')")
            functions(session)
            keys = values.KEYS if port == PRODUCT else 1
            session.query(f"SELECT count(envelope_create_key('x' || n, 'main', 'XAES_256_GCM')),"
                          f" count(envelope_create_key('g' || n, 'main', 'AES256_GCM')) FROM generate_series(1, {keys}) n")
        session.close()
    say("servers and keys")


def functions(session):
    """Those of yardstick.c and measure.c."""
    library = f"AS '{DIR}/yardstick' LANGUAGE C VOLATILE"
    for nonce in ("counter", "pool"):
        for kind in ("xaes", "salt", "gcm"):
            session.query(f"CREATE FUNCTION yardstick_seal_{kind}_{nonce}(text) RETURNS bytea {library} STRICT")
    for kind in ("xaes", "salt", "gcm"):
        session.query(f"CREATE FUNCTION yardstick_open_{kind}(bytea) RETURNS text {library} STRICT")
    session.query(f"""
        CREATE FUNCTION yardstick_noop(text) RETURNS text {library};
        CREATE FUNCTION bench_cpu_ns() RETURNS float8 {library};
        CREATE FUNCTION bench_evp_seal(xaes bool, size int, times int) RETURNS float8 {library} STRICT;
        CREATE FUNCTION bench_evp_open(xaes bool, size int, times int) RETURNS float8 {library} STRICT""")
    lists = ", ".join(f"{name} bytea[] DEFAULT NULL" for name in "abcd")
    session.query(f"""
        CREATE FUNCTION bench_loop(function regprocedure, times int, {lists}) RETURNS float8 {library};
        CREATE FUNCTION bench_calls(function regprocedure, times int, {lists}) RETURNS float8[] {library}""")


def heading(top):
    kind = "QUICK: every row, too few repetitions to judge by" if QUICK else f"{ROUNDS} interleaved rounds"
    lines = [f"pg_envelope bench, {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC; {kind}"]
    lines += [f"{name + ':':<13}{text}" for name, text in machine.describe(top, BIN)]
    lines.append("cores:       awake: the work itself keeps them so, and spinners of lowest priority for what waits (misses,"
                 " prewarming), unless \"idle\" is said; rewrap_all as it comes")
    return lines


def main():
    top, output = sys.argv[1:]
    head = heading(top)
    print("\n".join(head), flush=True)
    journal = Journal(output + "/measurements.tsv")
    set_up()
    of_values = values.measure(journal, say)
    control = value_report.control(of_values)
    if control.held or control.spread.median < 0.8 * rows.SLOWER_NS:
        raise BenchError("a seal that is 5 us slower was not noticed")
    found = value_report.targets(of_values)
    for part in (latency, throughput, rewrap, memory):
        found += part.targets(part.measure(journal, say))
    journal.close()

    body = ["", *value_report.table(of_values), "", *value_report.differences_at(of_values, 11), "",
            *value_report.pgcrypto(of_values), "",
            *targets.lines(found + [control]), "",
            f"plot: {output}/plot.svg; every measurement: {output}/measurements.tsv",
            f"{time.monotonic() - STARTED:.0f} s; {targets.closing_line(found)}"]
    print("\n".join(body))
    with open(output + "/table.txt", "w", encoding="utf-8") as f:
        f.write("\n".join(head + body) + "\n")
    with open(output + "/plot.svg", "w", encoding="utf-8") as f:
        f.write(plot.draw(of_values, "What one value costs", [" ".join(line.split()) for line in head]))


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
