"""Measures what one value costs: every row at every size.

A figure is nanoseconds on the CPU per call of the function alone (measure.c),
or, where a row says so, of a whole transaction with one value, less the same
with a function that does nothing.

SPDX-License-Identifier: PostgreSQL
"""
from rounds import QUICK, ROUNDS, in_rounds
from rows import NOTHING, PLANTED, SIZES, WRONG, rows
from server import EACH_SALT, PRODUCT, BenchError, Session

KEYS = 1000
SAMPLE_NS = 3e6 if QUICK else 60e6      # how long one measurement takes
VERIFIED_BYTES = 16 << 20
NO_MORE_BYTES = (10 if QUICK else 100) << 20    # of sealed values that one row opens


class Values:
    """The sessions and the inputs: lists of values by name and size (0: of any)."""

    def __init__(self):
        self.sessions = {port: Session(port) for port in (PRODUCT, EACH_SALT)}
        self.kept = {}          # how many values a list has, by (name, size)
        self.procedures = {}    # by what they call, with what
        for port, session in self.sessions.items():
            session.stay_on_one_core()
            session.query("""
                CREATE TABLE inputs (name text, size int, items bytea[], PRIMARY KEY (name, size));
                ALTER TABLE inputs ALTER items SET STORAGE EXTERNAL""" + ";" + PLANTED)
            self._store(port, "one", 0, "SELECT ARRAY['x1'::bytea]")
            for size in SIZES:
                self._store(port, "plain", size, f"""SELECT ARRAY[convert_to(left(string_agg(md5(n::text), ''), {size}), 'UTF8')]
                    FROM generate_series(1, {size} / 32 + 1) n""")
        self._keys()
        self._check_salts()

    def _check_salts(self):
        """Of the two builds one keeps a salt for a transaction and one does not."""
        for port, wanted in ((PRODUCT, "1"), (EACH_SALT, "3")):
            salts = self.sessions[port].query("SELECT count(DISTINCT substr(envelope_encrypt('v', 'x1'), 6, 12)) FROM generate_series(1, 3)")
            if salts != wanted:
                raise BenchError(f"three values have {salts} salts, and not {wanted}")

    def _store(self, port, name, size, query):
        count = self.sessions[port].query(
            f"INSERT INTO inputs SELECT '{name}', {size}, ({query}) RETURNING cardinality(items)")
        self.kept[name, size] = int(count)

    def _keys(self):
        for name, prefix, count in (("ten", "x", 10), ("thousand", "x", KEYS), ("compact", "g", 1),
                                    ("compact ten", "g", 10), ("compact thousand", "g", KEYS)):
            self._store(PRODUCT, name, 0,
                        f"SELECT array_agg(('{prefix}' || n)::bytea ORDER BY n) FROM generate_series(1, {count}) n")
        self._store(PRODUCT, "raw key", 0, "SELECT ARRAY['0123456789abcdef0123456789abcdef'::bytea]")
        self._store(PRODUCT, "raw iv", 0, "SELECT ARRAY['0123456789abcdef'::bytea]")
        self._store(PRODUCT, "raw type", 0, "SELECT ARRAY['aes'::bytea]")

    def make_sealed(self, size):
        plain = f"(SELECT items[1] FROM inputs WHERE name = 'plain' AND size = {size})"
        text = f"convert_from({plain}, 'UTF8')"
        count = 16 if size <= 65536 else 2

        def many(name, expression, n=count):
            if n * size <= NO_MORE_BYTES:
                self._store(PRODUCT, name, size, f"SELECT array_agg({expression} ORDER BY n) FROM generate_series(1, {n}) n")

        many("sealed one", f"envelope_encrypt({text}, 'x1')")
        many("sealed compact", f"envelope_encrypt({text}, 'g1')")
        for name, prefix in (("sealed", "x"), ("sealed compact", "g")):
            many(f"{name} ten", f"envelope_encrypt({text}, '{prefix}' || n)", 10)
            many(f"{name} thousand", f"envelope_encrypt({text}, '{prefix}' || n)", KEYS)
        for kind in ("xaes", "salt", "gcm"):
            many(f"yardstick {kind}", f"yardstick_seal_{kind}_pool({text})")
        many("raw", f"encrypt_iv({plain}, '0123456789abcdef0123456789abcdef', '0123456789abcdef', 'aes')")
        many("pgp", f"pgp_sym_encrypt({text}, '0123456789abcdef0123456789abcdef')")
        # Every value in a transaction of its own, so every one has its own salt.
        self.sessions[PRODUCT].query("CREATE TEMP TABLE IF NOT EXISTS apart (sealed bytea); TRUNCATE apart")
        for _ in range(count):
            self.sessions[PRODUCT].query(f"INSERT INTO apart SELECT envelope_encrypt({text}, 'x1')")
        self._store(PRODUCT, "sealed apart", size, "SELECT array_agg(sealed) FROM apart")

    def size_of(self, name, size):
        """As the list is stored; None if it is not."""
        return size if (name, size) in self.kept else 0 if (name, 0) in self.kept else None

    def list_of(self, name, size):
        return f"(SELECT items FROM inputs WHERE name = '{name}' AND size = {self.size_of(name, size)})"

    def has(self, row, size):
        if row.only not in (0, size) or any(self.size_of(name, size) is None for name in row.lists):
            return False
        turns = max((self.kept[name, self.size_of(name, size)] for name in row.lists), default=1)
        return not QUICK or turns * size <= NO_MORE_BYTES

    def ns(self, row, size, times):
        session = self.sessions[row.port]
        if row.is_loop_in_c:
            return session.number(f"SELECT {row.function}, {size}, {times})")
        if row.transaction:
            return self._per_transaction(row, size, times)
        lists = "".join(", " + self.list_of(name, size) for name in row.lists)
        return session.number(f"SELECT bench_loop('{row.function}', {times}{lists})")

    def _per_transaction(self, row, size, times):
        """A whole transaction, less one in which nothing is done."""
        took = []
        for function, lists in ((row.function, row.lists), (NOTHING, ("plain",))):
            wanted = (function, lists, size)
            if wanted not in self.procedures:
                self.procedures[wanted] = f"transactions_{len(self.procedures)}"
                self._procedure(self.procedures[wanted], function, [self.list_of(l, size) for l in lists])
            took.append(self.sessions[PRODUCT].number(f"CALL {self.procedures[wanted]}({times}, NULL)"))
        return took[0] - took[1]

    def _procedure(self, name, function, lists):
        """A loop in PL/pgSQL, since a transaction cannot end inside a function."""
        called, types = function.rstrip(")").split("(")
        types = types.split(",")
        declare = " ".join(f"v{i} {kind} := {_as(kind, f'{items}')};" for i, (kind, items)
                           in enumerate(zip(types, [l.replace("SELECT items", "SELECT items[1]") for l in lists], strict=True)))
        self.sessions[PRODUCT].query(f"""
            CREATE PROCEDURE {name}(times int, OUT ns float8) LANGUAGE plpgsql AS $$
            DECLARE
                {declare}
                result {"bytea" if _gives_bytea(called) else "text"};
                since float8;
            BEGIN
                COMMIT;
                since := bench_cpu_ns();
                FOR i IN 1 .. times LOOP
                    result := {called}({", ".join(f"v{i}" for i in range(len(lists)))});
                    COMMIT;
                END LOOP;
                ns := (bench_cpu_ns() - since) / times;
            END $$""")

    def times(self, row, size):
        """So many calls that one measurement takes SAMPLE_NS."""
        times = 1
        for _ in range(1 if QUICK else 3):
            took = max(self.ns(row, size, times), 1.0)
            times = int(min(max(SAMPLE_NS / took, 1), 2e6, times * 1000))
            if row.transaction:
                times = min(times, int(SAMPLE_NS / 20e3))
        return max(times, 2 if row.transaction else 1)

    def verify(self, row, size):
        """What was sealed opens, by the very functions that are measured."""
        if row.is_loop_in_c or row.function == NOTHING:
            return
        call = _call(row.function, [f"u.a{i}" for i in range(len(row.lists))])
        if row.direction == "seal":
            call = _call(row.opener, [call] + [f"u.a{i}" for i in range(1, len(row.lists))])
        columns = ", ".join(
            f"coalesce(x.a{i}, (SELECT items[1] FROM inputs WHERE name = '{name}' AND size = {self.size_of(name, size)})) AS a{i}"
            for i, name in enumerate(row.lists))
        some = max(2, VERIFIED_BYTES // size)
        lists = ", ".join(self.list_of(name, size).replace("SELECT items", f"SELECT items[1:{some}]") for name in row.lists)
        names = ", ".join(f"a{i}" for i in range(len(row.lists)))
        wrong = self.sessions[row.port].query(f"""SELECT count(*) FILTER (WHERE {call} IS DISTINCT FROM plain), count(*) > 0
            FROM (SELECT {columns} FROM unnest({lists}) x({names}) OFFSET 0) u,
                (SELECT items[1] AS plain FROM inputs WHERE name = 'plain' AND size = {size}) p""")
        if wrong != "0|t":
            raise BenchError(f"\"{row.name}\" at {SIZES[size]} does not open to what was sealed")


def _gives_bytea(name):
    return "seal" in name or "encrypt" in name or name in ("decrypt_iv", "envelope_decrypt_bytea", "planted_slow")


def _as(kind, expression):
    """A bytea as what a function takes."""
    return expression if kind == "bytea" else f"convert_from({expression}, 'UTF8')"


def _call(function, arguments):
    """The call in SQL, on arguments that are bytea, with a bytea as its result."""
    name, types = function.rstrip(")").split("(")
    call = f"{name}({', '.join(_as(kind, a) for a, kind in zip(arguments, types.split(','), strict=True))})"
    return call if _gives_bytea(name) else f"convert_to({call}, 'UTF8')"


def _check_that_wrong_is_noticed(values, size):
    try:
        values.verify(WRONG, size)
    except BenchError:
        return
    raise BenchError("a value that opens to something else was not noticed")


def measure(journal, say):
    """{size: {row's name: [nanoseconds of each round]}}"""
    values = Values()
    measured = {}
    for size, title in SIZES.items():
        values.make_sealed(size)
        _check_that_wrong_is_noticed(values, size)
        there = [row for row in rows() if values.has(row, size)]
        for row in there:
            values.verify(row, size)
        times = {row.name: values.times(row, size) for row in there}

        def case(row, size=size, times=times):
            return row.name, lambda: values.ns(row, size, times[row.name])

        measured[size] = in_rounds([case(row) for row in there], ROUNDS, journal, title)
        say(f"values of {title}")
    for session in values.sessions.values():
        session.close()
    return measured
