"""The stub, as bench_kms.sh built it, and what it counted.

SPDX-License-Identifier: PostgreSQL
"""
import json
import os
import signal
import subprocess

from server import DIR, BenchError

PORT = os.environ.get("BENCH_STUB_PORT", "")
LATENCY = 0.010     # seconds


class Stub:
    def __init__(self):
        self._process = subprocess.Popen([DIR + "/stub", PORT, str(round(LATENCY * 1000)), DIR + "/stub.pem", DIR + "/stub.key"],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        if self._process.stdout.readline() != "ready\n":
            raise BenchError("the stub did not start")

    def _ask(self, what):
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("the stub has died")
        return json.loads(line)

    def counted(self):
        """{"handshakes": n, "encrypt": [requests, data keys], ...} since the last reset."""
        return self._ask("stats")

    def reset(self):
        self._ask("reset")

    def hold(self):
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self._process.send_signal(signal.SIGCONT)

    def rate(self):
        """Calls a second that it answers, to a program of our own."""
        got = subprocess.run([DIR + "/load", PORT, "256", "2", "/v1/transit/keys/load"], capture_output=True, check=True, encoding="utf-8")
        return float(got.stdout)

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def requests(counted):
    """All that were made but logins."""
    return sum(count[0] for name, count in counted.items() if name not in ("handshakes", "login"))
