#!/usr/bin/env python3
"""Runs a command and answers for every process that comes of it.

usage: reaper.py REPORT COMMAND ...

Whatever loses its parent becomes our child (PR_SET_CHILD_SUBREAPER): servers
that pg_ctl started, agents that outlive their keeper.  So what is still there
when the command has ended is known, whatever it calls itself; it is named,
counted in the file REPORT, and ended.  SIGTERM ends everything at once.

SPDX-License-Identifier: PostgreSQL
"""
import ctypes
import os
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
GRACE_S = float(os.environ.get("REAPER_GRACE_S", 5))    # to end when told
ENDING_S = float(os.environ.get("REAPER_GRACE_S", 30))  # what is about to end by itself
KILLED_S = 60


def descendants():
    """pid -> command line of every process below us that is not a zombie."""
    children, command = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                state, ppid = f.read().rpartition(")")[2].split()[:2]
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            continue
        if state not in "ZX":
            children.setdefault(int(ppid), []).append(int(pid))
            command[int(pid)] = line or "(no name)"
    found, todo = {}, [os.getpid()]
    while todo:
        for pid in children.get(todo.pop(), []):
            found[pid] = command[pid]
            todo.append(pid)
    return found


def reap():
    """Takes in what has ended; whether there is a child yet.  Without one nobody is left at all."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def wait_for_none(seconds):
    """What is left after at most that long."""
    deadline = time.monotonic() + seconds
    while True:
        left = descendants()    # may miss one whose parent ends meanwhile
        if not reap():
            return {}
        if time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def end_all():
    # Politely first, so that servers remove their shared memory.
    for number, grace_s in (signal.SIGTERM, GRACE_S), (signal.SIGQUIT, GRACE_S), (signal.SIGKILL, KILLED_S):
        for pid in descendants():
            for one in (signal.SIGCONT, number):
                try:
                    os.kill(pid, one)
                except OSError:
                    pass
        if not wait_for_none(grace_s):
            return


def on_signal(number, _):
    signal.signal(number, signal.SIG_IGN)
    end_all()
    os._exit(128 + number)


def run(command):
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)   # Python ignores it
        os.execvp(command[0], command)
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def main():
    report, command = sys.argv[1], sys.argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    status = run(command)
    left = wait_for_none(ENDING_S)
    if left:
        print("still running after the suites:")
        for pid, line in sorted(left.items()):
            print(f"  {pid} {line}")
        sys.stdout.flush()
        end_all()
    with open(report, "w") as f:
        f.write(f"{len(left)}\n")
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
