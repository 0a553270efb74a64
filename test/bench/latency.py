"""What is paid once: the first value of a transaction, a miss, a prewarming.

The server's own clock, around the call alone.  The cores' state matters here,
since most of these wait for another process to wake up: both are measured.

SPDX-License-Identifier: PostgreSQL
"""
import time

from machine import AwakeCores
from rounds import QUICK, ROUNDS, in_rounds, spread
from server import PRODUCT, BenchError, Session
from targets import AT_MOST, Target, figure

TRANSACTIONS = 50 if QUICK else 1000
MISSES = 10 if QUICK else 200
KEYS = 1000
PAUSE = 0.005       # seconds in which a core falls asleep

PROCEDURES = """
    CREATE TABLE taken (ns float8);
    -- What the first value of a transaction costs more than its second.
    CREATE PROCEDURE first_values(function regprocedure, times int, first text, second text) LANGUAGE plpgsql AS $$
        DECLARE
            a bytea[] := (SELECT items FROM inputs WHERE name = first AND size IN (0, 11));
            b bytea[] := (SELECT items FROM inputs WHERE name = second AND size IN (0, 11));
            call float8[];
            more float8[];
        BEGIN
            FOR i IN 1 .. times LOOP
                call := bench_calls(function, 2, a, b);
                more := more || (call[1] - call[2]);
                COMMIT;
            END LOOP;
            INSERT INTO taken SELECT unnest(more);
        END $$;
    -- What a value costs whose DEK is in no cache.
    CREATE PROCEDURE misses(function regprocedure, times int, pause float8, first text, second text) LANGUAGE plpgsql AS $$
        DECLARE
            a bytea[] := (SELECT items FROM inputs WHERE name = first AND size IN (0, 11));
            b bytea[] := (SELECT items FROM inputs WHERE name = second AND size IN (0, 11));
            call float8[];
            took float8[];
        BEGIN
            FOR i IN 1 .. times LOOP
                PERFORM envelope_cache_flush();
                COMMIT;
                IF pause > 0 THEN PERFORM pg_sleep(pause); END IF;
                call := bench_calls(function, 1, a, b);
                took := took || call[1];
                COMMIT;
            END LOOP;
            INSERT INTO taken SELECT unnest(took);
        END $$"""

CALLS = {
    "seal XAES": ("envelope_encrypt(text,text)", "plain", "one"),
    "open XAES": ("envelope_decrypt(bytea,text)", "sealed apart", "one"),
    "seal GCM": ("envelope_encrypt(text,text)", "plain", "compact"),
    "open GCM": ("envelope_decrypt(bytea,text)", "sealed compact", "compact"),
}


class Latency:
    def __init__(self):
        self.session = Session(PRODUCT)
        self.session.query(PROCEDURES)

    def _taken_us(self, procedure):
        """The median in microseconds of what one run of it took."""
        self.session.query("TRUNCATE taken")
        self.session.query("CALL " + procedure)
        return spread(self.session.numbers("SELECT array_agg(ns) FROM taken")).median / 1000

    def first_value(self, call):
        return self._taken_us("first_values('%s', %d, '%s', '%s')" % (CALLS[call][0], TRANSACTIONS, *CALLS[call][1:]))

    def miss(self, call, pause):
        return self._taken_us("misses('%s', %d, %g, '%s', '%s')" % (CALLS[call][0], MISSES, pause, *CALLS[call][1:]))

    def prewarm(self):
        """Seconds."""
        self.session.query("SELECT envelope_cache_flush()")
        since = time.monotonic()
        warmed = self.session.query(f"SELECT envelope_prewarm(array_agg('x' || n)) FROM generate_series(1, {KEYS}) n")
        took = time.monotonic() - since
        if warmed != str(KEYS):
            raise BenchError(f"{warmed} of {KEYS} keys were prewarmed")
        return took


def measure(journal, say):
    latency = Latency()
    first = [(f"first value of a transaction, {call}", lambda call=call: latency.first_value(call)) for call in CALLS]
    measured = {}
    with AwakeCores():
        awake = first + [("cache miss, cores awake", lambda: latency.miss("seal XAES", 0)),
                         ("prewarm, cores awake", latency.prewarm)]
        measured.update(in_rounds(awake, ROUNDS, journal, "awake"))
    idle = [("cache miss, cores idle", lambda: latency.miss("seal XAES", PAUSE)),
            ("prewarm, cores idle", latency.prewarm)]
    measured.update(in_rounds(idle, ROUNDS, journal, "idle"))
    latency.session.close()
    say("first values, misses, prewarming")
    return measured


def targets(measured):
    found = [Target(f"first value of a transaction, {call}: above the second", AT_MOST, 4, "us",
                    measured[f"first value of a transaction, {call}"]) for call in CALLS]
    asleep = spread(measured["cache miss, cores idle"])
    found.append(Target("cache miss, local keyring, cores awake", AT_MOST, 300, "us", measured["cache miss, cores awake"],
                        f"cores idle before each: {figure(asleep.median)} ({figure(asleep.low)} … {figure(asleep.high)})"))
    asleep = spread(measured["prewarm, cores idle"])
    found.append(Target(f"{KEYS:,} keys prewarmed, cores awake", AT_MOST, 0.5, "s", measured["prewarm, cores awake"],
                        f"cores not kept awake: {figure(asleep.median)}"))
    return found
