"""A second reader and writer of pg_envelope's formats.

Written from src/format/README.md alone, on primitives of the package
"cryptography": it shares no line with the extension.  Where the two disagree,
that page is wrong or one of us is.

SPDX-License-Identifier: PostgreSQL
"""
import hashlib
import hmac
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

XAES_256_GCM = 1
AES256_GCM = 2


class Refused(Exception):
    """The bytes are not what they should be, or do not open."""


def aes_block(key, block):
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def xaes_key(key, salt):
    number = int.from_bytes(aes_block(key, bytes(16)), "big") << 1
    if number >> 128:
        number = (number ^ 0x87) & ((1 << 128) - 1)
    k1 = number.to_bytes(16, "big")

    def derive(counter):
        m = bytes([0, counter, 0x58, 0]) + salt
        return aes_block(key, bytes(a ^ b for a, b in zip(m, k1)))

    return derive(1) + derive(2)


def seal_body(algorithm, key, associated, plain):
    salt = os.urandom(12) if algorithm == XAES_256_GCM else b""
    gcm_key = xaes_key(key, salt) if salt else key
    iv = os.urandom(12)
    return salt + iv + AESGCM(gcm_key).encrypt(iv, plain, associated)


def open_body(algorithm, key, associated, body):
    salt_len = 12 if algorithm == XAES_256_GCM else 0
    if len(body) < salt_len + 12 + 16:
        raise Refused("too short")
    gcm_key = xaes_key(key, body[:12]) if salt_len else key
    iv = body[salt_len:salt_len + 12]
    try:
        return AESGCM(gcm_key).decrypt(iv, body[salt_len + 12:], associated)
    except InvalidTag:
        raise Refused("not authentic") from None


def seal(algorithm, dek, dek_id, associated, plain):
    return b"\x01" + struct.pack(">I", dek_id) + seal_body(algorithm, dek, associated, plain)


def parse(sealed):
    if len(sealed) < 5 or sealed[0] != 1:
        raise Refused("no sealed value")
    (dek_id,) = struct.unpack(">I", sealed[1:5])
    if dek_id == 0:
        raise Refused("dek_id 0")
    return dek_id, sealed[5:]


def unseal(algorithm, dek, associated, sealed):
    return open_body(algorithm, dek, associated, parse(sealed)[1])


def binding(keyring, dek_id, version, purpose, algorithm, key_id):
    if not (len(keyring) == 16 and dek_id and version and purpose == 1
            and algorithm in (XAES_256_GCM, AES256_GCM) and 1 <= len(key_id) <= 255):
        raise Refused("no binding")
    return (b"\x01" + keyring + struct.pack(">IIBBH", dek_id, version, purpose, algorithm, len(key_id))
            + key_id)


def check_value(dek, bound):
    key = HKDF(algorithm=SHA256(), length=32, salt=b"", info=b"pg_envelope check v1").derive(dek)
    return hmac.new(key, bound, hashlib.sha256).digest()


def wrap_local(kek, kek_version, dek, bound):
    return b"\x01\x01\x00" + struct.pack(">I", kek_version) + seal_body(XAES_256_GCM, kek, bound, dek)


def unwrap_local(kek, bound, wrapped):
    if len(wrapped) != 3 + 4 + 12 + 12 + 32 + 16 or wrapped[:3] != b"\x01\x01\x00":
        raise Refused("no wrapped DEK of form 1")
    return struct.unpack(">I", wrapped[3:7])[0], open_body(XAES_256_GCM, kek, bound, wrapped[7:])
