"""Reads the mutants beside it and applies them.

A mutant is a file NAME.mutant:

	# What it breaks, in one line.
	test: KIND NAME			once or twice: the tests that shall kill it
	@@ path/of/a/file
	 a line that stays
	-a line that goes
	+a line that comes

A block stands for its place by what it says, not by line numbers, and must be
found exactly once: code that moved fails loudly here and in "make lint".

SPDX-License-Identifier: PostgreSQL
"""
import re

# Where a test of each kind is: a file, and what must stand in it.
KINDS = {
    "unit": ("test/unit/{}.c", r"\bmain\("),
    "keyring": ("test/keyring/run", r"^def test_{}\("),
    "agent": ("test/agent/serve_test.py", r"^def {}\("),
    "service": ("test/agent/service_test.py", r"^def {}\("),
    "regress": ("sql/{}.sql", r""),
    "isolation": ("test/isolation/specs/{}.spec", r""),
    "tap": ("test/t/{}.pl", r""),
}


class Fault(Exception):
    """A mutant that cannot be read or does not fit the tree."""


class Mutant:
    def __init__(self, name, text):
        self.name = name
        self.what = ""
        self.tests = []
        self.blocks = []  # (path, old, new)
        lines = text.rstrip("\n").split("\n")
        if not lines[0].startswith("# "):
            raise Fault("the first line does not say what it breaks")
        self.what = lines[0][2:]
        for line in lines[1:]:
            self.read(line)
        self.blocks = [(path, "".join(old), "".join(new)) for path, old, new in self.blocks]
        if not self.tests or not self.blocks:
            raise Fault("it names no test, or changes nothing")
        for path, old, new in self.blocks:
            if not old or old == new:
                raise Fault(f"it changes nothing of {path}")

    def read(self, line):
        if line.startswith("test: "):
            kind, _, test = line[len("test: "):].partition(" ")
            if kind not in KINDS or not re.fullmatch(r"\w+", test):
                raise Fault(f"no such test: {line}")
            self.tests.append((kind, test))
        elif line.startswith("@@ "):
            self.blocks.append((line[3:], [], []))
        elif self.blocks and line[:1] in (" ", "-", "+"):
            _, old, new = self.blocks[-1]
            if line[0] != "+":
                old.append(line[1:] + "\n")
            if line[0] != "-":
                new.append(line[1:] + "\n")
        else:
            raise Fault(f"cannot be read: {line!r}")

    def check_tests(self, tree):
        for kind, test in self.tests:
            path, pattern = (part.format(test) for part in KINDS[kind])
            if path not in tree or not re.search(pattern, tree[path], re.M):
                raise Fault(f"there is no test {kind} {test}")

    def apply(self, tree):
        """The files that it changes: {path: text}."""
        changed = {}
        for path, old, new in self.blocks:
            text = changed.get(path, tree.get(path, ""))
            # of whole lines, not of a line's end
            found = len(re.findall("^" + re.escape(old), text, re.M))
            if found != 1:
                raise Fault(f"what it replaces in {path} is there {found} times, not once: {old.splitlines()[0].strip()}")
            at = re.search("^" + re.escape(old), text, re.M).start()
            changed[path] = text[:at] + new + text[at + len(old):]
        return changed


def read_all(tree):
    """Yields (path, Mutant or Fault) of a tree {path: text}."""
    for path in sorted(tree):
        m = re.fullmatch(r"test/mutants/([\w-]+)\.mutant", path)
        if not m:
            continue
        try:
            mutant = Mutant(m.group(1), tree[path])
            mutant.check_tests(tree)
            mutant.apply(tree)
            yield path, mutant
        except Fault as fault:
            yield path, fault
