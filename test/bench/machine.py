"""The machine that a run is on, and the state that its cores are kept in.

SPDX-License-Identifier: PostgreSQL
"""
import os
import platform
import re
import subprocess
import sys


def _read(path, default="unknown"):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return default


def _run(*command):
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def commit(top):
    """Of the tree that is measured; bench.sh says it where git does not."""
    told = os.environ.get("BENCH_COMMIT")
    if told:
        return told
    git = ("git", "-c", f"safe.directory={top}", "-C", top)
    name = _run(*git, "rev-parse", "--short=12", "HEAD")
    changed = name != "unknown" and _run(*git, "status", "--porcelain", "--untracked-files=no") != ""
    return name + (" and changes" if changed else "")


def describe(top, bin_dir):
    """What was run on what, as (name, text)."""
    model = re.search(r"^model name\s*:\s*(.*)$", _read("/proc/cpuinfo"), re.M)
    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "none visible")
    idle = _read("/sys/devices/system/cpu/cpuidle/current_driver", "none visible")
    return [
        ("CPU", f"{model.group(1) if model else platform.machine()}, {os.cpu_count()} cores; "
                f"governor {governor}, idle driver {idle}"),
        ("system", f"{_os_name()}, Linux {platform.release()}"),
        ("server", re.sub(r"^postgres \(PostgreSQL\) ", "PostgreSQL ", _run(bin_dir + "/postgres", "--version"))),
        ("OpenSSL", " ".join(_run("openssl", "version").split()[:2])),
        ("commit", commit(top)),
        ("load before", " ".join(_read("/proc/loadavg").split()[:3])),
    ]


def _os_name():
    found = re.search(r'^PRETTY_NAME="(.*)"$', _read("/etc/os-release"), re.M)
    return found.group(1) if found else platform.system()


# Runs only where nothing else wants to: a core that it keeps awake is as free
# for the others as an idle one, but need not be woken.
_SPIN = "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile os.getppid() == %d: pass"


class AwakeCores:
    """Keeps every core awake for as long as it is entered."""

    def __enter__(self):
        self._spinners = [subprocess.Popen([sys.executable, "-c", _SPIN % os.getpid()]) for _ in range(os.cpu_count())]
        return self

    def __exit__(self, *_):
        for spinner in self._spinners:
            spinner.kill()
            spinner.wait()
