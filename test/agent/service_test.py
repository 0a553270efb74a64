#!/usr/bin/env python3
#
# SPDX-License-Identifier: PostgreSQL
"""The agent as a service of its own: whom it serves, its socket, its file, its manager.

Usage: service_test.py [PROGRAM]; default ./pg_envelope_agent.  Runs as any user but
root; with two users, and a server, it is tested in test/t.
"""

import itertools
import os
import pwd
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_peer import *

PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "./pg_envelope_agent")
GREETING, WELCOME = 4, 5
numbers = itertools.count()
OURSELVES = pwd.getpwuid(os.geteuid()).pw_name
claims = Claims()
claim = claims.claim


def greeting(cluster=1, life=b"a"):
    return struct.pack(">Q", cluster) + life * 24


class Service:
    """A running agent; its standard error is read as lines."""

    def __init__(self, directory=None, ready=True, section="", sections="", server_user=OURSELVES, environment=None):
        self.owned = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="pge-service-")
        self.path = os.path.join(self.directory, "agent.sock")
        self.keyring = os.path.join(self.directory, "keys", "keyring")
        self.config = os.path.join(self.directory, "agent.conf")
        os.makedirs(os.path.dirname(self.keyring), 0o700, exist_ok=True)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.settimeout(DEADLINE)
        manager = os.path.join(self.directory, "notify.%d" % next(numbers))
        self.manager.bind(manager)
        self.write(server_user, section, sections)
        self.process = subprocess.Popen([PROGRAM, "serve", "--config", self.config], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        env=dict(os.environ, NOTIFY_SOCKET=manager, **(environment or {})))
        self.said = b""
        if ready:
            assert self.heard() == "READY=1"

    def write(self, server_user=OURSELVES, section="", sections="", text=None):
        if text is None:
            text = "[agent]\nserver_user = %s\nsocket = %s\nkeyring_file = %s\n%s\n%s" % (server_user, self.path, self.keyring, section, sections)
        with open(self.config + ".new", "w") as out:
            out.write(text)
        os.chmod(self.config + ".new", 0o600)
        os.rename(self.config + ".new", self.config)

    def heard(self):
        """What the service manager was told next."""
        return self.manager.recv(4096).decode()

    def reload(self):
        self.process.send_signal(signal.SIGHUP)
        told = self.heard()
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", told), told
        assert self.heard() == "READY=1"

    def wait_log(self, pattern):
        """Everything it has said, once that is in there; None at the deadline."""
        end = time.monotonic() + DEADLINE
        while not re.search(pattern, self.said.decode()):
            if not select.select([self.process.stderr], [], [], max(0, end - time.monotonic()))[0]:
                return None
            more = os.read(self.process.stderr.fileno(), 65536)
            if not more:
                return None
            self.said += more
        return self.said.decode()

    def wait_end(self):
        """Exit status and everything it said."""
        self.said += self.process.communicate(timeout=DEADLINE)[1]
        return self.process.returncode, self.said.decode()

    def delay(self, milliseconds):
        path = self.keyring + ".delay_ms"
        with open(path + ".new", "w") as out:
            out.write("%d\n" % milliseconds)
        os.rename(path + ".new", path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self.manager.close()
        if self.owned:
            shutil.rmtree(self.directory, ignore_errors=True)


class Guest(Client):
    """A client of a service; first: what it sends, before which it waits for nothing."""

    def __init__(self, service, first=None, welcome=True):
        Stream.__init__(self, socket.socket(socket.AF_UNIX))
        self.sock.settimeout(DEADLINE)
        self.sock.connect(service.path)
        self.tickets = 1
        self.send(frame(GREETING, [("nonce", greeting())]) if first is None else first)
        if welcome:
            got = self.receive()
            assert got.kind == WELCOME and not got.fields


def closed(service, first, text, version=VERSION):
    try:
        guest = Guest(service, first, welcome=False)
        claim(guest.is_closed(), text)
        guest.close()
    except Closed:
        claim(True, text)


# --- the conversation -------------------------------------------------------

def serves_who_greets():
    with Service(environment={"JOURNAL_STREAM": "1:2"}) as service:
        guest = Guest(service)
        dek = Dek(guest, make_kek(guest), 7)
        answer = guest.ask(UNWRAP, dek.request())
        claim(answer.status == OK and check_value(answer.one("dek"), dek.binding) == dek.check, "a service makes KEKs and opens what they wrap")
        claim(os.path.exists(service.keyring), "in the keyring that its file names")
        claim(guest.status()["servers"] == "1", "and tells how many servers it serves")
        status = open("/proc/%d/status" % service.process.pid).read()
        claim("NoNewPrivs:\t1" in status, "it can gain no privileges")
        claim(os.stat("/proc/%d/mem" % service.process.pid).st_uid == 0, "it is not dumpable")
        said = service.wait_log("<6>.* is ready at ") or ""
        claim(re.search(r"^<6>pg_envelope agent \S+ is ready at \"%s\" for the processes of user id %d\.$" % (re.escape(service.path), os.geteuid()), said, re.M),
              "for the journal its lines have systemd's form")
        claim("<4>server_user is the agent's own user" in said, "it warns of a server_user that is its own")
        guest.close()


def tells_the_conversations_apart():
    nonce = [("nonce", os.urandom(32))]
    with Service() as service:
        closed(service, frame(HELLO, nonce), "a client that wants a proof is closed")
        closed(service, frame(PROOF, [("proof", os.urandom(32))]), "so is one that offers one")
        closed(service, frame(GREETING), "a greeting that does not say of which server")
        closed(service, frame(STATUS), "a request without a greeting")
        closed(service, frame(GREETING, nonce, version=VERSION + 1), "a greeting of another version")
        closed(service, frame(WELCOME), "an agent's own word")
        guest = Guest(service)
        guest.send(frame(GREETING, nonce))
        claim(guest.is_closed(), "and a second greeting")
        guest.close()
    with Agent(PROGRAM) as agent:
        for first, text in ((frame(GREETING, nonce), "a greeting"), (frame(GREETING, nonce) + frame(STATUS, ticket=1), "a greeting and a request")):
            client = Client(agent, greet=False)
            client.send(first)
            claim(client.is_closed(), "a spawned agent takes no proof's place: %s" % text)
            client.close()
        claim(agent.wait_log()[1].count("something else than frames of this version") == 1, "and logs it")


def refuses_other_users():
    with Service(server_user="nobody") as service:
        closed(service, frame(GREETING, [("nonce", greeting())]), "who is not server_user is closed")
        said = service.wait_log("another user")
        claim(said is not None and "another user (id %d, not 65534)" % os.geteuid() in said, "and logged")
        service.write()
        service.reload()
        guest = Guest(service)
        claim(guest.status()["connections_refused"] == "1", "until server_user is another")
        service.write("nobody")
        service.reload()
        closed(service, frame(GREETING, [("nonce", greeting())]), "which a reload can take away again")
        claim(guest.is_closed(), "also from who is connected")
        guest.close()


def keeps_servers_apart():
    with Service() as service:
        first = Guest(service)
        dek = Dek(first, make_kek(first), 7)
        guests = [first, Guest(service), Guest(service, frame(GREETING, [("nonce", greeting(1, b"b"))])),
                  Guest(service, frame(GREETING, [("nonce", greeting(2, b"a"))]))]
        before = int(first.status()["requests_joined"])
        service.delay(HELD)
        tickets = [guest.post(UNWRAP, dek.request(), flush=5) for guest in guests]
        other = Guest(service, frame(GREETING, [("nonce", greeting(3))]))
        joined = int(other.wait_status(requests_waiting=4)["requests_joined"]) - before
        service.delay(0)
        claim(joined == 1, "equal unwraps of one server are one call; those of another, or of another life of it, are not (%d joined)" % joined)
        for guest, ticket in zip(guests, tickets):
            answer = guest.receive()
            claim(answer.status == OK and answer.ticket == ticket, "each is answered")
        said = service.wait_log("there are 3 that share")
        claim(said is not None and said.count("one more server") == 2, "servers that share an agent are told of, once each")
        claim(other.status()["servers"] == "3", "and counted by their system identifiers")
        for guest in guests + [other]:
            guest.close()


# --- its file ---------------------------------------------------------------

def refuses_to_start():
    bad = [("", "no section \\[agent\\]"), ("[local]\n", "no section \\[agent\\]"),
           ("[agent]\nserver_user = %s\nkonkurrency = 3\n" % OURSELVES, "Line 3 of \".*\": unknown setting"),
           ("[agent]\nserver_user = no_such_user\n", "Line 2 of \".*\": there is no user \"no_such_user\""),
           ("[agent]\nsocket = /tmp/x\n", "needs the line server_user")]
    for text, reason in bad:
        service = Service(ready=False)
        with service:
            service.process.kill()
            service.process.wait()
            service.write(text=text)
            ran = subprocess.run([PROGRAM, "serve", "--config", service.config], capture_output=True, text=True, timeout=DEADLINE)
            claim(ran.returncode == 1 and re.search(reason, ran.stderr), "it does not start: %s" % reason)
    ran = subprocess.run([PROGRAM, "serve", "--config", "agent.conf"], capture_output=True, text=True)
    claim(ran.returncode == 2 and "absolute path" in ran.stderr, "nor with a relative path")
    with Agent(PROGRAM) as agent:
        path = agent.write_config("[local]\n[agent]\nserver_user = %s\n" % OURSELVES)
        agent.configure(kms_config_file=path)
        log = agent.wait_log()
        claim(log[0] == "warning" and "Line 2 of" in log[1] and "service of its own" in log[1], "a spawned agent does not take a service's file")


def reloads():
    with Service(section="concurrency = 3\n") as service:
        guest = Guest(service)
        claim(guest.status()["kms_concurrency"] == "3", "concurrency is the section's")
        service.write(section="concurrency = 5\n")
        service.reload()
        claim(guest.status()["kms_concurrency"] == "5", "SIGHUP takes another")
        service.write(section="concurrency = 7\n", sections="[vault x]\nadress = https://a\n")
        service.reload()
        said = service.wait_log("not in order")
        claim(said is not None and re.search(r"Line 8 of \"%s\": unknown setting \"adress\"" % re.escape(service.config), said), "of a bad file it says line and reason")
        status = guest.status()
        claim(status["kms_concurrency"] == "5" and "Line 8" in status["kms_config_problem"], "and keeps what it had")
        service.write(text="[local]\n")
        service.reload()
        claim("no section [agent]" in guest.status()["kms_config_problem"], "so it does with one that has no [agent]")
        service.write(section="concurrency = 6\n")
        keyring, service.keyring = service.keyring, service.keyring + "2"
        service.write(section="concurrency = 6\n")
        service.reload()
        claim(service.wait_log("Another keyring_file in \\[agent\\] needs a restart") is not None, "another keyring needs a restart")
        status = guest.status()
        claim(status["keyring_file"] == keyring and status["kms_concurrency"] == "6", "and is not told as the one in force")
        path, service.path = service.path, service.path + "2"
        service.write()
        service.reload()
        claim(service.wait_log("Another socket in \\[agent\\] needs a restart") is not None and not os.path.exists(service.path), "so does another socket")
        service.path = path
        guest.close()


# --- its socket -------------------------------------------------------------

def owns_its_socket():
    with Service() as service:
        claim(os.stat(service.path).st_mode & 0o777 == 0o666, "everybody may connect")
        second = Service(service.directory, ready=False)
        with second:
            code, said = second.wait_end()
            claim(code == 1 and "Another agent serves at" in said, "a second agent does not take the socket")
        guest = Guest(service)
        claim(guest.status()["clients"] == "1", "from the first, who goes on")
        guest.close()
        service.process.kill()
        service.process.wait()
        claim(os.path.exists(service.path), "(one that is killed leaves its socket)")
        third = Service(service.directory)
        with third:
            guest = Guest(third)
            claim(guest.status()["clients"] == "1", "a dead agent's is taken over")
            guest.close()
            third.process.terminate()
            claim(third.heard() == "STOPPING=1" and third.wait_end()[0] == 0, "SIGTERM ends it well")
            claim(not os.path.exists(third.path), "and its socket with it")
        for what, make in (("file", lambda path: open(path, "w").close()), ("directory", os.mkdir),
                           ("link", lambda path: os.symlink("/nonexistent", path))):
            make(service.path)
            with Service(service.directory, ready=False) as other:
                code, said = other.wait_end()
                claim(code == 1 and "is not a socket" in said and os.path.lexists(service.path), "a %s in its place stays" % what)
            (os.rmdir if what == "directory" else os.unlink)(service.path)
        os.chmod(service.directory, 0o777)
        with Service(service.directory, ready=False) as other:
            code, said = other.wait_end()
            claim(code == 1 and "may be written by others" in said, "a directory that others can write is not believed")
        os.chmod(service.directory, 0o700)
        os.unlink(service.path + ".lock")
        os.symlink(service.config, service.path + ".lock")
        with Service(service.directory, ready=False) as other:
            code, said = other.wait_end()
            claim(code == 1 and ".lock" in said, "nor is a link where its lock is")


def ends_in_time():
    with Service() as service:
        guest = Guest(service)
        dek = Dek(guest, make_kek(guest), 7)
        service.delay(HELD)
        guest.post(UNWRAP, dek.request())
        Guest(service).wait_status(calls_in_flight=1)
        service.process.terminate()
        claim(guest.receive().status == UNREACHABLE, "who waits is told that the agent ends")
        claim(service.wait_end()[0] == 0, "and it does")


def is_test_build():
    with open(PROGRAM, "rb") as program:
        return b".delay_ms" in program.read()   # what a test obeys (kms_local_hooks.c)


QUICK = [serves_who_greets, tells_the_conversations_apart, refuses_other_users, refuses_to_start, reloads, owns_its_socket]
SLOW = [keeps_servers_apart, ends_in_time]


def main():
    occupy_low_descriptors()
    chosen = os.environ.get("ONLY", "").split()
    for test in QUICK + SLOW:
        if chosen and test.__name__ not in chosen:
            continue
        if test in SLOW and not is_test_build():
            claims.skip(test.__name__.replace("_", " "), "the program is no test build")
            continue
        try:
            test()
        except Exception as problem:  # one broken claim must not hide the others
            claim(False, "%s: %s: %s" % (test.__name__, type(problem).__name__, problem))
    return claims.done()


sys.exit(main())
