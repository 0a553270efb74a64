"""The targets: a figure, its limit, and whether it was held.

A target that is missed stays: its limit is in the issue that set it.

SPDX-License-Identifier: PostgreSQL
"""
from dataclasses import dataclass, field

from rounds import spread

AT_MOST, AT_LEAST = "at most", "at least"


@dataclass
class Target:
    title: str
    sense: str
    limit: float
    unit: str
    values: list = field(repr=False)
    remark: str = ""

    @property
    def spread(self):
        return spread(self.values)

    @property
    def held(self):
        """The median counts."""
        if self.sense == AT_MOST:
            return self.spread.median <= self.limit
        if self.sense == AT_LEAST:
            return self.spread.median >= self.limit
        raise ValueError(self.sense)

    def columns(self):
        s = self.spread
        return (self.title, f"{self.sense} {figure(self.limit)} {self.unit}",
                f"{figure(s.median)} ({figure(s.low)} … {figure(s.high)})", "held" if self.held else "MISSED", self.remark)


def figure(value):
    """Three digits, without an exponent."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def closing_line(targets):
    held = sum(target.held for target in targets)
    return f"{held} held, {len(targets) - held} missed"


def lines(targets):
    """A table: target, limit, what was measured, verdict, remark."""
    table = [("target", "wanted", "median (least … most)", "", "")] + [target.columns() for target in targets]
    width = [max(len(row[i]) for row in table) for i in range(4)]
    return [f"{t:<{width[0]}}  {w:>{width[1]}}  {m:>{width[2]}}  {verdict:<{width[3]}}  {remark}".rstrip()
            for t, w, m, verdict, remark in table]
