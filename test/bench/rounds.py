"""Rounds in which every case is measured once before any is measured again, so
that what the machine does meanwhile falls on all of them alike.

SPDX-License-Identifier: PostgreSQL
"""
import os
import statistics
from dataclasses import dataclass

QUICK = os.environ.get("BENCH_QUICK", "0") == "1"
ROUNDS = 2 if QUICK else 5


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float


def spread(values):
    if not values:
        raise ValueError("nothing was measured")
    return Spread(statistics.median(values), min(values), max(values))


def in_rounds(cases, rounds, journal, part):
    """{name: [a value of each round]}.  cases: (name, function that measures once).

    Every other round goes backwards: whoever comes after a noisy neighbour comes
    before it the next time.
    """
    names = [name for name, _ in cases]
    if len(set(names)) != len(names):
        raise ValueError("two cases have one name")
    measured = {name: [] for name in names}
    for number in range(1, rounds + 1):
        for name, measure in cases if number % 2 else reversed(cases):
            value = measure()
            measured[name].append(value)
            journal.write(part, number, name, value)
    return measured


def differences(ours, theirs):
    """Round by round, since the two of a round met the same machine."""
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def ratios(ours, theirs):
    return [a / b for a, b in zip(ours, theirs, strict=True)]


class Journal:
    """Every single measurement in the order in which it was made."""

    def __init__(self, path):
        self._file = open(path, "w", encoding="utf-8")
        self._file.write("part\tround\tcase\tvalue\n")

    def write(self, part, number, name, value):
        self._file.write(f"{part}\t{number}\t{name}\t{value:.6g}\n")
        self._file.flush()

    def close(self):
        self._file.close()
