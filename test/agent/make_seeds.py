"""Makes the seeds of test/fuzz/frame_fuzz.c.

usage: make_seeds.py

SPDX-License-Identifier: PostgreSQL
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_peer import *  # noqa: E402,F403

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fuzz", "corpus", "frame_fuzz")
NONCE = bytes(range(32))
ROW = [("uri", b"local:1"), ("binding", binding(7)), ("check_value", NONCE), ("wrapped", b"\1\1\0wrapped")]

SEEDS = {
    "hello": frame(HELLO, [("nonce", NONCE)]),
    "challenge": frame(CHALLENGE, [("nonce", NONCE), ("proof", NONCE)]),
    "proof": frame(PROOF, [("proof", NONCE)]),
    "unwrap": frame(UNWRAP, ROW, 1, 2),
    "wrap-new": frame(WRAP_NEW, [("uri", b"local:1"), ("uri", b"local:2"), ("binding", binding(7))], 1),
    "rewrap": frame(REWRAP, [("uri", b"local:2")] + ROW, 1),
    "create-kek": frame(CREATE_KEK, ticket=1),
    "rotate-kek": frame(ROTATE_KEK, [("uri", b"local:1")], 1),
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

os.makedirs(FOLDER, exist_ok=True)
for name, data in SEEDS.items():
    with open(os.path.join(FOLDER, name), "wb") as out:
        out.write(data)
