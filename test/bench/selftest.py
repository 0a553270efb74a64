#!/usr/bin/env python3
"""Planted series and planted times: does the benchmark compute, order, judge and
draw as it says?  Needs no server.

SPDX-License-Identifier: PostgreSQL
"""
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

import memory
import plot
from rounds import Journal, differences, in_rounds, ratios, spread
from rows import PAIRS, SIZES, rows
from targets import AT_LEAST, AT_MOST, Target, closing_line, figure, lines

SVG = "{http://www.w3.org/2000/svg}"


class Spreads(unittest.TestCase):
    def test_median_of_an_unsorted_series(self):
        self.assertEqual(spread([50, 1, 9000, 30, 7]).median, 30)

    def test_median_of_an_even_number(self):
        self.assertEqual(spread([40, 10, 30, 20]).median, 25)

    def test_least_and_most(self):
        s = spread([50, 1, 9000, 30, 7])
        self.assertEqual((s.low, s.high), (1, 9000))

    def test_nothing_measured(self):
        self.assertRaises(ValueError, spread, [])

    def test_pairs_are_of_one_round(self):
        self.assertEqual(differences([5, 9], [3, 2]), [2, 7])
        self.assertEqual(ratios([6, 9], [3, 2]), [2, 4.5])
        self.assertRaises(ValueError, differences, [1, 2], [1])
        self.assertRaises(ValueError, ratios, [1], [1, 2])


class Rounds(unittest.TestCase):
    def setUp(self):
        self.file = tempfile.NamedTemporaryFile(mode="r", encoding="utf-8")
        self.journal = Journal(self.file.name)

    def tearDown(self):
        self.journal.close()
        self.file.close()

    def measured(self, names, rounds):
        self.order = []
        clock = iter(range(1000))

        def case(name):
            def measure():
                self.order.append(name)
                return next(clock)
            return name, measure

        return in_rounds([case(name) for name in names], rounds, self.journal, "part")

    def test_each_case_once_in_each_round(self):
        self.measured("abc", 3)
        self.assertEqual(self.order, list("abc" "cba" "abc"))

    def test_values_stay_with_their_case_and_round(self):
        self.assertEqual(self.measured("ab", 2), {"a": [0, 3], "b": [1, 2]})

    def test_the_journal_has_the_order(self):
        self.measured("ab", 2)
        self.assertEqual(self.file.read().splitlines(), [
            "part\tround\tcase\tvalue", "part\t1\ta\t0", "part\t1\tb\t1", "part\t2\tb\t2", "part\t2\ta\t3"])

    def test_two_cases_of_one_name(self):
        self.assertRaises(ValueError, self.measured, "aa", 1)


class Targets(unittest.TestCase):
    def held(self, sense, limit, *values):
        return Target("t", sense, limit, "ns", list(values)).held

    def test_the_median_counts(self):
        self.assertTrue(self.held(AT_MOST, 100, 90, 100, 5000))
        self.assertFalse(self.held(AT_MOST, 100, 1, 100.5, 101))
        self.assertTrue(self.held(AT_LEAST, 0.95, 0.1, 0.95, 0.96))
        self.assertFalse(self.held(AT_LEAST, 0.95, 0.949, 0.94, 2))

    def test_an_unknown_sense(self):
        self.assertRaises(ValueError, self.held, "about", 1, 1)

    def test_lines_and_closing_line(self):
        both = [Target("quick", AT_MOST, 10, "ns", [9, 8, 12]), Target("slow", AT_MOST, 10, "ns", [11, 8, 12], "why")]
        table = lines(both)
        self.assertRegex(table[1], r"^quick +at most 10\.0 ns +9\.00 \(8\.00 … 12\.0\) +held$")
        self.assertRegex(table[2], r"^slow +at most 10\.0 ns +11\.0 \(8\.00 … 12\.0\) +MISSED +why$")
        self.assertEqual(closing_line(both), "1 held, 1 missed")

    def test_figures(self):
        self.assertEqual([figure(x) for x in (0.954, 9.99, 12.34, 123.6, -104.2)], ["0.95", "9.99", "12.3", "124", "-104"])


class Plot(unittest.TestCase):
    def setUp(self):
        self.measured = {size: {row.name: [size * 2.0, size * 3.0, size * 4.0] for row in rows()} for size in SIZES}
        self.svg = ElementTree.fromstring(plot.draw(self.measured, "a <title> & more", ["foot <1>", "foot 2"]))

    def texts(self):
        return [text.text for text in self.svg.iter(SVG + "text")]

    def test_a_curve_for_each_line(self):
        lines_wanted = [row for row in rows() if row.line]
        curves = list(self.svg.iter(SVG + "polyline"))
        self.assertEqual(len(curves), len(lines_wanted))
        for curve in curves:
            self.assertEqual(len(curve.get("points").split()), len(SIZES))

    def test_bigger_is_higher_and_to_the_right(self):
        points = [tuple(map(float, p.split(","))) for p in next(self.svg.iter(SVG + "polyline")).get("points").split()]
        self.assertEqual(points, sorted(points))
        self.assertEqual([y for _, y in points], sorted((y for _, y in points), reverse=True))

    def test_everything_is_inside(self):
        for element in self.svg.iter(SVG + "circle"):
            self.assertTrue(0 < float(element.get("cx")) < plot.WIDTH and plot.TOP <= float(element.get("cy")) <= plot.BOTTOM)

    def test_axes_units_legend_and_footer(self):
        texts = self.texts()
        for wanted in [*SIZES.values(), "size of the value", "time per value", "1 µs", "foot <1>", "a <title> & more",
                       *(row.line for row in rows() if row.line)]:
            self.assertIn(wanted, texts)

    def test_a_line_has_a_colour_of_its_own(self):
        self.assertEqual(len(set(plot.COLOURS.values())), len(plot.COLOURS))
        self.assertEqual({row.line for row in rows() if row.line}, set(plot.COLOURS))


class Memory(unittest.TestCase):
    def test_private_mappings_alone_count(self):
        smaps = ["55e0-55f0 rw-p 0000 00:00 0 [heap]", "Rss: 40 kB", "Private_Dirty:        12 kB",
                 "7f00-7f10 rw-s 0000 00:01 1 /dev/zero", "Private_Dirty:        4000 kB",
                 "7f20-7f30 r--p 0000 08:01 2 /lib/x.so", "Private_Clean: 7 kB", "Private_Dirty:        8 kB"]
        self.assertEqual(memory.private_dirty(smaps), 20)

    def test_a_process_that_may_not_be_looked_at(self):
        self.assertRaises(memory.BenchError, memory.private_dirty, [])


class Rows(unittest.TestCase):
    def test_names_are_unique(self):
        names = [row.name for row in rows()]
        self.assertEqual(len(names), len(set(names)))

    def test_pairs_are_rows(self):
        names = {row.name for row in rows()}
        for pair in PAIRS:
            self.assertLessEqual(set(filter(None, pair)), names)


if __name__ == "__main__":
    done = unittest.main(exit=False, verbosity=1).result
    failed = len(done.failures) + len(done.errors)
    print(f"{done.testsRun - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
