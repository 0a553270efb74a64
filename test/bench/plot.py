"""The plot: time per value over the value's size, both logarithmic, as SVG.

Nothing but strings: what is drawn is in the file, and no library is needed.

SPDX-License-Identifier: PostgreSQL
"""
import math
from xml.sax.saxutils import escape

from rounds import spread
from rows import SIZES, rows

WIDTH, HEIGHT = 1000, 560
TOP, BOTTOM = 70, 400           # of the panels
PANELS = {"seal": (80, 480), "open": (570, 970)}
COLOURS = {
    "no-op function": "#888888", "EVP in C, GCM": "#000000", "yardstick XAES": "#1f77b4", "ours XAES": "#d62728",
    "ours GCM": "#ff9f1c", "pgcrypto raw (no tag)": "#2ca02c", "pgcrypto PGP": "#9467bd",
}
UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns"))


class Scale:
    """From a value to its place, logarithmic."""

    def __init__(self, low, high, start, end):
        self._low = math.log10(low)
        self._per_decade = (end - start) / (math.log10(high) - self._low)
        self._start = start

    def at(self, value):
        return self._start + (math.log10(value) - self._low) * self._per_decade


def _text(x, y, text, anchor="middle", size=12, extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{extra}>{escape(text)}</text>'


def _line(x1, y1, x2, y2, colour, width=1.0):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _time(ns):
    for size, unit in UNITS:
        if ns >= size:
            return f"{ns / size:.0f} {unit}"
    return f"{ns:g} ns"


def _axes(direction, x, y, decades):
    left, right = PANELS[direction]
    out = [f'<rect x="{left}" y="{TOP}" width="{right - left}" height="{BOTTOM - TOP}" fill="none" stroke="#444444"/>',
           _text((left + right) / 2, TOP - 12, f"{direction} one value", size=15),
           _text((left + right) / 2, BOTTOM + 40, "size of the value"),
           _text(left - 62, (TOP + BOTTOM) / 2, "time per value", extra=f' transform="rotate(-90 {left - 62} {(TOP + BOTTOM) / 2})"')]
    for decade in decades:
        at = y.at(10 ** decade)
        out += [_line(left, at, right, at, "#dddddd"), _text(left - 6, at + 4, _time(10 ** decade), "end", 11)]
    for size, title in SIZES.items():
        out += [_line(x.at(size), TOP, x.at(size), BOTTOM, "#eeeeee"), _text(x.at(size), BOTTOM + 18, title, size=11)]
    return out


def _curve(points, colour, x, y):
    """points: (size, Spread).  A dot is a median, its bar reaches from the least to the most."""
    path = " ".join(f"{x.at(size):.1f},{y.at(s.median):.1f}" for size, s in points)
    out = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>']
    for size, s in points:
        out.append(_line(x.at(size), y.at(s.low), x.at(size), y.at(s.high), colour, 3))
        out.append(f'<circle cx="{x.at(size):.1f}" cy="{y.at(s.median):.1f}" r="2.6" fill="{colour}"/>')
    return out


def _legend(names):
    out = []
    for i, name in enumerate(names):
        left, at = 80 + (i % 4) * 230, BOTTOM + 66 + (i // 4) * 20
        out += [_line(left, at - 4, left + 26, at - 4, COLOURS[name], 3), _text(left + 32, at, name, "start")]
    return out


def draw(measured, title, footer):
    """The whole file.  measured as values.py gives it; footer: lines."""
    curves = {}
    for row in rows():
        points = [(size, spread(measured[size][row.name])) for size in SIZES if row.name in measured[size]]
        if row.line and points:
            curves[row.direction, row.line] = points
    seen = [s for points in curves.values() for _, s in points]
    decades = range(math.floor(math.log10(min(s.low for s in seen))), math.ceil(math.log10(max(s.high for s in seen))) + 1)
    y = Scale(10 ** decades[0], 10 ** decades[-1], BOTTOM, TOP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
           ' font-family="sans-serif">', f"<title>{escape(title)}</title>",
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>', _text(WIDTH / 2, 28, title, size=18)]
    for direction, (left, right) in PANELS.items():
        x = Scale(min(SIZES) / 1.6, max(SIZES) * 1.6, left, right)
        out += _axes(direction, x, y, decades)
        for (of, name), points in curves.items():
            if of == direction:
                out += _curve(points, COLOURS[name], x, y)
    out += _legend([name for name in COLOURS if any(of == name for _, of in curves)])
    out += [_text(80, BOTTOM + 116 + 16 * i, line, "start", 11, ' fill="#555555"') for i, line in enumerate(footer)]
    return "\n".join(out + ["</svg>"]) + "\n"
