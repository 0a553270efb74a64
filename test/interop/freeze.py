"""Writes the frozen values of a release, sealed by our own code.

usage: freeze.py DRIVER VERSION > test/vectors/sealed-VERSION.txt

Run once, when a release is made; the file is never edited or written again.

SPDX-License-Identifier: PostgreSQL
"""
import os
import sys

from interop import Driver

HEAD = """\
# Values of pg_envelope {version}, sealed by that version's own code.  FROZEN: this
# file is never edited and never made again; every later version opens what is
# in it (test/unit/frozen_test.c), and so does the Python reader of test/interop.
"""


def block(**fields):
    print()
    for name, value in fields.items():
        print(f"{name} = {value.hex() if isinstance(value, bytes) else value}".rstrip())


def main():
    driver, version = Driver(sys.argv[1]), sys.argv[2]
    print(HEAD.format(version=version), end="")
    for algorithm in (1, 2):
        for size in (0, 1, 11, 1000):
            for associated in (b"", b"13:customers.ssn,2:42,"):
                dek, plain = os.urandom(32), os.urandom(size)
                dek_id = int.from_bytes(os.urandom(4), "big") | 1
                block(kind="sealed", algorithm=algorithm, dek=dek, dek_id=dek_id, associated=associated, plain=plain,
                      sealed=driver.ask("seal", algorithm, dek, dek_id, associated, plain))
    for algorithm in (1, 2):
        for key_id in (b"a", "tenant-\u00fc".encode(), b"k" * 255):
            keyring, dek, kek = os.urandom(16), os.urandom(32), os.urandom(32)
            dek_id = int.from_bytes(os.urandom(4), "big") | 1
            bound = driver.ask("binding", keyring, dek_id, 3, 1, algorithm, key_id)
            block(kind="wrapped", keyring=keyring, dek_id=dek_id, version=3, purpose=1, algorithm=algorithm,
                  key_id=key_id, binding=bound, dek=dek, check_value=driver.ask("check-value", dek, bound),
                  kek=kek, kek_version=7, wrapped=driver.ask("wrap", kek, 7, dek, bound))


if __name__ == "__main__":
    main()
