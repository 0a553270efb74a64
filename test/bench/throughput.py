"""Many processes at once: a parallel scan, and pgbench with 16 clients.

SPDX-License-Identifier: PostgreSQL
"""
import os
import re
import subprocess
import time

from rounds import QUICK, ROUNDS, in_rounds, ratios, spread
from server import BIN, DIR, PRODUCT, BenchError, Session
from targets import AT_LEAST, Target, figure

ROWS = 20_000 if QUICK else 1_000_000
ACCOUNTS = 2_000 if QUICK else 100_000
LENGTH = ("-t", "50") if QUICK else ("-T", "3")     # transactions of a client, or seconds
CLIENTS = 16
PROTOCOLS = ("simple", "prepared")

SCRIPTS = {
    "select": ("SELECT envelope_decrypt(ssn, 'x1') FROM sealed_accounts WHERE id = :id;",
               "SELECT ssn FROM plain_accounts WHERE id = :id;"),
    "update": ("UPDATE sealed_accounts SET ssn = envelope_encrypt('078-05-1120', 'x1') WHERE id = :id;",
               "UPDATE plain_accounts SET ssn = '078-05-1120' WHERE id = :id;"),
}


def _set_up(session):
    session.query(f"""
        CREATE UNLOGGED TABLE scanned AS SELECT envelope_encrypt(to_char(n, 'FM000"-"00"-"0000'), 'x1') AS sealed
            FROM generate_series(1, {ROWS}) n;
        ALTER TABLE scanned SET (parallel_workers = 2);
        CREATE TABLE plain_accounts (id int PRIMARY KEY, ssn text) WITH (fillfactor = 50);
        CREATE TABLE sealed_accounts (id int PRIMARY KEY, ssn bytea) WITH (fillfactor = 50);
        INSERT INTO plain_accounts SELECT n, to_char(n, 'FM000"-"00"-"0000') FROM generate_series(1, {ACCOUNTS}) n;
        INSERT INTO sealed_accounts SELECT id, envelope_encrypt(ssn, 'x1') FROM plain_accounts;
        VACUUM ANALYZE scanned, plain_accounts, sealed_accounts""")


def _scan(session, workers):
    session.query(f"SET max_parallel_workers_per_gather = {workers}")
    since = time.monotonic()
    opened = session.query("SELECT count(envelope_decrypt(sealed, 'x1')) FROM scanned")
    took = time.monotonic() - since
    if opened != str(ROWS):
        raise BenchError(f"{opened} of {ROWS} values were opened")
    return took


def _check_plan(session):
    session.query("SET max_parallel_workers_per_gather = 2")
    plan = session.query("EXPLAIN (ANALYZE, COSTS off) SELECT count(envelope_decrypt(sealed, 'x1')) FROM scanned")
    if "Workers Launched: 2" not in plan:
        raise BenchError("the scan did not get its two workers:\n" + plan)


def _check_accounts(session):
    """After the last update every value opens."""
    if session.query("SELECT bool_and(envelope_decrypt(s.ssn, 'x1') IN (p.ssn, '078-05-1120')"
                     " OR p.ssn = '078-05-1120') FROM sealed_accounts s JOIN plain_accounts p USING (id)") != "t":
        raise BenchError("an account does not open to what was sealed")


def _pgbench(script, protocol):
    """Transactions per second."""
    done = subprocess.run(
        [BIN + "/pgbench", "-n", "-h", DIR + "/run", "-p", str(PRODUCT), "-U", "postgres", "-M", protocol,
         "-c", str(CLIENTS), "-j", str(min(CLIENTS, os.cpu_count())), *LENGTH, "-f", script, "bench"],
        capture_output=True, encoding="utf-8", check=False)
    found = re.search(r"^tps = ([\d.]+) \(without initial", done.stdout, re.M)
    if done.returncode != 0 or not found or not re.search(r"failed transactions: 0 ", done.stdout):
        raise BenchError("pgbench: " + (done.stderr or done.stdout).strip())
    return float(found.group(1))


def _script(what, sealed):
    path = f"{DIR}/{what}-{'sealed' if sealed else 'plain'}.sql"
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"\\set id random(1, {ACCOUNTS})\n{SCRIPTS[what][0 if sealed else 1]}\n")
    return path


def measure(journal, say):
    session = Session(PRODUCT)
    _set_up(session)
    _check_plan(session)
    measured = in_rounds([("scan, one process", lambda: _scan(session, 0)),
                          ("scan, two workers", lambda: _scan(session, 2))], ROUNDS, journal, "scan")
    say(f"scans of {ROWS:,} rows")
    cases = []
    for what in SCRIPTS:
        for protocol in PROTOCOLS:
            for sealed in (True, False):
                name = f"{what}, {protocol} protocol, {'sealed' if sealed else 'plain'}"
                cases.append((name, lambda s=_script(what, sealed), p=protocol: _pgbench(s, p)))
    measured.update(in_rounds(cases, ROUNDS, journal, "pgbench"))
    _check_accounts(session)
    session.close()
    say(f"pgbench, {CLIENTS} clients")
    return measured


def targets(measured):
    speedup = ratios(measured["scan, one process"], measured["scan, two workers"])
    one = spread(measured["scan, one process"]).median
    found = [Target("parallel scan, 2 workers and the leader: by one process", AT_LEAST, 1.7, "x", speedup,
                    f"{ROWS:,} rows, one process {one:.2f} s; {os.cpu_count()} cores")]
    for what in SCRIPTS:
        for protocol in PROTOCOLS:
            name = f"{what}, {protocol} protocol"
            plain = spread(measured[name + ", plain"]).median
            found.append(Target(f"pgbench {name}: by the same without encryption", AT_LEAST, 0.95, "x",
                                ratios(measured[name + ", sealed"], measured[name + ", plain"]),
                                f"without {figure(plain)} per s"))
    return found
