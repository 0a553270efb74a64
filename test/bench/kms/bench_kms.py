#!/usr/bin/env python3
"""What the way to a key service costs, on the server that bench_kms.sh has started.

Each rewrap is bounded by its own count of calls: (calls / kms_concurrency) x latency is
what it would take if nothing but the service's latency cost time.

SPDX-License-Identifier: PostgreSQL
"""
import os
import subprocess
import sys
import time

import machine
import targets
from rewrap import Peak
from rounds import QUICK, Journal
from server import BIN, DIR, PRODUCT, BenchError, Session, create_database
from service import LATENCY, Stub, requests
from targets import AT_LEAST, AT_MOST, Target, figure

DEKS = 500 if QUICK else 10_000
COLD = 100 if QUICK else 1_000
BACKENDS = 50 if QUICK else 500
ROUNDS = 1 if QUICK else 3
CONCURRENCY = 16    # pg_envelope.kms_concurrency's default
STARTED = time.monotonic()

# From, to, calls of the service for each DEK where they go one by one: (unwrap under old), wrap and
# unwrap again under new, and a look at the key before a wrap (Vault); ReEncrypt and the proof (AWS).
PAIRS = [
    ("local", "one", 3),
    ("one", "one2", 4),
    ("one2", "local2", 1),
    ("local2", "batches", None),
    ("batches", "batches2", None),
    ("batches2", "local3", None),
    ("local3", "aws", 2),
    ("aws", "aws2", 2),
    ("aws2", "local", 1),
]


def say(what):
    print(f"bench-kms: {time.monotonic() - STARTED:4.0f} s  {what}", file=sys.stderr, flush=True)


def bound(calls):
    return calls / CONCURRENCY * LATENCY


def set_up():
    create_database(PRODUCT, "bench")
    session = Session(PRODUCT)
    session.query("CREATE EXTENSION pg_envelope")
    for name in ("local", "local2", "local3"):
        session.query(f"SELECT envelope_create_kek('{name}')")
    for name in ("one", "one2", "batches", "batches2"):
        session.query(f"SELECT envelope_create_kek('{name}', 'vault://127.0.0.1:{os.environ['BENCH_STUB_PORT']}/transit/keys/{name}')")
    for name in ("aws", "aws2"):
        session.query(f"SELECT envelope_create_kek('{name}', 'aws-kms://arn:aws:kms:eu-west-1:111122223333:key/{name}')")
    session.query(f"SELECT count(envelope_create_key('k' || n, 'local')) FROM generate_series(1, {DEKS}) n")
    session.query("CREATE TABLE sealed AS SELECT envelope_encrypt('v', 'k1') AS s; VACUUM ANALYZE")
    return session


def rewrap(session, stub, old, new):
    """(seconds, what the stub counted, peak KiB of the agent)"""
    session.query(f"SELECT envelope_enable_kek('{new}')")
    agent = int(session.query("SELECT value FROM envelope_status() WHERE name = 'agent_pid'"))
    stub.reset()
    with Peak(agent) as peak:
        since = time.monotonic()
        answer = session.query(f"SELECT outcome, count(*) FROM rewrap_all('{old}', '{new}') GROUP BY 1")
        took = time.monotonic() - since
    counted = stub.counted()
    session.query("SELECT envelope_cache_flush()")
    opened = session.query("SELECT envelope_decrypt(s, 'k1') FROM sealed")
    if (answer, opened) != (f"rewrapped|{DEKS}", "v"):
        raise BenchError(f"{old} to {new}: {answer}; the value opens as \"{opened}\"")
    return took, counted, peak.kib


def prewarm(session, stub):
    """(seconds, requests) for COLD data keys."""
    session.query("SELECT envelope_cache_flush()")
    stub.reset()
    since = time.monotonic()
    warmed = session.query(f"SELECT envelope_prewarm(array_agg('k' || n)) FROM generate_series(1, {COLD}) n")
    took = time.monotonic() - since
    if warmed != str(COLD):
        raise BenchError(f"{warmed} of {COLD} keys were prewarmed")
    return took, requests(stub.counted())


def stampede(session, stub):
    """Calls for a DEK that all backends miss while the service does not answer."""
    with open(DIR + "/open.sql", "w", encoding="utf-8") as script:
        script.write("SELECT envelope_decrypt(s, 'k1') FROM sealed;\n")
    session.query("SELECT envelope_cache_flush()")
    stub.reset()
    stub.hold()
    crowd = subprocess.Popen([BIN + "/pgbench", "-n", "-h", DIR + "/run", "-p", str(PRODUCT), "-U", "postgres", "-c", str(BACKENDS), "-j", "4",
                              "-t", "1", "-f", DIR + "/open.sql", "bench"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
    waiting = 0
    until = time.monotonic() + 45
    while waiting < BACKENDS and time.monotonic() < until and crowd.poll() is None:
        # in the agent: a backend waits before, too, while it makes its connection; nothing if the agent takes a second
        waiting = int(session.query("SELECT value FROM envelope_status() WHERE name = 'agent_requests_waiting'") or 0)
        time.sleep(0.02)
    stub.go_on()
    said, _ = crowd.communicate()
    if crowd.returncode != 0 or waiting != BACKENDS:
        raise BenchError(f"{waiting} of {BACKENDS} backends waited:\n{said}")
    return requests(stub.counted())


def pair_line(old, new, took, counted):
    calls = requests(counted)
    kinds = ", ".join(f"{name} {count[0]:,}" for name, count in counted.items() if name not in ("handshakes", "login"))
    return f"{old + ' -> ' + new:<22} {took:8.2f} s  {calls:>7,} calls ({calls / DEKS:.3f} for each DEK: {kinds})  {DEKS / took:>8,.0f} DEK/s"


def main():
    top, output = sys.argv[1:]
    kind = "QUICK: too few data keys to judge by" if QUICK else f"{ROUNDS} rounds"
    head = [f"pg_envelope bench-kms, {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC; {kind}; {DEKS:,} DEKs, a stub with {LATENCY * 1000:.0f} ms"]
    head += [f"{name + ':':<13}{text}" for name, text in machine.describe(top, BIN)]
    print("\n".join(head), flush=True)
    journal = Journal(output + "/kms.tsv")
    stub = Stub()
    rates = [stub.rate()]
    say("the stub's own rate")
    session = set_up()
    say(f"{DEKS:,} DEKs")

    times, ratios, memory, handshakes, lines = {}, {}, {}, [], {}
    warm = {"one": [], "batches": []}
    calls_of_crowd = []
    for number in range(1, ROUNDS + 1):
        for source, target, expected in PAIRS:
            took, counted, kib = rewrap(session, stub, source, target)
            name = f"{source} -> {target}"
            calls = requests(counted)
            if expected is not None and not expected * DEKS <= calls <= expected * DEKS + 4:
                raise BenchError(f"{name}: {calls} calls for {DEKS} DEKs, and {expected} for each were listed")
            lines.setdefault(name, []).append(pair_line(source, target, took, counted))
            times.setdefault(name, []).append(took)
            if expected is not None:
                ratios.setdefault(name, []).append(took / bound(calls))
            handshakes.append(counted["handshakes"])
            memory.setdefault(name, []).append(kib)
            journal.write("rewrap s", number, name, took)
            journal.write("rewrap calls", number, name, calls)
            journal.write("agent KiB", number, name, kib)
            journal.write("handshakes", number, name, counted["handshakes"])
            if target in warm:
                seconds, cold_calls = prewarm(session, stub)
                warm[target].append((seconds, cold_calls))
                journal.write("prewarm s", number, target, seconds)
            if target == "one":
                calls_of_crowd.append(stampede(session, stub))
        say(f"round {number}")
    rates.append(stub.rate())
    session.close()
    stub.close()
    journal.close()

    found = [Target("the stub alone: calls a second", AT_LEAST, 10_000, "", rates)]
    found.append(Target(f"{BACKENDS} backends miss one DEK: calls", AT_MOST, 1, "", calls_of_crowd))
    found.append(Target(f"{COLD:,} DEKs prewarmed, one by one: time / bound", AT_MOST, 1.5, "x", [t / bound(c) for t, c in warm["one"]],
                        f"{figure(warm['one'][0][0])} s, {warm['one'][0][1]:,} calls; in batches {figure(warm['batches'][0][0])} s, {warm['batches'][0][1]:,} calls"))
    for name, measured in ratios.items():
        found.append(Target(f"rewrap_all {name}, one by one: time / bound", AT_MOST, 1.3, "x", measured))
    for one, many in (("local -> one", "local2 -> batches"), ("one -> one2", "batches -> batches2")):
        found.append(Target(f"batches against one by one: {one}", AT_LEAST, 10, "x",
                            [a / b for a, b in zip(times[one], times[many], strict=True)]))
    found.append(Target("TLS handshakes in a rewrap", AT_MOST, CONCURRENCY, "", handshakes))
    peaks = [kib for kibs in memory.values() for kib in kibs]
    found.append(Target("the agent's memory, of each pair: last round above the first", AT_MOST, 1024, "KiB", [kibs[-1] - kibs[0] for kibs in memory.values()],
                        f"peaks {min(peaks):,} … {max(peaks):,} KiB"))
    body = ["", *[line for several in lines.values() for line in several], "",
            *targets.lines(found), "", f"{time.monotonic() - STARTED:.0f} s; {targets.closing_line(found)}"]
    print("\n".join(body))
    with open(output + "/kms.txt", "w", encoding="utf-8") as f:
        f.write("\n".join(head + body) + "\n")


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"bench-kms: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
