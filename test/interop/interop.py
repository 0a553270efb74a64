"""Our C code and envelope_format.py read each other's values.

usage: interop.py DRIVER DIRECTORY_OF_VECTORS

SPDX-License-Identifier: PostgreSQL
"""
import os
import pathlib
import random
import subprocess
import sys

import envelope_format as fmt

SIZES = 1000
LARGEST = 70000

passed = 0
failed = 0


def check(holds, claim):
    global passed, failed
    if holds:
        passed += 1
    else:
        failed += 1
        print(f"not ok - {claim}")


class Driver:
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, verb, *args):
        """The bytes of an "ok", or None for "refused"."""
        words = [verb] + [(a.hex() or "-") if isinstance(a, bytes) else str(a) for a in args]
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        word, _, rest = self.process.stdout.readline().strip().partition(" ")
        if word not in ("ok", "refused"):
            raise SystemExit("the driver died")
        return bytes.fromhex(rest) if word == "ok" else None


def refused(function, *args):
    try:
        function(*args)
    except fmt.Refused:
        return True
    return False


def flipped(data, rng):
    at = rng.randrange(len(data) * 8)
    out = bytearray(data)
    out[at // 8] ^= 1 << at % 8
    return bytes(out)


def sizes():
    """1,000 different sizes from 0 to 70,000; the small ones and the block edges all in."""
    rng = random.Random(1)
    chosen = set(range(0, 100)) | {LARGEST - 1, LARGEST, 4095, 4096, 4097, 65535, 65536, 65537}
    while len(chosen) < SIZES:
        chosen.add(rng.randrange(LARGEST))
    return sorted(chosen)


def check_values(driver):
    rng = random.Random(2)
    for algorithm in (fmt.XAES_256_GCM, fmt.AES256_GCM):
        added = 45 if algorithm == fmt.XAES_256_GCM else 33
        for size in sizes():
            what = f"algorithm {algorithm}, {size} bytes"
            dek, plain = os.urandom(32), os.urandom(size)
            associated = os.urandom(rng.choice((0, 1, 22, 300)))
            dek_id = rng.randrange(1, 1 << 32)
            ours = driver.ask("seal", algorithm, dek, dek_id, associated, plain)
            check(len(ours) == size + added, f"{what}: length of ours")
            check(fmt.parse(ours)[0] == dek_id, f"{what}: id of ours")
            check(fmt.unseal(algorithm, dek, associated, ours) == plain, f"{what}: Python opens ours")
            theirs = fmt.seal(algorithm, dek, dek_id, associated, plain)
            check(driver.ask("open", algorithm, dek, associated, theirs) == plain, f"{what}: we open Python's")
            check(driver.ask("id", theirs) == dek_id.to_bytes(4, "big"), f"{what}: id of Python's")
            bad = theirs[:5] + flipped(theirs[5:], rng)
            check(driver.ask("open", algorithm, dek, associated, bad) is None, f"{what}: we refuse a flipped bit")
            check(driver.ask("open", algorithm, dek, associated + b"x", theirs) is None,
                  f"{what}: we refuse other associated data")


def check_bindings(driver):
    rng = random.Random(3)
    for n in range(300):
        keyring, dek, kek = os.urandom(16), os.urandom(32), os.urandom(32)
        key_id = os.urandom(rng.choice((1, 4, 63, 255)))
        fields = (rng.randrange(1, 1 << 32), rng.randrange(1, 1 << 32), 1, rng.choice((1, 2)))
        bound = fmt.binding(keyring, *fields, key_id)
        check(driver.ask("binding", keyring, *fields, key_id) == bound, f"binding {n}")
        check(driver.ask("binding-check", bound) == bound, f"binding {n}: read")
        check(driver.ask("binding-check", bound + b"x") is None, f"binding {n}: a byte more is refused")
        check(driver.ask("binding-check", bound[:-1]) is None, f"binding {n}: a byte less is refused")
        check(driver.ask("check-value", dek, bound) == fmt.check_value(dek, bound), f"check value {n}")
        version = rng.randrange(1, 1 << 32)
        ours = driver.ask("wrap", kek, version, dek, bound)
        check(fmt.unwrap_local(kek, bound, ours) == (version, dek), f"wrapped key {n}: Python unwraps ours")
        theirs = fmt.wrap_local(kek, version, dek, bound)
        check(driver.ask("unwrap", kek, bound, theirs) == dek, f"wrapped key {n}: we unwrap Python's")
        other = fmt.binding(keyring, *fields, flipped(key_id, rng))
        check(driver.ask("unwrap", kek, other, theirs) is None, f"wrapped key {n}: not under another binding")
        check(refused(fmt.unwrap_local, kek, other, ours), f"wrapped key {n}: Python neither")


def blocks(path):
    block = {}
    for line in path.read_text().splitlines() + [""]:
        if line.startswith("#"):
            continue
        name, equals, value = line.partition(" =")
        if equals:
            block[name] = value.strip()
        elif block:
            yield block
            block = {}


def check_frozen(directory):
    count = 0
    for path in sorted(pathlib.Path(directory).glob("sealed-*.txt")):
        for b in blocks(path):
            count += 1
            what = f"{path.name}, block {count}"
            raw = {k: bytes.fromhex(v) for k, v in b.items() if k in
                   ("dek", "kek", "associated", "plain", "sealed", "keyring", "key_id", "binding", "check_value", "wrapped")}
            if b["kind"] == "sealed":
                check(fmt.parse(raw["sealed"])[0] == int(b["dek_id"]), f"{what}: id")
                check(fmt.unseal(int(b["algorithm"]), raw["dek"], raw["associated"], raw["sealed"]) == raw["plain"],
                      f"{what}: opens")
            else:
                bound = fmt.binding(raw["keyring"], int(b["dek_id"]), int(b["version"]), int(b["purpose"]),
                                    int(b["algorithm"]), raw["key_id"])
                check(bound == raw["binding"], f"{what}: binding")
                check(fmt.check_value(raw["dek"], bound) == raw["check_value"], f"{what}: check value")
                check(fmt.unwrap_local(raw["kek"], bound, raw["wrapped"]) == (int(b["kek_version"]), raw["dek"]),
                      f"{what}: unwraps")
    check(count > 0, "there are frozen values")


def main():
    driver = Driver(sys.argv[1])
    check_values(driver)
    check_bindings(driver)
    check_frozen(sys.argv[2])
    print(f"{passed} passed, {failed} failed")
    sys.exit(0 if failed == 0 else 1)


if __name__ == "__main__":
    main()
