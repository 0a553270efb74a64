#!/usr/bin/env python3
#
# SPDX-License-Identifier: PostgreSQL
"""A web service that answers wrongly in every way that a test can name.

usage: fault_server.py DIRECTORY

Makes certificates in DIRECTORY (openssl), listens on random ports of 127.0.0.1,
prints "NAME PORT" per listener and then "ready"; ends when its standard input
does.  What it saw is in DIRECTORY/log, a line each, written before any answer:

    LISTENER accept                     a TCP connection
    LISTENER handshake [PROTOCOL] [CLIENT NAME]     TLS is up; PROTOCOL by ALPN
    LISTENER request METHOD PATH LENGTH-OF-BODY

Listeners: plain; tls (127.0.0.1, localhost), tls-expired, tls-other-host,
tls-self-signed, tls-old (TLS 1.1 at most), tls-client (wants a certificate of
ours), tls-h2 (would agree on HTTP/2), tls-cut (hangs up on the greeting), tls-silent, tls-garbage; full (no
connection is accepted any more), refused (nobody listens).
On plain, tls, tls-client and tls-h2 the path says what happens: see the handlers below.
"""

import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import warnings
from email.utils import formatdate

HOST = "127.0.0.1"
GOOD = b'{"data":{"plaintext":"a2V5"}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: request-1\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
DATE = 784111777        # that Date
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def good(body=GOOD):
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Log:
    def __init__(self, path):
        self.file = open(path, "a")
        self.lock = threading.Lock()

    def write(self, *words):
        with self.lock:
            self.file.write(" ".join(str(word) for word in words) + "\n")
            self.file.flush()


# --- certificates ------------------------------------------------------------

class Certificates:
    def __init__(self, directory):
        self.directory = directory
        self.openssl("req", "-x509", *self.new_key("ca"), "-out", self.path("ca.pem"), "-days", "2",
                     "-subj", "/CN=fault server CA")
        self.signed("good", "IP:127.0.0.1,DNS:localhost")
        self.signed("expired", "IP:127.0.0.1,DNS:localhost", days=0)
        self.signed("other-host", "DNS:other.test")
        self.signed("client", "DNS:client.test")
        self.openssl("req", "-x509", *self.new_key("self-signed"), "-out", self.path("self-signed.pem"),
                     "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        with open(self.path("combined.pem"), "w") as combined:
            combined.write(open(self.path("client.key")).read() + open(self.path("client.pem")).read())
        # a key that wants a passphrase
        self.openssl("pkey", "-in", self.path("client.key"), "-aes128", "-passout", "pass:x",
                     "-out", self.path("locked.key"))

    def path(self, name):
        return os.path.join(self.directory, name)

    def new_key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.path(name + ".key")]

    def openssl(self, *args, stdin=None):
        done = subprocess.run(["openssl", *args], input=stdin, capture_output=True)
        if done.returncode != 0:
            sys.exit("fault_server.py: openssl %s: %s" % (" ".join(args), done.stderr.decode()))
        return done.stdout

    def signed(self, name, names, days=2):
        request = self.openssl("req", "-new", *self.new_key(name), "-subj", "/CN=" + name,
                               "-addext", "subjectAltName=" + names)
        self.openssl("x509", "-req", "-CA", self.path("ca.pem"), "-CAkey", self.path("ca.key"), "-CAcreateserial",
                     "-copy_extensions", "copy", "-days", str(days), "-out", self.path(name + ".pem"), stdin=request)

    def context(self, name, client=False, old=False, protocols=()):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if protocols:
            context.set_alpn_protocols(protocols)
        context.load_cert_chain(self.path(name + ".pem"), self.path(name + ".key"))
        if client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.path("ca.pem"))
        if old:
            warnings.simplefilter("ignore", DeprecationWarning)
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1_1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context


# --- one connection ----------------------------------------------------------

class Gone(Exception):
    """The other side has hung up."""


class Connection:
    def __init__(self, server, name, sock):
        self.server = server
        self.name = name
        self.sock = sock
        self.requests = 0
        self.unread = b""

    def read_more(self):
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        self.unread += data

    def read_request(self):
        while b"\r\n\r\n" not in self.unread:
            self.read_more()
        head, self.unread = self.unread.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = lines[0].split(" ")
        self.headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
        length = int(self.headers.get("content-length", 0))
        while len(self.unread) < length:
            self.read_more()
        self.body, self.unread = self.unread[:length], self.unread[length:]
        self.requests += 1
        self.server.log.write(self.name, "request", self.method, self.path, length)

    def serve(self):
        """The path's first word picks the handler, the others are its arguments."""
        while True:
            self.read_request()
            word, *args = self.path.split("?")[0].strip("/").split("/")
            handler = HANDLERS.get(word)
            if handler is None:
                self.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            elif handler(self, *args) is HANG_UP:
                return

    def send(self, data):
        self.sock.sendall(data)

    def reset(self):
        """The next close sends RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return HANG_UP

    def good_bye(self):
        """Says within TLS that nothing more comes: libcurl 8 takes no answer that ends with the connection else."""
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.unwrap()
        return HANG_UP

    def wait_for_end(self):
        """Until the other side gives up."""
        while self.sock.recv(65536):
            pass
        return HANG_UP


HANG_UP = object()
HANDLERS = {}


def handler(name):
    def register(function):
        HANDLERS[name] = function
        return function
    return register


def fixed(name, data, more=False):
    """Sends that; with "more" the connection stays, for what may come of it."""
    HANDLERS[name] = lambda connection: connection.send(data) if more else (connection.send(data), HANG_UP)[1]


def answers():
    fixed("ok", good(), more=True)
    fixed("no-content", b"HTTP/1.1 204 No Content\r\n\r\n", more=True)
    fixed("close", HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD)
    fixed("until-close", HEAD + b"\r\n" + GOOD)
    fixed("chunked", CHUNKED + b"5\r\n" + GOOD[:5] + b"\r\n%x\r\n" % (len(GOOD) - 5) + GOOD[5:] + b"\r\n0\r\n\r\n", more=True)
    fixed("trailers", CHUNKED + b"%x\r\n" % len(GOOD) + GOOD + b"\r\n0\r\nX-Request-Id: trailer\r\nContent-Length: 3\r\n\r\n", more=True)
    fixed("gzip", HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08")
    fixed("transfer-gzip", HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\n\x1f\x8b\x08\r\n0\r\n\r\n")
    fixed("length-too-long", HEAD + b"Content-Length: %d\r\n\r\n" % (len(GOOD) + 1) + GOOD)
    fixed("length-too-short", HEAD + b"Content-Length: %d\r\n\r\n" % (len(GOOD) - 1) + GOOD)
    fixed("length-twice", HEAD + b"Content-Length: %d\r\nContent-Length: 3\r\n\r\n" % len(GOOD) + GOOD)
    fixed("length-list", HEAD + b"Content-Length: 3, 4\r\n\r\n" + GOOD)
    fixed("length-negative", HEAD + b"Content-Length: -1\r\n\r\n" + GOOD)
    fixed("length-words", HEAD + b"Content-Length: many\r\n\r\n" + GOOD)
    fixed("length-and-chunks", HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    fixed("length-absurd", HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n" + GOOD)
    fixed("length-huge", HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 40) + GOOD)
    fixed("chunk-garbage", CHUNKED + b"xyz\r\nabc\r\n0\r\n\r\n")
    fixed("chunk-cut", CHUNKED + b"20\r\nabc")
    fixed("chunk-huge", CHUNKED + b"ffffffffffffffffff\r\nabc")
    fixed("chunk-no-end", CHUNKED + b"3\r\nabc\r\n")
    fixed("garbage", b"\x00\xff\x01garbage\r\n\r\n")
    fixed("no-headers", GOOD)
    fixed("version-9", b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n")
    fixed("status-words", b"HTTP/1.1 yes\r\nContent-Length: 0\r\n\r\n")
    fixed("status-999", b"HTTP/1.1 999 Much\r\nContent-Length: 0\r\n\r\n")
    fixed("status-099", b"HTTP/1.1 099 Less\r\nContent-Length: 0\r\n\r\n")
    fixed("switching", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
    fixed("interim", b"HTTP/1.1 100 Continue\r\nX-Request-Id: interim\r\nContent-Length: 7\r\n\r\n" * 2 +
          b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n" + good(), more=True)
    fixed("header-huge", b"HTTP/1.1 200 OK\r\nX-Much: " + b"x" * (80 * 1024) + b"\r\nContent-Length: 0\r\n\r\n")
    fixed("headers-many", b"HTTP/1.1 200 OK\r\n" + b"X-Much: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n" * 2000 + b"Content-Length: 0\r\n\r\n")
    fixed("header-nul", b"HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 0\r\n\r\n")
    fixed("header-strange", b"HTTP/1.1 200 OK\r\nX-Request-Id: a\x01\xff\tb\r\nx-amzn-ErrorType: x#Y:\x01\r\nContent-Type: " + b"t" * 200 +
          b"\r\nDate: yesterday\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", more=True)
    fixed("wait-seconds", b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", more=True)
    fixed("wait-long", b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n", more=True)
    fixed("wait-date", b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %s\r\n" % formatdate(DATE + 90, usegmt=True).encode() +
          HEAD.split(b"\r\n", 1)[1] + b"Content-Length: 0\r\n\r\n", more=True)
    fixed("wait-past", b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n", more=True)


def one_mebibyte(extra):
    return good(b"x" * ((1 << 20) + extra))


@handler("status")
def status(connection, code):
    connection.send(b"HTTP/1.1 %s Said So\r\nContent-Length: 2\r\n\r\n{}" % code.encode())


@handler("largest")
def largest(connection, extra="0"):
    connection.send(one_mebibyte(int(extra)))


@handler("chunked-beyond")
def chunked_beyond(connection):
    connection.send(CHUNKED + b"%x\r\n" % ((1 << 20) + 1) + b"x" * ((1 << 20) + 1) + b"\r\n0\r\n\r\n")
    return HANG_UP


@handler("endless")
def endless(connection, kind):
    connection.send({"chunks": CHUNKED, "body": HEAD + b"\r\n", "headers": b"HTTP/1.1 200 OK\r\n",
                     "interim": b""}[kind])
    piece = {"chunks": b"400\r\n" + b"x" * 1024 + b"\r\n", "body": b"x" * 1024, "headers": b"X-More: more\r\n",
             "interim": b"HTTP/1.1 100 Continue\r\n\r\n"}[kind]
    while True:
        connection.send(piece * 16)


@handler("echo")
def echo(connection):
    connection.send(good(connection.body))


@handler("seen")
def seen(connection, name):
    """One header of the request, or all of their names."""
    text = connection.headers.get(name, "") if name != "names" else " ".join(sorted(connection.headers))
    connection.send(good(text.encode("latin-1")))


@handler("cut")
def cut(connection, at):
    connection.send(good()[:int(at)])
    return HANG_UP


@handler("redirect")
def redirect(connection, code):
    connection.send(b"HTTP/1.1 %s Elsewhere\r\nLocation: http://%s:%d/redirected\r\nContent-Length: 0\r\n\r\n"
                    % (code.encode(), HOST.encode(), connection.server.ports["plain"]))


@handler("reset")
def reset(connection, at):
    connection.send(good()[:int(at)])
    return connection.reset()


@handler("silent")
def silent(connection, at="0", *_):
    """Sends so much of a good answer, and then nothing any more."""
    connection.send(good()[:int(at)])
    return connection.wait_for_end()


@handler("drip")
def drip(connection):
    """A whole answer, but slower than anybody waits."""
    for i in range(len(good())):
        connection.send(good()[i:i + 1])
        if connection.server.end.wait(0.1):
            return HANG_UP


@handler("held")
def held(connection, milliseconds):
    connection.server.end.wait(int(milliseconds) / 1000)
    connection.send(good())


@handler("two-voices")
def two_voices(connection, milliseconds, mark):
    """Answers, and some time later answers what nobody has asked."""
    connection.send(good())
    connection.server.end.wait(int(milliseconds) / 1000)
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
    connection.server.log.write(mark)


@handler("lost")
def lost(connection):
    """Takes the request, and hangs up without a word."""
    return HANG_UP


@handler("second-lost")
def second_lost(connection):
    """The first request of a connection is answered, a later one is not."""
    if connection.requests > 1:
        return HANG_UP
    connection.send(good())


@handler("last")
def last(connection):
    """Answers, and hangs up without having said so."""
    connection.send(good())
    return HANG_UP


@handler("indiscreet")
def indiscreet(connection, where):
    """Gives back what it was told in confidence."""
    told = connection.headers.get("authorization", "").encode("latin-1") + connection.body
    connection.send({
        "status": b"HTTP/1.1 %s\r\n\r\n" % told,
        "version": b"HTTP/%s 200 OK\r\n\r\n" % told,
        "line": told + b"\r\n\r\n",
        "length": HEAD + b"Content-Length: %s\r\n\r\n" % told,
        "chunk": CHUNKED + told + b"\r\n",
        "encoding": HEAD + b"Content-Encoding: %s\r\n\r\n" % told,
        "header": HEAD + told + b"\r\n: x\r\n\r\n",
        "location": b"HTTP/1.1 302 Found\r\nLocation: %s\r\n%s: x\r\nContent-Length: 9\r\n\r\n%s" % (told, told, told[:3]),
        "body": HEAD + b"Content-Length: 9000\r\n\r\n" + told,
    }[where])
    return HANG_UP


# --- the server ----------------------------------------------------------------

class Server:
    def __init__(self, directory):
        self.log = Log(os.path.join(directory, "log"))
        self.ports = {}
        self.end = threading.Event()
        self.kept = []

    def bound(self, name):
        sock = socket.socket()
        sock.bind((HOST, 0))
        self.ports[name] = sock.getsockname()[1]
        self.kept.append(sock)
        return sock

    def listen(self, name, context=None, talk=None):
        sock = self.bound(name)
        sock.listen(256)
        threading.Thread(target=self.accept, args=(name, sock, context, talk), daemon=True).start()

    def fill(self, name):
        """A listener whose queue is full: further connections are not even refused."""
        sock = self.bound(name)
        sock.listen(0)
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((HOST, self.ports[name]))
            self.kept.append(filler)

    def accept(self, name, listener, context, talk):
        while True:
            sock, _ = listener.accept()
            self.log.write(name, "accept")
            threading.Thread(target=self.talk, args=(name, sock, context, talk), daemon=True).start()

    def talk(self, name, sock, context, talk):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if talk is not None:
                talk(sock)
                return
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True)
                peer = sock.getpeercert() or {}
                protocol = [sock.selected_alpn_protocol()] if sock.selected_alpn_protocol() else []
                self.log.write(name, "handshake", *protocol, *[v for rdn in peer.get("subject", ()) for k, v in rdn])
            Connection(self, name, sock).serve()
        except (Gone, OSError, ValueError):
            pass
        finally:
            sock.close()


def hang_up(sock):
    sock.recv(65536)


def stay_silent(sock):
    while sock.recv(65536):
        pass


def talk_garbage(sock):
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def main():
    directory = sys.argv[1]
    certificates = Certificates(directory)
    server = Server(directory)
    answers()
    server.listen("plain")
    server.listen("tls", certificates.context("good"))
    server.listen("tls-expired", certificates.context("expired"))
    server.listen("tls-other-host", certificates.context("other-host"))
    server.listen("tls-self-signed", certificates.context("self-signed"))
    server.listen("tls-old", certificates.context("good", old=True))
    server.listen("tls-client", certificates.context("good", client=True))
    server.listen("tls-h2", certificates.context("good", protocols=["h2", "http/1.1"]))
    server.listen("tls-cut", talk=hang_up)
    server.listen("tls-silent", talk=stay_silent)
    server.listen("tls-garbage", talk=talk_garbage)
    server.fill("full")
    server.bound("refused")
    for name, port in server.ports.items():
        print(name, port)
    print("ready", flush=True)
    sys.stdin.read()
    server.end.set()


if __name__ == "__main__":
    main()
