"""Memory that backends have for themselves, as the kernel counts it.

Each figure is that of a new backend: Private_Dirty of its private mappings,
which is what one more connection costs.  (smaps_rollup would add the pages of
shared buffers that happen to be mapped by no other backend just now.)

SPDX-License-Identifier: PostgreSQL
"""
import re

from rounds import ROUNDS, differences, in_rounds, spread
from server import PRODUCT, WITHOUT, BenchError, Session
from targets import AT_MOST, Target

FEW, MANY = 16, 1000


_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ ...([sp]) ")


def private_dirty(smaps):
    """KiB; smaps: its lines."""
    found, private = 0, None
    for line in smaps:
        mapping = _MAPPING.match(line)
        if mapping:
            private = mapping.group(1) == "p"
        elif line.startswith("Private_Dirty:") and private:
            found += int(line.split()[1])
    if private is None:
        raise BenchError("the kernel does not show a backend's memory")
    return found


def _fresh(port, *statements):
    """KiB of a new backend that has run these."""
    session = Session(port)
    for sql in statements:
        session.query(sql)
    with open(f"/proc/{session.pid}/smaps", encoding="utf-8", errors="replace") as f:
        found = private_dirty(f)
    session.close()
    return found


def _use_keys(count):
    return ("SELECT count(envelope_decrypt(envelope_encrypt('v', 'x' || n), 'x' || n))"
            f" FROM generate_series(1, {count}) n")


PGCRYPTO = ("SELECT count(decrypt(encrypt(('v' || n)::bytea, '0123456789abcdef0123456789abcdef', 'aes'),"
            " '0123456789abcdef0123456789abcdef', 'aes')) FROM generate_series(1, 1) n")


def measure(journal, say):
    measured = in_rounds([
        ("idle, with the extension", lambda: _fresh(PRODUCT)),
        ("idle, without", lambda: _fresh(WITHOUT)),
        ("pgcrypto once, without", lambda: _fresh(WITHOUT, PGCRYPTO)),
        ("pgcrypto once, with", lambda: _fresh(PRODUCT, PGCRYPTO)),
        # While the transaction lasts: its end frees the contexts.
        (f"{FEW} keys", lambda: _fresh(PRODUCT, "BEGIN", _use_keys(FEW))),
        (f"{MANY} keys", lambda: _fresh(PRODUCT, "BEGIN", _use_keys(MANY))),
        (f"{FEW} keys, after the transaction", lambda: _fresh(PRODUCT, _use_keys(FEW))),
    ], ROUNDS, journal, "memory, KiB")
    say("memory of backends")
    return measured


def targets(measured):
    few, many = measured[f"{FEW} keys"], measured[f"{MANY} keys"]

    def absolute(name):
        return f"{spread(measured[name]).median:,.0f}"

    return [
        Target("memory of an idle backend: above one without the extension", AT_MOST, 64, "KiB",
               differences(measured["idle, with the extension"], measured["idle, without"]),
               f"{absolute('idle, with the extension')} KiB, without {absolute('idle, without')}"),
        Target(f"memory with {FEW} keys in use: above pgcrypto used once", AT_MOST, 128, "KiB",
               differences(few, measured["pgcrypto once, without"]),
               f"{absolute(f'{FEW} keys')} KiB, after the transaction {absolute(f'{FEW} keys, after the transaction')}; "
               f"pgcrypto {absolute('pgcrypto once, without')} without the extension, {absolute('pgcrypto once, with')} with it"),
        Target("memory of each further key in use", AT_MOST, 2, "KiB",
               [d / (MANY - FEW) for d in differences(many, few)], f"{absolute(f'{MANY} keys')} KiB with {MANY:,} keys"),
    ]
