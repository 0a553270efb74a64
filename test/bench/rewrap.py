"""rewrap_all over many DEKs of the local keyring: how long, and in how much memory.

SPDX-License-Identifier: PostgreSQL
"""
import os
import threading
import time

from rounds import QUICK, ROUNDS, in_rounds, spread
from server import PRODUCT, BenchError, Session, create_database
from targets import AT_MOST, Target

FEW, MANY = (200, 2_000) if QUICK else (10_000, 100_000)
WORK_MEM = 4096     # KiB, the server's default: what the result's rows and their sort may take before they go to disk


class Deks:
    """A database with so many DEKs, all under the KEK self.under."""

    def __init__(self, count):
        self.count = count
        self.name = f"deks_{count}"
        self.under, self.next = "main", "next"
        create_database(PRODUCT, self.name)
        sessions = [Session(PRODUCT, self.name) for _ in range(os.cpu_count())]
        sessions[0].query("CREATE EXTENSION pg_envelope; SELECT envelope_create_kek('main'), envelope_create_kek('next')")
        batch = 500
        for since in range(1, count + 1, batch * len(sessions)):
            for i, session in enumerate(sessions):
                first = since + i * batch
                session.send("SELECT count(envelope_create_key('k' || n, 'main'))"
                             f" FROM generate_series({first}, {min(first + batch - 1, count)}) n")
            for session in sessions:
                session.answer()
        sessions[0].query("CREATE TABLE sealed AS SELECT envelope_encrypt('v', 'k1') AS s; VACUUM ANALYZE")
        for session in sessions:
            session.close()

    def rewrap(self):
        """(seconds, peak KiB of the backend, of the agent), onto the other KEK."""
        session = Session(PRODUCT, self.name)
        session.query(f"SELECT envelope_enable_kek('{self.next}')")
        agent = int(session.query("SELECT value FROM envelope_status() WHERE name = 'agent_pid'"))
        with Peak(session.pid) as backend_peak, Peak(agent) as agent_peak:
            since = time.monotonic()
            answer = session.query(f"SELECT outcome, count(*) FROM rewrap_all('{self.under}', '{self.next}') GROUP BY 1")
            took = time.monotonic() - since
        session.query("SELECT envelope_cache_flush()")
        opened = session.query("SELECT envelope_decrypt(s, 'k1') FROM sealed")
        session.close()
        if (answer, opened) != (f"rewrapped|{self.count}", "v"):
            raise BenchError(f"rewrap_all over {self.count} DEKs: {answer}; the value opens as \"{opened}\"")
        self.under, self.next = self.next, self.under
        return took, backend_peak.kib, agent_peak.kib


def _anonymous_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        for line in f:
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    raise BenchError(f"the kernel does not show the memory of process {pid}")


class Peak:
    """The most anonymous memory that a process had while this was entered."""

    def __init__(self, pid):
        self._pid = pid
        self._end = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self.kib = 0

    def _look(self):
        while not self._end.wait(0.01):
            self.kib = max(self.kib, _anonymous_kib(self._pid))

    def __enter__(self):
        self.kib = _anonymous_kib(self._pid)
        self._watch.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._watch.join()


def measure(journal, say):
    measured = {"backend few": [], "agent few": [], "backend many": [], "agent many": []}
    few = Deks(FEW)

    def once():
        took, backend, agent = few.rewrap()
        measured["backend few"].append(backend)
        measured["agent few"].append(agent)
        return took

    measured.update(in_rounds([("rewrap_all", once)], ROUNDS, journal, "rewrap"))
    say(f"rewrap_all over {FEW:,} DEKs")
    many = Deks(MANY)
    say(f"{MANY:,} DEKs made")
    took, backend, agent = many.rewrap()
    measured["backend many"].append(backend)
    measured["agent many"].append(agent)
    measured["rewrap_all many"] = [took]
    for name in ("rewrap_all many", "backend few", "agent few", "backend many", "agent many"):
        for number, value in enumerate(measured[name], 1):
            journal.write("rewrap memory", number, name, value)
    say(f"rewrap_all over {MANY:,} DEKs")
    return measured


def targets(measured):
    found = [Target(f"rewrap_all over {FEW:,} DEKs of the local keyring", AT_MOST, 5, "s", measured["rewrap_all"],
                    f"over {MANY:,}: {measured['rewrap_all many'][0]:.1f} s")]
    for who, limit in (("backend", WORK_MEM), ("agent", 1024)):
        few, many = spread(measured[who + " few"]), spread(measured[who + " many"])
        remark = f"peak {few.median:,.0f} and {many.median:,.0f} KiB"
        if who == "backend":
            remark += "; the limit is work_mem, in which the result's rows and their sort are kept"
        found.append(Target(f"rewrap_all, memory of the {who}: {MANY:,} above {FEW:,}", AT_MOST, limit, "KiB",
                            [many.median - before for before in measured[who + " few"]], remark))
    return found
