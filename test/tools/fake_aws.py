#!/usr/bin/env python3
#
# SPDX-License-Identifier: PostgreSQL
"""AWS's STS, a container's credential service and an instance's (IMDSv2), as fakes.

usage: fake_aws.py DIRECTORY

Listens on a random port of 127.0.0.1, prints "aws PORT" and then "ready"; ends when its
standard input does.  It is strict: a signature is recomputed from the headers that came
(Signature Version 4, written here a second time), tokens are compared.  Files in
DIRECTORY steer it, looked at for each request:

    life            seconds that a credential lives (3600)
    skew            seconds that its clock is ahead (0)
    external_id     what AssumeRole must say
    web_token       the token that AssumeRoleWithWebIdentity must bring
    container_token the Authorization that a container must bring
    expire_tokens   the next GET of IMDS says 401, and the file is removed
    NAME.raw        sent as it is in place of the answer (a whole one of HTTP, or half of one)
    NAME.once       the same, for one request: the file is removed
                    NAME: token, role, instance, container, AssumeRole, AssumeRoleWithWebIdentity

What it saw is in DIRECTORY/log, a line each, written before any answer:

    token                                 a PUT for IMDS's token
    role, instance, container PATH
    AssumeRole KEY ROLE SESSION EXTERNAL-ID DURATION       "-": not given
    AssumeRoleWithWebIdentity ROLE SESSION
    issued N TIME EXPIRES                 the credential with number N; times of this machine's clock, in ms
    refused CODE

The keys that it knows: AKIAFAKE000000000001, and each that it has issued, with the
secret and the token "c4nary-secret-N" and "c4nary-session-N" (N in 6 digits).
"""

import calendar
import hashlib
import hmac
import os
import re
import socketserver
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs

DIRECTORY = sys.argv[1]
LONG_TERM = ("AKIAFAKE000000000001", "c4nary-long-term-secret-key", "")


def text_of(name, default=None):
    try:
        with open(os.path.join(DIRECTORY, name)) as file:
            return file.read().strip()
    except FileNotFoundError:
        return default


def number_of(name, default):
    return int(text_of(name, str(default)))


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.log = open(os.path.join(DIRECTORY, "log"), "a")
        self.keys = {LONG_TERM[0]: LONG_TERM}
        self.tokens = set()

    def note(self, *words):
        with self.lock:
            self.log.write(" ".join(str(word) for word in words) + "\n")
            self.log.flush()

    def issue(self):
        now = time.time()
        expires = int(now + number_of("life", 3600))
        with self.lock:
            number = len(self.keys)
            key = (f"ASIAFAKE{number:012d}", f"c4nary-secret-{number:06d}", f"c4nary-session-{number:06d}")
            self.keys[key[0]] = key
        self.note("issued", number, int(now * 1000), expires * 1000)
        return key, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires + number_of("skew", 0)))


STATE = State()


def hmac_of(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Refused(Exception):
    def __init__(self, status, code):
        super().__init__(code)
        self.status = status
        self.code = code


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def date_time_string(self, timestamp=None):
        return formatdate(time.time() + number_of("skew", 0), usegmt=True)

    def answer(self, status, body, content_type="text/plain"):
        body = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amzn-RequestId", "01234567-89ab-4cde-8f01-23456789abcd")
        self.end_headers()
        self.wfile.write(body)

    def prepared(self, name):
        """The answer that stands in a file."""
        once = os.path.join(DIRECTORY, name + ".once")
        for path in (once, os.path.join(DIRECTORY, name + ".raw")):
            try:
                with open(path, "rb") as file:
                    raw = file.read()
            except FileNotFoundError:
                continue
            if path == once:
                os.unlink(path)
            self.wfile.write(raw)
            self.wfile.flush()
            self.close_connection = True
            return True
        return False

    # --- IMDSv2 ---

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        STATE.note("token")
        if self.prepared("token"):
            return
        if self.path != "/latest/api/token" or not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
            self.answer(400, "")
            return
        token = f"c4nary-imds-{len(STATE.tokens):06d}=="
        STATE.tokens.add(token)
        self.answer(200, token)

    def do_GET(self):
        if self.path.startswith("/latest/"):
            self.imds()
        else:
            self.container()

    def imds(self):
        inner = self.path.removeprefix("/latest/meta-data/iam/security-credentials/")
        name = "role" if inner == "" else "instance"
        STATE.note(name)
        if self.prepared(name):
            return
        expired = os.path.join(DIRECTORY, "expire_tokens")
        if os.path.exists(expired):
            os.unlink(expired)
            STATE.tokens.clear()
        if self.headers.get("X-aws-ec2-metadata-token") not in STATE.tokens:
            self.answer(401, "")
        elif name == "role":
            self.answer(200, "app-role\nother-role")
        elif inner == "app-role":
            key, expires = STATE.issue()
            self.answer(200, '{"Code":"Success","LastUpdated":"2026-01-01T00:00:00Z","Type":"AWS-HMAC",'
                        f'"AccessKeyId":"{key[0]}","SecretAccessKey":"{key[1]}","Token":"{key[2]}","Expiration":"{expires}"}}')
        else:
            self.answer(404, "")

    # --- a container's service ---

    def container(self):
        STATE.note("container", self.path)
        if self.prepared("container"):
            return
        if self.headers.get("Authorization") != text_of("container_token"):
            self.answer(401, '{"code":"AccessDenied"}')
            return
        key, expires = STATE.issue()
        self.answer(200, f'{{"AccessKeyId":"{key[0]}","SecretAccessKey":"{key[1]}","Token":"{key[2]}",'
                    f'"Expiration":"{expires}","RoleArn":"arn:aws:iam::111122223333:role/app"}}', "application/json")

    # --- STS ---

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        form = {name: values[0] for name, values in parse_qs(body.decode(), strict_parsing=True).items()}
        action = form.get("Action", "")
        try:
            self.check_form(action, form, body)
            if self.prepared(action):
                return
            self.check_rights(action, form)
        except Refused as refused:
            STATE.note("refused", refused.code)
            self.answer(refused.status, '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
                        f'<Code>{refused.code}</Code><Message>c4nary &lt;message&gt;</Message></Error>'
                        '<RequestId>fake</RequestId></ErrorResponse>', "text/xml")
            return
        key, expires = STATE.issue()
        self.answer(200, f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">\n  <{action}Result>\n'
                    f'    <AssumedRoleUser><Arn>{form["RoleArn"]}</Arn></AssumedRoleUser>\n    <Credentials>\n'
                    f'      <AccessKeyId>{key[0]}</AccessKeyId>\n      <SecretAccessKey>{key[1]}</SecretAccessKey>\n'
                    f'      <SessionToken>{key[2]}</SessionToken>\n      <Expiration>{expires}</Expiration>\n'
                    f'    </Credentials>\n  </{action}Result>\n  <ResponseMetadata/>\n</{action}Response>\n', "text/xml")

    def check_form(self, action, form, body):
        if self.path != "/" or form.get("Version") != "2011-06-15" or \
                self.headers.get("Content-Type") != "application/x-www-form-urlencoded":
            raise Refused(400, "ValidationError")
        role = (form["RoleArn"], form["RoleSessionName"])
        if action == "AssumeRole":
            key = re.search(r"Credential=([^/]*)/", self.headers.get("Authorization", "Credential=-/")).group(1)
            STATE.note(action, key, *role, form.get("ExternalId", "-"), form.get("DurationSeconds", "-"))
            self.check_signature(key, body)
        elif action == "AssumeRoleWithWebIdentity":
            STATE.note(action, *role)
            if self.headers.get("Authorization") is not None:
                raise Refused(400, "ValidationError")
        else:
            raise Refused(400, "InvalidAction")

    def check_rights(self, action, form):
        if action == "AssumeRole" and form.get("ExternalId") != text_of("external_id"):
            raise Refused(403, "AccessDenied")
        if action == "AssumeRoleWithWebIdentity" and form.get("WebIdentityToken") != text_of("web_token"):
            raise Refused(400, "InvalidIdentityToken")

    def check_signature(self, key_id, body):
        key = STATE.keys.get(key_id)
        if key is None or self.headers.get("X-Amz-Security-Token", "") != key[2]:
            raise Refused(403, "InvalidClientTokenId")
        date = self.headers["X-Amz-Date"]
        match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=[^/]*/(\d{8})/([^/]*)/sts/aws4_request, ?"
                             r"SignedHeaders=([^,]*), ?Signature=([0-9a-f]{64})", self.headers["Authorization"])
        needed = {"host", "x-amz-date"} | ({"x-amz-security-token"} if key[2] else set())
        if match is None or not needed <= set(match.group(3).split(";")):
            raise Refused(403, "IncompleteSignature")
        day, region, names, signature = match.groups()
        headers = "".join(f"{name}:{self.headers[name].strip()}\n" for name in names.split(";"))
        request = f"POST\n/\n\n{headers}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        to_sign = f"AWS4-HMAC-SHA256\n{date}\n{day}/{region}/sts/aws4_request\n{hashlib.sha256(request.encode()).hexdigest()}"
        signing = ("AWS4" + key[1]).encode()
        for part in (day, region, "sts", "aws4_request"):
            signing = hmac_of(signing, part)
        if not hmac.compare_digest(hmac_of(signing, to_sign).hex(), signature):
            raise Refused(403, "SignatureDoesNotMatch")
        if abs(calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ")) - time.time() - number_of("skew", 0)) > 300:
            raise Refused(403, "RequestExpired")


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    request_queue_size = 64


def main():
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("aws", server.server_address[1])
        print("ready", flush=True)
        sys.stdin.read()


main()
