#!/usr/bin/env python3
#
# SPDX-License-Identifier: PostgreSQL
"""AWS KMS that answers wrongly, and the list of all the ways in which it does.

usage: fault_aws.py DIRECTORY

As fault_vault.py, whose ways of biting and whose listeners these are.  A key's id is the name of
its case; of a decryption that was asked for the log says "LISTENER asked decrypt NAME 0".
"""

import base64
import gzip
import hashlib
import json
import os

import fault_server
import fault_vault as faults
from fault_server import HEAD, good
from fault_vault import CANARY, DEK_LEN, add, base64_of, body_is, every_second, first, not_acting, raw, redirect, reset, says, silent, text

ARN = "arn:aws:kms:eu-west-1:111122223333:key/"
OPERATIONS = {"Encrypt": "encrypt", "Decrypt": "decrypt", "DescribeKey": "describe", "RotateKeyOnDemand": "rotate"}
PLAIN = ("decrypt", "encrypt", "describe")
sealed = {}


def material(name):
    with faults.lock:
        version = faults.versions.get(name, 1)
    return hashlib.sha256(("%s %d" % (name, version)).encode()).hexdigest()


def key_metadata(name):
    return {"KeyMetadata": {"AWSAccountId": "111122223333", "Arn": ARN + name, "KeyId": name, "Description": CANARY, "Enabled": True,
                            "KeyState": "Enabled", "KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT", "KeyManager": "CUSTOMER",
                            "Origin": "AWS_KMS", "CreationDate": 1795346431.5, "CurrentKeyMaterialId": material(name)}}


def encrypt(name, request):
    blob = base64_of(os.urandom(150))
    with faults.lock:
        sealed[blob] = request["Plaintext"], request["EncryptionContext"], name
    return {"CiphertextBlob": blob, "KeyId": ARN + name, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "Canary": CANARY}


def decrypt(name, request):
    with faults.lock:
        plaintext, context, _ = sealed.get(request["CiphertextBlob"], (None, None, None))
    if plaintext is None or context != request["EncryptionContext"]:
        return None
    return {"Plaintext": plaintext, "KeyId": ARN + name, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "KeyMaterialId": material(name)}


def error(code):
    return text({"__type": code, "message": CANARY})


def truth(connection, operation, name):
    """Status and body of what AWS would answer."""
    request = json.loads(connection.body)
    if operation == "describe":
        return 200, text(key_metadata(name))
    if operation == "rotate":
        with faults.lock:
            faults.versions[name] = faults.versions.get(name, 1) + 1
            connection.server.log.write("rotated", name, faults.versions[name])
        return 200, text({"KeyId": ARN + name})
    answer = {"encrypt": encrypt, "decrypt": decrypt}[operation](name, request)
    return (200, text(answer)) if answer is not None else (400, error("InvalidCiphertextException"))


@fault_server.handler("")
def aws(connection, *_):
    operation = OPERATIONS[connection.headers["x-amz-target"].rpartition(".")[2]]
    name = json.loads(connection.body)["KeyId"].rpartition("/")[2]
    connection.server.log.write(connection.name, "asked", operation, name, 0)
    case = faults.cases.get(name)
    if case is None or operation not in case.at.split("+"):
        return faults.send_truth(connection, operation, name)
    with faults.lock:
        faults.counts[name] = faults.counts.get(name, 0) + 1
    return case.bite(connection, operation, name)


def samples():
    plain = {"Plaintext": base64_of(bytes(DEK_LEN)), "KeyId": ARN + "c1000", "EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "KeyMaterialId": material("")}
    return {"decrypt": text(plain), "encrypt": text({"CiphertextBlob": base64_of(bytes(150)), "KeyId": ARN + "c1000"}),
            "describe": text(key_metadata("c1000")), "rotate": text({"KeyId": ARN + "c1000"})}


def member_is(name, value, drop=False):
    """One member of the good answer, or of its metadata, is another."""
    def change(body):
        answer = json.loads(body)
        place = answer.get("KeyMetadata", answer)
        place[name] = value
        if drop:
            del place[name]
        return text(answer)
    return body_is(change)


def plaintext_is(change):
    """Of the right DEK."""
    def changed(body):
        answer = json.loads(body)
        answer["Plaintext"] = change(base64.b64decode(answer["Plaintext"]))
        return text(answer)
    return body_is(changed)


def cut_ones():
    sample = samples()
    for at in range(0, len(good(sample["decrypt"])), 3):
        add("truncated", "decrypt", raw(lambda body, at=at: good(body)[:at]))
    for operation in PLAIN:
        for at in range(1, len(sample[operation]) - 20, 7):
            add("short-json", operation, body_is(lambda body, at=at: body[:at]))
    for at in range(0, len(good(sample["rotate"])), 9):
        add("rotation-cut", "rotate", raw(lambda body, at=at: good(body)[:at]), "ok")


def wrong_members():
    other = ARN.replace("1111", "9999")
    for operation in ("decrypt", "encrypt"):
        for value in faults.TEXT_WRONG + ("", "x", ARN + "good", ARN, other + "c1", ARN.replace("key/", "alias/") + "a", ARN + "\u0000"):
            add("other-key", operation, member_is("KeyId", value))
        add("other-key", operation, member_is("KeyId", "", drop=True))
        for value in faults.TEXT_WRONG + ("", "RSAES_OAEP_SHA_256", "symmetric_default", CANARY):
            add("other-algorithm", operation, member_is("EncryptionAlgorithm", value))
    for value in faults.TEXT_WRONG + ("x", "\u0000", "\n", "AAA", "A" * 43):
        add("wrong-type", "decrypt", member_is("Plaintext", value))
    for value in faults.TEXT_WRONG + ("", " ", "AAA", "AA==\n", "A-_=", "\u00e4", "A" * 8200):
        add("wrong-type", "encrypt", member_is("CiphertextBlob", value))
    for name, operation in (("Plaintext", "decrypt"), ("CiphertextBlob", "encrypt"), ("Arn", "describe"), ("KeyState", "describe"), ("KeySpec", "describe")):
        add("missing", operation, member_is(name, "", drop=True))
    for value in faults.TEXT_WRONG + ("", CANARY, ARN + "good", other + "c1", ARN.replace("eu-west-1", "us-east-1") + "c1", ARN.replace("aws", "aws-cn") + "c1"):
        add("other-key", "describe", member_is("Arn", value))
    for name in ("KeyState", "KeySpec"):
        for value in faults.TEXT_WRONG + ("", CANARY, "x " * 40):
            add("wrong-type", "describe", member_is(name, value))
    for value in ("Disabled", "PendingDeletion", "PendingImport", "Unavailable", "Creating", "PendingReplicaDeletion"):
        add("state", "describe", member_is("KeyState", value), "unusable")
        add("state", "describe", member_is("KeyState", value), "unusable", request="rotate")
    for value in ("RSA_2048", "ECC_NIST_P256", "HMAC_256", "SM2"):
        add("state", "describe", member_is("KeySpec", value), "unusable")
    add("state", "describe", member_is("KeyUsage", "SIGN_VERIFY"), "unusable")
    add("state", "describe", member_is("KeyManager", "AWS"), "unusable")
    for length in (0, 1, 16, 31, 33, 64, 1000):
        add("dek-length", "decrypt", plaintext_is(lambda dek, length=length: base64_of((dek * 40)[:length])), "damaged")
        add("dek-length", "decrypt", plaintext_is(lambda dek, length=length: base64_of((dek * 40)[:length])), "damaged", request="wrap")
    for at in range(0, DEK_LEN, 4):
        add("other-dek", "decrypt", plaintext_is(lambda dek, at=at: base64_of(dek[:at] + bytes([dek[at] ^ 1]) + dek[at + 1:])), "damaged")
        add("other-dek", "decrypt", plaintext_is(lambda dek, at=at: base64_of(dek[:at] + bytes([dek[at] ^ 1]) + dek[at + 1:])), "damaged", request="wrap")


def wrong_texts():
    wrong = [b"", b" ", b"null", b"true", b"7", b'"KeyId"', b"[]", b"{}", b"{,}", b"\xef\xbb\xbf{}", b"<html><body>" + CANARY.encode() + b"</body></html>",
             b"\x00", b"\xff\xfe{\x00}\x00", b'{"Plaintext":NaN}', CANARY.encode(), b"HTTP/1.1 200 OK\r\n\r\n", b"x" * ((1 << 20) + 1), b"[" * 500000]
    for operation in PLAIN:
        for body in wrong:
            add("not-json", operation, body_is(body))
        for behind in (b"x", b"{}", b"\x00", b"}"):
            add("not-json", operation, body_is(lambda body, behind=behind: body + behind))
        for extra in (b"\xff", b"\\ud800", b"\\u0000", b"\n"):
            add("not-json", operation, body_is(lambda body, extra=extra: b'{"a":"' + extra + b'",' + body[1:]))
        add("nesting", operation, body_is(lambda body: b'{"a":' + b"[" * 100 + b"]" * 100 + b"," + body[1:]))
        add("no-content", operation, raw(lambda body: b"HTTP/1.1 204 No Content\r\n\r\n", stay=True))
        for name, make in (("gzip", gzip.compress), ("br", bytes)):
            add("encoding", operation, raw(lambda body, name=name, make=make: HEAD + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (name.encode(), len(make(body))) + make(body)))


    for operation, names in (("decrypt", (b"KeyId", b"Plaintext")), ("encrypt", (b"KeyId", b"CiphertextBlob")), ("describe", (b"KeyMetadata",))):
        for name in names:
            for value in (b'""', b"null", b"{}"):
                add("duplicate", operation, body_is(lambda body, name=name, value=value: b'{"' + name + b'":' + value + b"," + body[1:]))


def errors():
    known = {"ThrottlingException": "throttled", "LimitExceededException": "used-up", "KMSInternalException": "unavailable", "DependencyTimeoutException": "unavailable", "KeyUnavailableException": "unavailable",
             "ExpiredTokenException": "unauthenticated", "UnrecognizedClientException": "unauthenticated", "InvalidSignatureException": "unauthenticated", "InvalidClientTokenId": "unauthenticated",
             "RequestExpired": "unauthenticated", "AccessDeniedException": "denied", "OptInRequired": "denied", "DisabledException": "unusable", "KMSInvalidStateException": "unusable", "InvalidKeyUsageException": "unusable",
             "InvalidCiphertextException": "damaged", "IncorrectKeyException": "damaged", "NotFoundException": "missing", "ValidationException": "invalid", "Unheard": "invalid", CANARY: "invalid"}
    xml = b"<ErrorResponse><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors></ErrorResponse>"
    for code, status in known.items():
        for operation in PLAIN:
            http = 500 if code == "KMSInternalException" else 400
            add("error", operation, says(http, error("com.amazonaws.kms#" + code + ":http://x/" + CANARY)), status)
            add("error-header", operation, says(http, text({"message": CANARY}), "x-amzn-ErrorType: " + code), status)
            add("error-xml", operation, says(http, xml % (code.encode(), CANARY.encode())), status)
    for http, status in ((300, "unavailable"), (304, "unavailable"), (401, "denied"), (403, "denied"), (404, "invalid"), (405, "invalid"), (408, "unavailable"), (413, "invalid"), (429, "throttled"),
                         (500, "unavailable"), (502, "unavailable"), (503, "unavailable"), (504, "unavailable"), (201, "unavailable"), (206, "unavailable")):
        for operation in PLAIN:
            add("status", operation, says(http, b"" if http == 304 else b"<html>" + CANARY.encode()), status)
    for operation in PLAIN:
        for http in (301, 302, 307, 308):
            add("redirect", operation, redirect(http, "plain", "other"))
        add("error-loop", operation, every_second(says(503, error("KMSInternalException"))), "ok|unavailable")
        # (the clocks agree, so it is not signed again)
        add("request-id", operation, says(400, error("NotFoundException"), "x-amzn-RequestId: " + CANARY), "missing")


def rotations():
    for bite in (raw(lambda body: b""), reset(0), reset(40), says(500, error("KMSInternalException")), says(503, b""), body_is(b"<html>"),
                 raw(lambda body: b"HTTP/1.1 204 No Content\r\n\r\n", stay=True), redirect(307, "plain", "other")):
        add("rotation-not-done", "rotate", not_acting(bite))
    for bite in (body_is(b"{}"), body_is(b""), body_is(b"null")):
        # AWS rotates behind its answer, so this is none that is wrong
        add("rotation-not-done", "rotate", not_acting(bite), "ok")
    for code, status in (("LimitExceededException", "used-up"), ("AccessDeniedException", "denied"), ("UnsupportedOperationException", "unusable"), ("DisabledException", "unusable"),
                         ("ThrottlingException", "throttled"), ("ConflictException", "unusable")):
        add("rotation-not-done", "rotate", not_acting(says(400, error(code))), status)
    for bite in (lost(raw(lambda body: b"")), lost(reset(0)), lost(says(500, error("KMSInternalException"))), lost(says(503, b"")), body_is(b"{}"), body_is(b"<html>")):
        add("rotation-lost", "rotate", bite, "ok")
    add("rotation-hangs", "rotate", silent(0))


def lost(bite):
    """It acts, and then bites."""
    def act(connection, operation, name):
        truth(connection, operation, name)
        return bite(connection, "describe", name)
    return act


def connections():
    for listener in ("tls-expired", "tls-other-host", "tls-self-signed", "tls-old", "tls-client", "tls-cut", "tls-silent", "tls-garbage"):
        for request in ("unwrap", "wrap", "describe", "rotate"):
            add(listener, "decrypt", silent(0), request=request, where=listener)
    for listener, kind in (("refused", "refused"), ("full", "black-holed"), (faults.NOBODY, "lookup-hangs"), ("unknown.test", "no-such-host")):
        for request in ("unwrap", "describe", "rotate"):
            add(kind, "decrypt", silent(0), request=request, where=listener)


def main():
    faults.truth = truth
    for part in (faults.slow_ones, connections, rotations, cut_ones, wrong_members, wrong_texts, errors):
        part()
    # for what the test itself is about: the first five are of a service that is down
    faults.cases["down"] = faults.Case("decrypt", first(5, says(503, error("KMSInternalException"))))
    faults.cases["hangs"] = faults.Case("decrypt", silent(0))
    fault_server.main()


if __name__ == "__main__":
    main()
