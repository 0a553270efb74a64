"""The servers of a run, as bench.sh started them, and sessions on them.

SPDX-License-Identifier: PostgreSQL
"""
import os
import subprocess
import tempfile

DIR = os.environ.get("BENCH_DIR", "")
BIN = os.environ.get("BENCH_BIN", "")

# A server each: the product; the same built to draw a salt for every value; one
# without the extension.
PRODUCT, EACH_SALT, WITHOUT = 5432, 5433, 5434

_MARK = "-- end of answer --"


class BenchError(Exception):
    pass


class Session:
    """One backend, asked through psql.  An error of the server is a BenchError."""

    def __init__(self, port, database="bench"):
        self._errors = tempfile.TemporaryFile()
        self._psql = subprocess.Popen(
            [BIN + "/psql", "-XAtq", "-F", "|", "-v", "ON_ERROR_STOP=1", "-h", DIR + "/run", "-p", str(port),
             "-U", "postgres", "-d", database],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, encoding="utf-8",
            env={**os.environ, "PGOPTIONS": "-c client_min_messages=error"})
        self.pid = int(self.query("SELECT pg_backend_pid()"))

    def stay_on_one_core(self):
        """The same for all that do: two cores need not be equally fast just now."""
        os.sched_setaffinity(self.pid, {max(os.sched_getaffinity(0))})

    def query(self, sql):
        """What psql prints, without the final newline."""
        self.send(sql)
        return self.answer()

    def send(self, sql):
        try:
            self._psql.stdin.write(f"{sql};\n\\echo {_MARK}\n")
            self._psql.stdin.flush()
        except BrokenPipeError:
            self._failed()

    def answer(self):
        lines = []
        for line in self._psql.stdout:
            if line == _MARK + "\n":
                return "".join(lines).rstrip("\n")
            lines.append(line)
        return self._failed()

    def number(self, sql):
        return float(self.query(sql))

    def numbers(self, sql):
        """Those of an array."""
        return [float(x) for x in self.query(sql).strip("{}").split(",")]

    def _failed(self):
        self._psql.wait()
        self._errors.seek(0)
        raise BenchError("the server refused: " + self._errors.read().decode("utf-8", "replace").strip())

    def close(self):
        self._psql.stdin.close()
        self._psql.wait()
        self._psql.stdout.close()
        self._errors.close()


def create_database(port, name):
    session = Session(port, "postgres")
    session.query(f"CREATE DATABASE {name}")
    session.close()


def quote(text):
    return "'" + text.replace("'", "''") + "'"
