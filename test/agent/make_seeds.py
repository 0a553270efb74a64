"""Makes the seeds of test/fuzz whose inputs hold frames.

usage: make_seeds.py

SPDX-License-Identifier: PostgreSQL
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_peer import *  # noqa: E402,F403

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fuzz", "corpus")
NONCE = bytes(range(32))
ROW = [("uri", b"local:1"), ("binding", binding(7)), ("check_value", NONCE), ("wrapped", b"\1\1\0wrapped")]
DATABASE = [("database", b"app")]

SEEDS = {
    "hello": frame(HELLO, [("nonce", NONCE)]),
    "challenge": frame(CHALLENGE, [("nonce", NONCE), ("proof", NONCE)]),
    "proof": frame(PROOF, [("proof", NONCE)]),
    "unwrap": frame(UNWRAP, ROW, 1, 2),
    "wrap-new": frame(WRAP_NEW, [("uri", b"local:1"), ("uri", b"local:2"), ("binding", binding(7))], 1),
    "rewrap": frame(REWRAP, [("uri", b"local:2")] + ROW, 1),
    "unwrap-of-database": frame(UNWRAP, ROW + DATABASE, 1, 2),
    "wrap-new-of-database": frame(WRAP_NEW, [("uri", b"local:1"), ("binding", binding(7))] + DATABASE, 1),
    "rewrap-of-database": frame(REWRAP, [("uri", b"local:2")] + ROW + DATABASE, 1),
    "database-twice": frame(UNWRAP, ROW + 2 * DATABASE, 1, 2),
    "create-kek": frame(CREATE_KEK, ticket=1),
    "rotate-kek": frame(ROTATE_KEK, [("uri", b"local:1")], 1),
    "destroy-kek": frame(DESTROY_KEK, [("uri", b"local:1"), ("immediate", b"\1")] + DATABASE, 1),
    "restore-kek": frame(RESTORE_KEK, [("uri", b"local:1")] + DATABASE, 1),
    "status": frame(STATUS, ticket=2**64 - 1),
    "answer-key": frame(ANSWER, [("dek", NONCE)], 1),
    "answer-wrap": frame(ANSWER, [("check_value", NONCE), ("wrapped", b"w"), ("kek_version", b""), ("wrapped", b"x"), ("kek_version", b"2")], 1),
    "answer-error": frame(ANSWER, [("detail", "It \u00e9chou\u00e9.".encode())], 1, status=DAMAGED),
    "answer-status": frame(ANSWER, [("name", b"a"), ("value", b"1"), ("name", b"b"), ("value", b"")], 1),
    "settings": frame(SETTINGS, [("secret", NONCE), ("name", b"kms_concurrency"), ("value", b"16")]),
    "ready": frame(READY, [("value", b"0.1.0")]),
    "log": frame(LOG, [("detail", b"A sentence."), ("value", b"warning")]),
    "name-alone": frame(ANSWER, [("name", b"a")], 1),
    "left-over": frame(STATUS)[:3] + b"\1" + frame(STATUS)[4:] + b"x",
    "other-version": frame(STATUS, version=2),
}

REQUESTS = ["unwrap", "wrap-new", "rewrap", "create-kek", "rotate-kek", "status", "destroy-kek", "restore-kek",
            "unwrap-of-database", "wrap-new-of-database", "rewrap-of-database"]


def setting(name, value):
    return frame(SETTINGS, [("secret", NONCE), ("name", name), ("value", value)])


def save(target, seeds):
    folder = os.path.join(CORPUS, target)
    os.makedirs(folder, exist_ok=True)
    for name, data in seeds.items():
        with open(os.path.join(folder, name), "wb") as out:
            out.write(data)


save("frame_fuzz", SEEDS)
save("request_fuzz", {name: bytes(8) + SEEDS[name] for name in REQUESTS})
save("request_fuzz", {"lies": bytes([0, 4, 0, 8, 2, 1, 16, 32]) + SEEDS["wrap-new"]})
save("session_fuzz", {
    "hello": b"\x06" + SEEDS["hello"],
    "hello-proof": b"\xf0" + SEEDS["hello"] + SEEDS["proof"] + SEEDS["unwrap"],
    "byte-by-byte": b"\x01" + SEEDS["unwrap"] + SEEDS["status"],
    "requests": b"\x21" + b"".join(SEEDS[name] for name in REQUESTS),
    "a-refused-one-between": b"\x0b" + SEEDS["status"] + SEEDS["answer-key"] + SEEDS["status"],
})
save("settings_fuzz", {
    "concurrency": setting(b"kms_concurrency", b"256"),
    "concurrency-0": setting(b"kms_concurrency", b"0"),
    "keyring": setting(b"keyring_file", b"/some/where/keyring"),
    "config": setting(b"kms_config_file", b"/etc/pg_envelope/kms.conf"),
    "command": setting(b"keyring_passphrase_command", b"echo x"),
    "other": setting(b"kms_timeout_ms", b"10000"),
})
