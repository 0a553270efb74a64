"""Runs the mutants, for run.sh: in $PGE_WORK/src, which is ours to break.

First the tree as it is must pass every test that a mutant names, since a test
that fails anyway kills nothing.  Then for each mutant: apply, build (what does
not compile is an error, and no kill), run its tests alone, put back.

SPDX-License-Identifier: PostgreSQL
"""
import os
import re
import shutil
import subprocess
import sys
import time

from mutants import Fault, read_all

WORK = os.environ["PGE_WORK"]
LOGS = f"{WORK}/logs"
CONFIG = shutil.which(os.environ["PG_CONFIG"])  # not that of the private server
TEST_BUILD = "TEST_CPPFLAGS=-DPGE_TEST_BUILD"
LONGEST_S = 600  # a test that is not over by then has hung: an error, and no kill


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


BINDIR = WORK + "/root" + output_of(CONFIG, "--bindir")
PGXS_TEST = os.path.realpath(os.path.dirname(output_of(CONFIG, "--pgxs")) + "/../test")
# One build serves for both: the one for tests does more only when it is asked to.
ENV = {
    **os.environ,
    "PG_CONFIG": CONFIG, "PGE_BINDIR": BINDIR, "PGE_TEST_BINDIR": BINDIR, "PGE_SERVER_BINDIR": BINDIR, "PGE_PGXS_DIR": PGXS_TEST,
    "PGE_AGENT": BINDIR + "/pg_envelope_agent", "PGE_TEST_AGENT": BINDIR + "/pg_envelope_agent",
    "PG_REGRESS": PGXS_TEST + "/regress/pg_regress", "PERL5LIB": PGXS_TEST + "/perl",
    "PATH": BINDIR + ":" + os.environ["PATH"],
}


class Result:
    def __init__(self, status, text):
        self.status = status
        self.text = text


def run(log, command, **more):
    """Appends what it says to the log, and returns it."""
    with open(log, "a+") as out:
        start = out.tell()
        out.flush()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env={**ENV, **more}, start_new_session=True)
        try:
            status = process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            status = None
        out.seek(start)
        return Result(status, out.read())


# --- tests -------------------------------------------------------------------

def run_unit(log, name):
    return run(log, ["make", "-C", "test/unit", "check", f"PROGRAM={name}"])


def run_keyring(log, name):
    return run(log, ["test/keyring/run", name])


def run_agent(log, name):
    return run(log, ["test/agent/run.sh"], ONLY=name)


run_service = run_agent


def run_tap(log, name):
    room = f"{WORK}/tap"
    subprocess.run(["rm", "-rf", room], check=True)
    os.makedirs(f"{room}/tmp_check")
    return run(log, ["perl", f"test/t/{name}.pl"], TESTDIR=room, TESTDATADIR=f"{room}/tmp_check",
               TESTLOGDIR=f"{room}/tmp_check/log", PG_TEST_PORT_DIR=f"{WORK}/tmp/ports")


def run_on_cluster(log, command, *settings):
    room = f"{WORK}/cluster"
    subprocess.run(["rm", "-rf", room], check=True)
    started = run(log, ["test/tools/scratch.sh", "start", room, "log_statement=none", *settings])
    if started.status != 0:
        return Result(started.status, "not ok - the server did not start\n" + started.text)
    try:
        result = run(log, command, PGHOST=f"{room}/run", PGUSER="postgres")
    finally:
        run(log, ["test/tools/scratch.sh", "stop", room])
    for path in (f"{room}/regression.diffs", f"{room}/output_iso/regression.diffs"):
        if os.path.exists(path):
            with open(path, errors="replace") as diffs:
                result.text += diffs.read()
    return result


def run_regress(log, name):
    return run_on_cluster(log, [ENV["PG_REGRESS"], "--inputdir=.", f"--outputdir={WORK}/cluster", f"--bindir={BINDIR}",
                                "--dbname=contrib_regression", "--load-extension=pg_envelope", name])


def run_isolation(log, name):
    config = f"{WORK}/tmp/isolation.conf"
    shutil.copyfile("test/isolation/kms.conf", config)
    os.chmod(config, 0o600)  # the agent takes none that others may write
    return run_on_cluster(log, [PGXS_TEST + "/isolation/pg_isolation_regress", "--inputdir=test/isolation",
                                f"--outputdir={WORK}/cluster", f"--bindir={BINDIR}",
                                "--dbname=isolation_regression", "--load-extension=pg_envelope", name],
                          f"pg_envelope.kms_config_file='{config}'")


def first_failure(text):
    """The assertion that failed first: of a TAP-like test, or a difference in an output."""
    for pattern in (r"^\s*not ok\b[ \d-]*(.+)", r"^([-+](?![-+]).+)", r"^(\S.* at \S+ line \d+\.)$", r"^# +(.+)"):
        m = re.search(pattern, text, re.M)
        if m:
            return m.group(1).strip()[:150]
    return None


# --- building ----------------------------------------------------------------

def needs_programs(tests):
    return any(kind != "unit" for kind, _ in tests)


def build(log, tests):
    """What went wrong, or None."""
    if needs_programs(tests):
        if run(log, ["make", "-j2", TEST_BUILD]).status != 0:
            return "it does not compile"
        if run(log, ["test/tools/private_server.sh", f"{WORK}/root", CONFIG], TEST_CPPFLAGS="-DPGE_TEST_BUILD").status != 0:
            return "it cannot be installed"
    for kind, name in tests:
        if kind == "unit" and run(log, ["make", "-C", "test/unit", "all", f"PROGRAM={name}"]).status != 0:
            return "it does not compile"
    return None


def write(files):
    for path, text in files.items():
        with open(path, "w") as out:
            out.write(text)


# --- the run -----------------------------------------------------------------

def read_sources():
    tree = {}
    for folder, _, names in os.walk("."):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), ".")
            if re.match(r"(src|sql|test)/|Makefile$|pg_envelope--.*\.sql$", path):
                with open(path, "rb") as f:
                    tree[path] = f.read().decode("utf-8", "replace")
    return tree


def choose(tree):
    only = os.environ.get("ONLY", "").split()
    chosen = []
    for path, mutant in read_all(tree):
        if isinstance(mutant, Fault):
            sys.exit(f"{path}: {mutant}")
        if not only or mutant.name in only:
            chosen.append(mutant)
    unknown = set(only) - {mutant.name for mutant in chosen}
    if unknown or not chosen:
        sys.exit("no such mutant: " + " ".join(sorted(unknown)))
    return chosen


def run_test(log, test):
    return globals()[f"run_{test[0]}"](log, test[1])


def unmutated_passes(tests):
    good = True
    log = f"{LOGS}/unmutated.log"
    problem = build(log, tests)
    if problem:
        print(f"the tree as it is: {problem}; see {os.path.basename(log)}")
        return False
    for test in tests:
        started = time.monotonic()
        result = run_test(log, test)
        passes = result.status == 0 and not re.search(r"^\s*not ok\b", result.text, re.M)
        good = good and passes
        print("unmutated: %-32s %s (%.0f s)" % (" ".join(test), "passes" if passes else "FAILS: %s" % first_failure(result.text),
                                                time.monotonic() - started), flush=True)
    return good


def judge(mutant, tree):
    """(what became of it, what to say)"""
    log = f"{LOGS}/{mutant.name}.log"
    changed = mutant.apply(tree)
    write(changed)
    try:
        problem = build(log, mutant.tests)
        if problem:
            return "error", problem
        for test in mutant.tests:
            result = run_test(log, test)
            failure = first_failure(result.text)
            if result.status is None:
                return "error", f"{' '.join(test)} hung"
            if result.status == 77:
                return "error", f"{' '.join(test)} was skipped"
            if result.status != 0:
                return ("killed", f"{' '.join(test)}: {failure}") if failure else ("error", f"{' '.join(test)} failed, with no assertion")
        return "survived", "by " + ", ".join(" ".join(test) for test in mutant.tests)
    finally:
        write({path: tree[path] for path in changed})


def main():
    sys.stdout.reconfigure(line_buffering=True)
    tree = read_sources()
    chosen = choose(tree)
    tests = sorted({test for mutant in chosen for test in mutant.tests})
    if not unmutated_passes(tests):
        print("nothing can be killed by a test that fails anyway")
        return 1
    count = {"killed": 0, "survived": 0, "error": 0}
    for mutant in chosen:
        started = time.monotonic()
        outcome, words = judge(mutant, tree)
        count[outcome] += 1
        label = outcome if outcome == "killed" else outcome.upper()
        print("%-9s %-30s %s (%.0f s)" % (label, mutant.name, words, time.monotonic() - started))
    closing = f"{count['killed']} killed, {count['survived']} survived"
    if count["error"]:
        closing += f", {count['error']} errors"
    print(closing)
    with open(f"{WORK}/closing", "w") as out:
        out.write(closing + "\n")
    return 1 if count["survived"] or count["error"] else 0


if __name__ == "__main__":
    sys.exit(main())
