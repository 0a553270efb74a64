#!/usr/bin/env python3
#
# SPDX-License-Identifier: PostgreSQL
"""A Transit engine that answers wrongly, and the list of all the ways in which it does.

usage: fault_vault.py DIRECTORY

fault_server.py with the paths of Vault below /v1/: the same listeners, certificates and
log.  Before their names it prints a line per case,

    case NAME KIND REQUEST WHERE STATUS

which says: perform REQUEST (unwrap, wrap, describe, rotate, destroy) with the key NAME, and
STATUS must come of it ("ok|..." if several may).  A REQUEST in the plural (unwraps, wraps, rewraps)
is three at once, of which STATUS may say one by one ("damaged/ok/ok").  WHERE is "shared", a session on the
listener tls that other cases have as well, or the listener of a session of the case's own,
whose token ends in ".NAME"; where that is the name of a host, nobody listens.

A key that is no case's is a good one.  Of what was done the log says "rotated NAME VERSION"
and "deleted NAME".  What must not be passed on has CANARY in it.
"""

import base64
import gzip
import json
import os
import re
import sys
import threading
import zlib

import fault_server
from fault_server import CHUNKED, HANG_UP, HEAD, HOST, good

CANARY = "canary-4be1-body"
DEK_LEN = 32
NOBODY = "hangs.test"
lock = threading.Lock()
sealed = {}                 # ciphertext: (plaintext, binding), both as they came
versions = {}               # of keys; 1 if not there
deleted = set()             # keys
counts = {}                 # how often a case has bitten
cases = {}
spoilers = {}               # the context of the item that spoils a case's batches


def text(value):
    return json.dumps(value, separators=(",", ":")).encode()


def base64_of(data):
    return base64.b64encode(data).decode()


# --- the good one --------------------------------------------------------------

def envelope(data, auth=None):
    return text({"request_id": CANARY, "lease_id": "", "renewable": False, "lease_duration": 0, "data": data,
                 "wrap_info": None, "warnings": [CANARY], "auth": auth})


def key_data(name):
    with lock:
        version = versions.get(name, 1)
    return {"allow_plaintext_backup": False, "deletion_allowed": False, "derived": True, "exportable": False,
            "keys": {"1": 1795346431}, "latest_version": version, "min_decryption_version": 1, "name": CANARY,
            "soft_deleted": False, "supports_decryption": True, "supports_encryption": True, "type": "aes256-gcm96"}


def self_data():
    return {"id": CANARY, "ttl": 3600, "expire_time": "2031-11-22T11:21:22Z", "renewable": False}


def encrypt(item):
    ciphertext = "vault:v1:" + base64_of(os.urandom(60))
    with lock:
        sealed[ciphertext] = item["plaintext"], item["context"]
    return {"ciphertext": ciphertext, "key_version": 1}


def decrypt(item):
    with lock:
        plaintext, binding = sealed.get(item["ciphertext"], (None, None))
    if plaintext is None:
        return {"error": "invalid ciphertext: no prefix"}
    if binding != item["context"]:
        return {"error": "cipher: message authentication failed"}
    return {"plaintext": plaintext}


def rewrap(item):
    opened = decrypt(item)
    return opened if "error" in opened else encrypt({"plaintext": opened["plaintext"], "context": item["context"]})


def one_or_many(perform, request, http_status=400):
    """Items of a batch that fail stand beside the others; the status says so but of a rewrap."""
    if "batch_input" not in request:
        result = perform(request)
        return (400, errors(result["error"])) if "error" in result else (200, envelope(result))
    results = [{**perform(item), "reference": item["reference"]} for item in request["batch_input"]]
    return http_status if any("error" in result for result in results) else 200, envelope({"batch_results": results})


def rotate(connection, name):
    with lock:
        versions[name] = versions.get(name, 1) + 1
        connection.server.log.write("rotated", name, versions[name])
    return 200, envelope(key_data(name))


def delete(connection, name):
    with lock:
        deleted.add(name)
        connection.server.log.write("deleted", name)
    return 200, envelope({})


def errors(said):
    return text({"errors": [said], "warnings": [CANARY]})


def truth(connection, operation, name):
    """Status and body of what Vault would answer."""
    if operation == "describe" and name in deleted:
        return 404, text({"errors": []})
    if operation in ("describe", "config"):
        return 200, envelope(key_data(name))
    if operation == "delete":
        return delete(connection, name)
    if operation == "self":
        return 200, envelope(self_data())
    if operation == "rotate":
        return rotate(connection, name)
    perform = {"encrypt": encrypt, "decrypt": decrypt, "rewrap": rewrap}[operation]
    return one_or_many(perform, json.loads(connection.body), 200 if operation == "rewrap" else 400)


def send_truth(connection, operation, name):
    status, body = truth(connection, operation, name)
    connection.send(HEAD.replace(b"200 OK", b"%d Said" % status) + b"Content-Length: %d\r\n\r\n" % len(body) + body)


@fault_server.handler("v1")
def vault(connection, *words):
    token = connection.headers.get("x-vault-token", "")
    if words[:2] == ("auth", "token"):
        operation, name = "self", token.rpartition(".")[2]
    elif words[-1] in ("rotate", "config"):
        operation, name = words[-1], words[-2]
    elif connection.method == "DELETE":
        operation, name = "delete", words[-1]
    else:
        operation, name = {"keys": "describe"}.get(words[1], words[1]), words[-1]
    case = cases.get(name)
    if case is None or operation not in case.at.split("+"):
        return send_truth(connection, operation, name)
    with lock:
        counts[name] = counts.get(name, 0) + 1
    return case.bite(connection, operation, name)


# --- how it bites --------------------------------------------------------------

def raw(make, stay=False):
    """Sends what make() makes of the good body, and hangs up or stays."""
    def bite(connection, operation, name):
        _, body = truth(connection, operation, name)
        connection.send(make(body))
        return None if stay else HANG_UP
    return bite


def until_close(make):
    """What says of its length only that it ends."""
    def bite(connection, operation, name):
        connection.send(HEAD + b"\r\n" + make(truth(connection, operation, name)[1]))
        return connection.good_bye()
    return bite


def body_is(make):
    """A whole answer with another body: bytes, or a function of the good one."""
    return raw(lambda body: good(make(body) if callable(make) else make), stay=True)


def data_is(name, value, drop=False):
    """One member of the good data is another."""
    def change(body):
        answer = json.loads(body)
        if drop:
            del answer["data"][name]
        else:
            answer["data"][name] = value
        return text(answer)
    return body_is(change)


def says(status, body, *headers):
    lines = b"".join(header.encode() + b"\r\n" for header in headers)
    return raw(lambda good_body: b"HTTP/1.1 %d Said\r\n%sContent-Length: %d\r\n\r\n" % (status, lines, len(body)) + body, stay=True)


def silent(at):
    """So much of a good answer, and then nothing any more."""
    def bite(connection, operation, name):
        _, body = truth(connection, operation, name)
        connection.send(good(body)[:at])
        return connection.wait_for_end()
    return bite


def drip(start):
    def bite(connection, operation, name):
        answer = good(truth(connection, operation, name)[1])
        connection.send(answer[:start])
        for at in range(start, len(answer)):
            connection.send(answer[at:at + 1])
            if connection.server.end.wait(0.05):
                break
        return HANG_UP
    return bite


def endless(start, piece):
    def bite(connection, operation, name):
        connection.send(start)
        while True:
            connection.send(piece * 16)
    return bite


def reset(at):
    def bite(connection, operation, name):
        connection.send(good(truth(connection, operation, name)[1])[:at])
        return connection.reset()
    return bite


def redirect(status, listener, kind):
    def bite(connection, operation, name):
        _, body = truth(connection, operation, name)
        place = {"other": "%s://%s:%d/redirected" % ("http" if listener == "plain" else "https", HOST, connection.server.ports[listener]),
                 "same": connection.path, "nowhere": ""}[kind]
        connection.send(b"HTTP/1.1 %d Elsewhere\r\nLocation: %s\r\nContent-Length: %d\r\n\r\n" % (status, place.encode(), len(body)) + body)
    return bite


def first(count, bite):
    """So often; from then on the truth."""
    def sometimes(connection, operation, name):
        if counts[name] <= count:
            return bite(connection, operation, name)
        return send_truth(connection, operation, name)
    return sometimes


def every_second(bite):
    def sometimes(connection, operation, name):
        return bite(connection, operation, name) if counts[name] % 2 == 1 else send_truth(connection, operation, name)
    return sometimes


def refusing(connection, operation, name):
    """The first login is granted, and nothing after that."""
    if counts[name] == 1:
        return send_truth(connection, operation, name)
    return says(403, errors("permission denied"))(connection, "describe", name)


def not_acting(bite):
    """For rotations: a bite that knows no truth."""
    def refuse(connection, operation, name):
        return bite(connection, "describe", name)
    return refuse


def plaintext_is(change):
    """Of the right DEK."""
    def changed(body):
        answer = json.loads(body)
        answer["data"]["plaintext"] = change(base64.b64decode(answer["data"]["plaintext"]))
        return text(answer)
    return body_is(changed)


# --- how it bites of a batch -----------------------------------------------------

def results_are(change):
    """Of the list of results, as change() makes it, and a text in place of what is none."""
    def changed(body):
        answer = json.loads(body)
        answer["data"]["batch_results"] = change(answer["data"]["batch_results"])
        return text(answer)
    return body_is(changed)


def first_is(change):
    """The first result alone: of what change() returns, or of what it did."""
    return results_are(lambda results: [change(results[0]) or results[0]] + results[1:])


def member_is(name, value, drop=False):
    def change(result):
        result[name] = value
        if drop:
            del result[name]
    return first_is(change)


def swapped(*names):
    """The first two, in these members."""
    def change(results):
        for name in names:
            results[0][name], results[1][name] = results[1][name], results[0][name]
        return results
    return results_are(change)


def if_many(bite, more_than=1):
    """Where so many are asked for at once; else the truth."""
    def sometimes(connection, operation, name):
        many = len(json.loads(connection.body).get("batch_input", [])) > more_than
        return bite(connection, operation, name) if many else send_truth(connection, operation, name)
    return sometimes


def spoilt_by_first(bite):
    """All that the first item of the first batch is in."""
    def sometimes(connection, operation, name):
        contexts = [item["context"] for item in json.loads(connection.body)["batch_input"]]
        with lock:
            spoiler = spoilers.setdefault(name, contexts[0])
        return bite(connection, operation, name) if spoiler in contexts else send_truth(connection, operation, name)
    return sometimes


def at_status(status, bite=None):
    """The good answer, or another's, with another HTTP status."""
    def changed(body):
        return b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
    return raw(lambda body: changed(bite(body) if bite else body), stay=True)


# --- the list ------------------------------------------------------------------

class Case:
    def __init__(self, at, bite):
        self.at = at
        self.bite = bite


REQUEST_OF = {"decrypt": "unwrap", "encrypt": "wrap", "describe": "describe", "rotate": "rotate", "self": "unwrap",
              "delete": "destroy", "config": "destroy"}


def add(kind, at, bite, status="unavailable", request=None, where="shared"):
    name = "c%d" % len(cases)
    cases[name] = Case(at, bite)
    print("case", name, kind, request or REQUEST_OF[at], where, status)


def samples():
    """Good bodies of the same lengths as those that will be sent."""
    return {"decrypt": envelope({"plaintext": base64_of(bytes(DEK_LEN))}),
            "encrypt": envelope({"ciphertext": "vault:v1:" + base64_of(bytes(60)), "key_version": 1}),
            "decrypts": envelope({"batch_results": [{"plaintext": base64_of(bytes(DEK_LEN)), "reference": str(i)} for i in range(3)]}),
            "rewraps": envelope({"batch_results": [{"ciphertext": "vault:v1:" + base64_of(bytes(60)), "key_version": 1, "reference": str(i)} for i in range(3)]}),
            "describe": envelope(key_data("")), "rotate": envelope(key_data("")), "self": envelope(self_data())}


def cut_ones():
    sample = samples()
    for at in range(len(good(sample["decrypt"]))):
        add("truncated", "decrypt", raw(lambda body, at=at: good(body)[:at]))
    for operation in ("decrypt", "encrypt", "describe"):
        for at in range(len(sample[operation])):
            add("short-json", operation, body_is(lambda body, at=at: body[:at]))
    for at in range(0, len(good(sample["rotate"])), 9):
        add("rotation-cut", "rotate", raw(lambda body, at=at: good(body)[:at]), "ok")


BOOL_WRONG = (None, 0, 1, "true", "", [], {})
INT_WRONG = (None, True, "1", 1.5, [], {}, 10 ** 30)
TEXT_WRONG = (None, True, 7, 1.5, [], {}, ["x"])


def wrong_types():
    for value in TEXT_WRONG + ("x", "\u0000", "\n"):
        add("wrong-type", "decrypt", data_is("plaintext", value))
    for value in TEXT_WRONG + ("", " ", "vault:v1:a b", "vault:v1:\u0000", "vault:v1:\u00e4", "x" * 9000, "vault:v2:abcd", "vault:v1:a\nb"):
        add("wrong-type", "encrypt", data_is("ciphertext", value))
    for value in INT_WRONG + (0, -1, 2):
        add("wrong-type", "encrypt", data_is("key_version", value))
    for request in ("describe", "wrap"):
        for name in ("derived", "exportable", "allow_plaintext_backup", "supports_encryption", "supports_decryption"):
            for value in BOOL_WRONG:
                add("wrong-type", "describe", data_is(name, value), request=request)
        for name in ("latest_version", "min_decryption_version"):
            for value in INT_WRONG:
                add("wrong-type", "describe", data_is(name, value), request=request)
        for value in (0, -1):
            add("wrong-type", "describe", data_is("latest_version", value), request=request)
        for value in TEXT_WRONG + ("x " + CANARY, CANARY * 9):
            add("wrong-type", "describe", data_is("type", value), request=request)
    for operation in ("decrypt", "encrypt", "describe"):
        for value in (None, True, 7, "x", [], [{}], {}):
            add("wrong-type", operation, body_is(text({"data": value, "errors": [CANARY]})))
    for operation, names in (("decrypt", ["plaintext"]), ("encrypt", ["ciphertext", "key_version"]), ("describe", [n for n in key_data("") if re.match("allow|der|exp|lat|min|supp|type", n)])):
        for name in names:
            add("missing", operation, data_is(name, None, drop=True))


def wrong_texts():
    long = b"x" * ((1 << 20) + 1)
    wrong = [b"", b" ", b"null", b"true", b"7", b'"data"', b"[]", b"{}", b"{,}", b"\xef\xbb\xbf{}", b"<html><body>" + CANARY.encode() + b"</body></html>",
             b"\x00", b"\xff\xfe{\x00}\x00", b"{'data':{}}", b'{"data":{"plaintext":NaN}}', CANARY.encode(), b"%PDF-1.4", b"HTTP/1.1 200 OK\r\n\r\n"]
    for operation in ("decrypt", "encrypt", "describe"):
        for body in wrong:
            add("not-json", operation, body_is(body))
        for behind in (b"x", b"{}", b"\x00", b"]", b"}", b',"a":1'):
            add("not-json", operation, body_is(lambda body, behind=behind: body + behind))
        for extra in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\\x", b"\n"):
            add("not-json", operation, body_is(lambda body, extra=extra: b'{"a":"' + extra + b'",' + body[1:]))
        for twice in (b'{"data":{},', b'{"data":null,', b'{"auth":null,', b'{"request_id":"",'):
            add("duplicate", operation, body_is(lambda body, twice=twice: twice + body[1:]))
        for depth in (33, 100, 3000, 100000):
            add("nesting", operation, body_is(lambda body, depth=depth: b'{"a":' + b"[" * depth + b"]" * depth + b"," + body[1:]))
            add("nesting", operation, body_is(b'{"data":' * depth + b"{}" + b"}" * depth))
        add("nesting", operation, body_is(b"[" * 500000))
        add("too-long", operation, body_is(long))
        add("too-long", operation, body_is(lambda body: body + b" " * (1 << 20)))
        add("too-long", operation, raw(lambda body: HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 40) + body))
        add("too-long", operation, raw(lambda body: b"HTTP/1.1 200 OK\r\nX-Much: " + b"x" * (80 << 10) + b"\r\n\r\n" + body))
    for name in ("plaintext", "x"):
        # the same name twice, one of them right
        add("duplicate", "decrypt", body_is(lambda body, name=name: body.replace(b'{"plaintext"', b'{"%s":"","%s":"","plaintext"' % (name.encode(), name.encode()))))
    add("duplicate", "decrypt", body_is(lambda body: body.replace(b'{"plaintext"', b'{"\\u0070laintext":"AAAA","plaintext"')))
    add("duplicate", "encrypt", body_is(lambda body: body.replace(b'{"ciphertext"', b'{"ciphertext":"vault:v1:AAAA","ciphertext"')))
    add("duplicate", "describe", body_is(lambda body: body.replace(b'"derived"', b'"derived":false,"derived"')))
    for form in ("none", "data", "both"):
        body = {"none": {}, "data": {"data": {}}, "both": {"data": None, "auth": {}}}[form]
        for operation in ("decrypt", "encrypt", "describe"):
            add("empty", operation, body_is(text(body)))
    for operation in ("decrypt", "encrypt", "describe"):
        add("no-content", operation, raw(lambda body: b"HTTP/1.1 204 No Content\r\n\r\n", stay=True))


def wrong_keys():
    for length in [n for n in range(65) if n != DEK_LEN] + [1000, 100000]:
        add("dek-length", "decrypt", plaintext_is(lambda dek, length=length: base64_of((dek * (length // DEK_LEN + 1))[:length])), "damaged")
    for at in range(DEK_LEN):
        add("other-dek", "decrypt", plaintext_is(lambda dek, at=at: base64_of(dek[:at] + bytes([dek[at] ^ 1]) + dek[at + 1:])), "damaged")
    for other in (bytes(DEK_LEN), b"\xff" * DEK_LEN):
        add("other-dek", "decrypt", plaintext_is(lambda dek, other=other: base64_of(other)), "damaged")
        add("other-dek", "decrypt", plaintext_is(lambda dek, other=other: base64_of(other)), "damaged", request="wrap")
    add("other-dek", "decrypt", plaintext_is(lambda dek: base64_of(dek[::-1])), "damaged")
    add("other-dek", "decrypt", plaintext_is(lambda dek: base64_of(os.urandom(DEK_LEN))), "damaged", request="wrap")
    for length in (0, 31, 33):
        add("dek-length", "decrypt", plaintext_is(lambda dek, length=length: base64_of((dek + dek)[:length])), "damaged", request="wrap")
    # of the DEK as it is, or one whose text has characters that differ
    for change in (lambda t: t.rstrip("="), lambda t: t + "=", lambda t: t + "\n", lambda t: " " + t, lambda t: t[:20] + "\n" + t[20:],
                   lambda t: t[:20] + "-" + t[21:], lambda t: t[:20] + "_" + t[21:], lambda t: t[:20] + "=" + t[21:],
                   lambda t: t[:-2] + chr(ord(t[-2]) + 1) + "=", lambda t: "data:;base64," + t, lambda t: "v1:" + t):
        add("base64", "decrypt", plaintext_is(lambda dek, change=change: change(base64_of(dek))))

    def of_another(body):
        """What another request's plaintext became."""
        own = json.loads(body)["data"]["ciphertext"]
        with lock:
            ciphertext = next(c for c in sealed if c != own)
        return text({"data": {"ciphertext": ciphertext, "key_version": 1}})
    add("other-ciphertext", "encrypt", body_is(of_another), "damaged")
    for ciphertext in ("vault:v1:AAAA", "x", "prefix:v1:AAAA", "vault:v1:" + "A" * 8000):
        add("other-ciphertext", "encrypt", data_is("ciphertext", ciphertext), "damaged")
    add("not-derived", "describe", data_is("derived", False), "unusable", request="unwrap")
    add("no-kind-for-us", "describe", data_is("type", "rsa-2048"), "unusable", request="wrap")
    add("no-kind-for-us", "describe", data_is("type", "aes128-gcm96"), "unusable", request="describe")
    add("no-kind-for-us", "describe", data_is("supports_encryption", False), "unusable", request="wrap")
    add("no-kind-for-us", "describe", data_is("soft_deleted", True), "unusable", request="wrap")


def statuses():
    said = errors(CANARY)
    for status in (201, 202, 203, 206, 226, 299):
        add("status", "decrypt", raw(lambda body, status=status: b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body, stay=True))
    for status in (400, 402, 405, 406, 408, 409, 410, 413, 415, 418, 422, 431, 451, 499):
        add("status", "decrypt", says(status, said), "invalid")
    for status in (401, 403):
        for operation in ("decrypt", "encrypt", "describe", "rotate"):
            add("denied", operation, says(status, said) if operation != "rotate" else not_acting(says(status, said)), "denied")
    for status in (412, 472, 473, 500, 501, 502, 503, 504, 505, 507, 511, 520, 599):
        for operation in ("decrypt", "encrypt"):
            add("status", operation, says(status, said))
    for status in (400, 401, 403, 404, 500):
        for body in (b"", b"<html>404</html>", text({"data": {"plaintext": base64_of(bytes(DEK_LEN))}}), b'{"errors":"x"}', b'{"errors":["key not found"]'):
            add("not-vaults", "decrypt", says(status, body))
    for body in (text({"errors": []}), said):
        add("status", "describe", says(404, body), "missing")
    for status, said, meaning in (
            (400, "cipher: message authentication failed", "damaged"), (500, "cipher: message authentication failed", "damaged"),
            (400, "invalid ciphertext: version is too new", "damaged"), (400, "invalid ciphertext: x", "damaged"),
            (500, "invalid ciphertext", "unavailable"), (400, "ciphertext or signature version is disallowed by policy (too old)", "unusable"),
            (400, "encryption key not found", "missing"), (500, "encryption key not found", "unavailable"),
            (400, "missing 'context' for key derivation", "unusable"), (500, "unsupported key type x", "unusable")):
        add("known-error", "decrypt", says(status, errors(said + " " + CANARY)), meaning)
    for wait in ("0", "1", "60", "99999999999", "-1", "soon", "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"):
        add("throttled", "decrypt", says(429, said.encode(), "Retry-After: " + wait), "throttled")
        add("throttled", "decrypt", says(503, said.encode(), "Retry-After: " + wait))
    for date in ("Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 01 Jan 2100 00:00:00 GMT", "yesterday"):
        add("skewed-clock", "decrypt", raw(lambda body, date=date: b"HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Length: %d\r\n\r\n" % (date.encode(), len(body)) + body, stay=True), "ok")


def framing():
    def length(words):
        return lambda body: HEAD + b"Content-Length: " + (words(body) if callable(words) else words) + b"\r\n\r\n" + body
    for operation in ("decrypt", "encrypt"):
        for words in (lambda b: b"%d" % (len(b) + 1), lambda b: b"%d" % (len(b) - 1), b"-1", b"many", b"3, 4", b"9" * 25,
                      lambda b: b"%d\r\nContent-Length: 3" % len(b), lambda b: b"3\r\nContent-Length: %d" % len(b)):
            add("wrong-length", operation, raw(length(words)))
        for head in (b"HTTP/9.9 200 OK\r\n", b"HTTP/1.1 yes\r\n", b"HTTP/1.1 999 Much\r\n", b"HTTP/1.1 099 Less\r\n", b"", b"ICY 200 OK\r\n", b"\x00\xff\r\n",
                     CANARY.encode() + b"\r\n"):
            add("garbage", operation, raw(lambda body, head=head: head + b"Content-Length: %d\r\n\r\n" % len(body) + body))
        add("garbage", operation, raw(lambda body: body))
        add("garbage", operation, raw(lambda body: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + body))
        add("until-close", operation, until_close(lambda body: body), "ok")
        for at in range(0, len(samples()[operation]), 7):
            add("until-close", operation, until_close(lambda body, at=at: body[:at]))
        for chunks in (lambda b: b"xyz\r\n" + b, lambda b: b"%x\r\n" % (len(b) + 9) + b, lambda b: b"f" * 18 + b"\r\n" + b,
                       lambda b: b"%x\r\n" % len(b) + b + b"\r\n", lambda b: b"%x\r\n" % len(b) + b + b"\r\n0", lambda b: b"0\r\n\r\n" + b):
            add("chunks", operation, raw(lambda body, chunks=chunks: CHUNKED + chunks(body)))
        for name, make in (("gzip", gzip.compress), ("deflate", zlib.compress), ("br", bytes), ("identity, gzip", gzip.compress), (CANARY, bytes)):
            add("encoding", operation, raw(lambda body, name=name, make=make: HEAD + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (name.encode(), len(make(body))) + make(body)))
        add("encoding", operation, raw(lambda body: HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\n\x1f\x8b\x08\r\n0\r\n\r\n"))
        add("encoding", operation, body_is(gzip.compress))
        for status in (300, 301, 302, 303, 304, 305, 307, 308):
            # a 304 has no body
            bites = [redirect(status, "plain", "other"), redirect(status, "tls-h2", "other"), redirect(status, "tls", "same"), redirect(status, "tls", "nowhere")]
            for bite in bites:
                add("redirect", operation, bite)

    def smuggle(body):
        other = text({"data": {"plaintext": base64_of(b"\xaa" * DEK_LEN)}})
        return good(body) + good(other)
    for _ in range(8):
        add("smuggled", "decrypt", raw(smuggle, stay=True), "ok|unavailable")


def slow_ones():
    head = len(good(b"")) + 2
    for operation in ("decrypt", "encrypt", "describe"):
        for at in (0, 1, 30, head, head + 20):
            add("silent", operation, silent(at))
        for start in (0, head):
            add("slow", operation, drip(start))
        for start, piece in ((CHUNKED, b"400\r\n" + b"x" * 1024 + b"\r\n"), (HEAD + b"\r\n", b"x" * 1024), (HEAD, b"X-More: more\r\n"),
                             (b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (CHUNKED, b"1\r\nx\r\n"), (HEAD + b"\r\n", b"[" * 1024)):
            add("endless", operation, endless(start, piece))
        for at in (0, 20, head + 5):
            add("reset", operation, reset(at))
        add("flapping", operation, every_second(raw(lambda body: b"")), "ok|unavailable")
        add("flapping", operation, every_second(says(503, errors(CANARY))), "ok|unavailable")


def rotations():
    for bite in (raw(lambda body: b""), reset(0), reset(40), says(500, errors(CANARY)), says(503, errors(CANARY)), body_is(b"{}"),
                 body_is(b"<html>"), raw(lambda body: b"HTTP/1.1 204 No Content\r\n\r\n", stay=True), redirect(307, "plain", "other")):
        add("rotation-lost", "rotate", bite, "ok")
    for at in (0, 30, 300):
        add("rotation-hangs", "rotate", silent(at))
    for bite in (raw(lambda body: b""), reset(0), says(500, errors(CANARY)), says(503, errors(CANARY)), body_is(b"{}"), redirect(307, "plain", "other"), silent(0)):
        add("rotation-not-done", "rotate", not_acting(bite))


def deletions():
    for bite in (raw(lambda body: b""), reset(0), reset(40), says(500, errors(CANARY)), says(503, errors(CANARY)), body_is(b"{}"),
                 body_is(b"<html>"), raw(lambda body: b"HTTP/1.1 204 No Content\r\n\r\n", stay=True), redirect(307, "plain", "other")):
        add("deletion-lost", "delete", bite, "ok")
    for at in (0, 30):
        add("deletion-hangs", "delete", silent(at))
    for bite in (raw(lambda body: b""), reset(0), says(500, errors(CANARY)), body_is(b"{}"), redirect(307, "plain", "other"), silent(0)):
        add("deletion-not-done", "delete", not_acting(bite))
        add("deletion-not-done", "config", not_acting(bite))
    for operation in ("delete", "config"):
        add("deletion-not-done", operation, not_acting(says(403, errors(CANARY))), "denied")
        add("deletion-not-done", operation, not_acting(says(400, errors(CANARY))), "invalid")


def logins():
    sample = len(samples()["self"])
    own = {"where": "tls"}
    for at in range(0, sample, 20):
        add("login", "self", body_is(lambda body, at=at: body[:at]), **own)
    for value in INT_WRONG + (-1, 1 << 40):
        add("login", "self", data_is("ttl", value), **own)
    for bite in (says(403, b"<html>" + CANARY.encode()), says(500, errors(CANARY)), says(503, errors(CANARY)), body_is(b"{}"), silent(0), silent(40),
                 reset(0), redirect(302, "plain", "other"), endless(CHUNKED, b"1\r\nx\r\n"), drip(0)):
        add("login", "self", bite, **own)
    add("login", "self", says(429, errors(CANARY), "Retry-After: 60"), "unavailable|throttled", **own)
    for said in ("permission denied", CANARY):
        add("403-loop", "self", says(403, errors(said)), "unauthenticated", **own)
        add("403-loop", "self", says(400, errors(said)), "unauthenticated", **own)
    for operation in ("decrypt", "encrypt", "describe", "rotate"):
        add("403-loop", "self+" + operation, refusing, "unauthenticated", REQUEST_OF[operation], **own)
    for listener in ("tls-expired", "tls-other-host", "tls-self-signed", "tls-old", "tls-client", "tls-cut", "tls-silent", "tls-garbage"):
        for request in ("unwrap", "wrap", "describe", "rotate"):
            add(listener, "self", silent(0), request=request, where=listener)
    for listener, kind in (("refused", "refused"), ("full", "black-holed"), (NOBODY, "lookup-hangs"), ("unknown.test", "no-such-host")):
        for request in ("unwrap", "describe", "rotate"):
            add(kind, "self", silent(0), request=request, where=listener)


MANY = (("decrypt", "unwraps"), ("rewrap", "rewraps"), ("encrypt", "wraps"))


def batches():
    sample = samples()
    for operation, request in MANY:
        many = {"request": request}
        body = sample["decrypts" if operation == "decrypt" else "rewraps"]
        for at in range(0, len(body), 9):
            add("batch-cut", operation, body_is(lambda good_body, at=at: good_body[:at]), **many)
        for bite in (raw(lambda good_body: b""), silent(0), silent(300), reset(0), reset(300), body_is(b"{}"), body_is(b"<html>"), body_is(b"x" * ((1 << 20) + 1)),
                     raw(lambda good_body: b"HTTP/1.1 204 No Content\r\n\r\n", stay=True), redirect(307, "plain", "other")):
            add("batch-lost", operation, bite, **many)
        for bite in (every_second(raw(lambda good_body: b"")), every_second(says(503, errors(CANARY)))):
            add("batch-flapping", operation, bite, "ok|unavailable", **many)
        batch_places(operation, many)
        batch_items(operation, many)
        batch_refusals(operation, many)
    batch_keys()


def batch_places(operation, many):
    """An answer that is not where it belongs is none; and then none is taken."""
    for value in TEXT_WRONG + (0, "", "x", "1", "2", "00", "0 ", "-0", "0\u0000"):
        add("batch-place", operation, member_is("reference", value), **many)
    for change in (lambda r: [r[1], r[0], r[2]], lambda r: r[::-1], lambda r: r[1:], lambda r: r[:2], lambda r: r + [r[2]], lambda r: r + [{}], lambda r: [],
                   lambda r: [r[0], r[0], r[0]], lambda r: [r[0], r[1], r[1]], lambda r: [r], lambda r: {"0": r[0], "1": r[1], "2": r[2]}, lambda r: None,
                   lambda r: [r[0], r[1], None], lambda r: [[], r[1], r[2]], lambda r: [r[0], CANARY, r[2]], lambda r: [r[0], 7, r[2]], lambda r: json.dumps(r), lambda r: r * 200):
        add("batch-place", operation, results_are(change), **many)
    add("batch-place", operation, body_is(lambda body: body.replace(b'"batch_results"', b'"batch_results":[],"batch_results"')), **many)
    add("batch-place", operation, body_is(lambda body: body.replace(b'"reference":"0"', b'"reference":"0","reference":"0"')), **many)
    add("batch-place", operation, body_is(lambda body: body.replace(b'"batch_results"', b'"results"')), **many)
    # old services do not give it back
    add("batch-without-reference", operation, results_are(lambda r: [{k: v for k, v in one.items() if k != "reference"} for one in r]), "ok", **many)
    # what stands in another's place, with the right references
    names = ("plaintext",) if operation == "decrypt" else ("ciphertext",)
    add("batch-swapped", operation, swapped(*names), "damaged/damaged/ok", **many)


def batch_items(operation, many):
    """One item is wrong, and its neighbours are good."""
    alone = "unavailable/ok/ok"
    if operation == "decrypt":
        for value in TEXT_WRONG + ("x", "\u0000", "\n", "AAA", "A" * 43):
            add("batch-item", operation, member_is("plaintext", value), alone if value != "\u0000" else "unavailable", **many)
        add("batch-item", operation, member_is("plaintext", "", drop=True), alone, **many)
        for length in (0, 1, 31, 33, 64, 1000):
            add("batch-dek-length", operation, member_is("plaintext", base64_of(b"x" * length)), "damaged/ok/ok", **many)
        for other in (bytes(DEK_LEN), b"\xff" * DEK_LEN):
            add("batch-other-dek", operation, member_is("plaintext", base64_of(other)), "damaged/ok/ok", **many)
    else:
        for value in TEXT_WRONG + ("", " ", "vault:v1:a b", "vault:v2:abcd", "x" * 9000):
            add("batch-item", operation, member_is("ciphertext", value), alone, **many)
        for value in INT_WRONG + (0, -1, 2):
            # (no JSON of ours has such a number)
            add("batch-item", operation, member_is("key_version", value), alone if value != 10 ** 30 else "unavailable", **many)
        for name in ("ciphertext", "key_version"):
            add("batch-item", operation, member_is(name, "", drop=True), alone, **many)
        for other in ("vault:v1:AAAA", "x", "prefix:v1:AAAA"):
            add("batch-other-ciphertext", operation, member_is("ciphertext", other), "damaged/ok/ok", **many)
    for said, meaning in (
            ("cipher: message authentication failed", "damaged"), ("invalid ciphertext: version is too new", "damaged"), ("invalid ciphertext: x", "damaged"),
            ("ciphertext or signature version is disallowed by policy (too old)", "unusable"), ("encryption key not found", "missing"),
            ("missing 'context' for key derivation", "unusable"), ("refusing to use soft-deleted key", "unusable"), (CANARY, "unavailable"), ("", "unavailable")):
        for status in (200, 207, 400):
            add("batch-error", operation, at_status(status, lambda body, said=said: with_error(body, said + " " + CANARY if said else "")), meaning + "/ok/ok", **many)
    for value in TEXT_WRONG:
        if value != ["x"]:
            add("batch-error", operation, member_is("error", value), alone, **many)


def with_error(body, said, all_of_them=False):
    answer = json.loads(body)
    for result in answer["data"]["batch_results"][:3 if all_of_them else 1]:
        result["error"] = said
    return text(answer)


def batch_refusals(operation, many):
    """All of it, with one reason or none."""
    for status in (207, 400, 500):
        add("batch-status", operation, at_status(status), "ok", **many)
    for status in (201, 206, 404, 503):
        add("batch-status", operation, at_status(status), **many)
    add("batch-status", operation, at_status(500, lambda body: with_error(body, CANARY, True)), **many)
    add("batch-status", operation, says(400, errors(CANARY)), "invalid", **many)
    add("batch-status", operation, says(404, errors(CANARY)), "missing", **many)
    add("batch-status", operation, says(403, errors(CANARY)), "denied", **many)
    add("batch-status", operation, says(429, errors(CANARY), "Retry-After: 60"), "throttled", **many)
    # those that are refused only together get through one by one
    for bite in (says(400, errors(CANARY)), says(400, errors("cipher: message authentication failed")), says(500, errors("cipher: message authentication failed"))):
        add("batch-alone", operation, if_many(bite), "ok", **many)
    for said, meaning in (("cipher: message authentication failed", "damaged"), ("disallowed by policy (too old)", "unusable"), (CANARY, "invalid")):
        add("batch-spoilt", operation, spoilt_by_first(says(400, errors(said))), meaning + "/ok/ok", **many)
    # a session of its own, which learns how many are taken
    for most in (1, 2):
        for bite in (says(413, errors(CANARY)), says(413, b""), says(400, errors("refused JSON input due to high complexity: x"))):
            add("batch-too-much", operation, if_many(bite, most), "ok", where="tls", **many)


def batch_keys():
    for request in ("unwraps", "rewraps"):
        add("batch-not-derived", "describe", data_is("derived", False), "unusable", request=request)
    for request in ("wraps", "rewraps"):
        add("batch-no-kind-for-us", "describe", data_is("type", "rsa-2048"), "unusable", request=request)
        add("batch-no-kind-for-us", "describe", data_is("soft_deleted", True), "unusable", request=request)
    for request in ("unwraps", "rewraps", "wraps"):
        add("batch-describe", "describe", body_is(b"{}"), request=request)
    # the proof of what was rewrapped or wrapped
    for request in ("rewraps", "wraps"):
        add("batch-proof", "decrypt", swapped("plaintext"), "damaged/damaged/ok", request=request)
        add("batch-proof", "decrypt", member_is("plaintext", base64_of(bytes(DEK_LEN))), "damaged/ok/ok", request=request)
        add("batch-proof", "decrypt", results_are(lambda r: r[:2]), request=request)


def main():
    for part in (slow_ones, logins, rotations, deletions, cut_ones, wrong_types, wrong_texts, wrong_keys, statuses, framing, batches):
        part()
    # for what the test itself is about: the first five are of a service that is down
    cases["down"] = Case("decrypt", first(5, says(503, errors(CANARY))))
    cases["hangs"] = Case("decrypt", silent(0))
    fault_server.main()


if __name__ == "__main__":
    main()
