"""Makes the seeds of the targets here from test/interop's writer.

usage: make_seeds.py, with the Python of test/interop/run.sh

SPDX-License-Identifier: PostgreSQL
"""
import hashlib
import pathlib
import re
import struct
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "interop"))
import envelope_format as fmt  # noqa: E402

KEY = b"the fuzzers' key, 32 bytes long\0"


def seed(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def uses_file(entries):
    body = b"PGEUSES\x01" + struct.pack(">I", len(entries)) + b"".join(struct.pack(">IIQ", *e) for e in entries)
    return body + hashlib.sha256(body).digest()


for algorithm in (1, 2):
    for size in (0, 1, 11, 100):
        seed("sealed_value_fuzz", f"opens-{algorithm}-{size}", fmt.seal(algorithm, KEY, 7, b"a", b"x" * size))
seed("sealed_value_fuzz", "id-0", bytes([1, 0, 0, 0, 0]) + bytes(40))
seed("sealed_value_fuzz", "short", b"\x01\0\0\0\1" + bytes(27))
seed("sealed_value_fuzz", "reserved", b"\xe0\0\0\0\1" + bytes(60))
for length in (1, 4, 255):
    seed("binding_fuzz", f"key-id-{length}", fmt.binding(bytes(range(16)), 7, 1, 1, 1, b"k" * length))
seed("binding_fuzz", "left-over", fmt.binding(bytes(range(16)), 7, 1, 1, 2, b"acme") + b"x")
seed("binding_fuzz", "short", fmt.binding(bytes(range(16)), 7, 1, 1, 2, b"acme")[:-1])
seed("wrapped_key_fuzz", "local", fmt.wrap_local(KEY, 1, bytes(32), b"binding"))
seed("wrapped_key_fuzz", "one-byte", b"\1\1\0x")
seed("wrapped_key_fuzz", "empty", b"\1\1\0")
seed("wrapped_key_fuzz", "other-form", b"\1\2\0abc")
seed("uses_file_fuzz", "none", uses_file([]))
seed("uses_file_fuzz", "two", uses_file([(5, 7, 1000), (5, 8, 1 << 33)]))
seed("uses_file_fuzz", "id-0", uses_file([(5, 0, 1)]))
LOCAL = b"local:00112233-4455-6677-8899-aabbccddeeff"
seed("kek_uri_fuzz", "one", LOCAL)
seed("kek_uri_fuzz", "upper-case", LOCAL.upper())
seed("kek_uri_fuzz", "no-hyphen", LOCAL.replace(b"-", b"0"))
seed("kek_uri_fuzz", "short", LOCAL[:-1])
seed("kek_uri_fuzz", "long", LOCAL + b"0")
seed("clean_text_fuzz", "plain", b"It failed.")
seed("clean_text_fuzz", "utf-8", "\u00e9\u20ac\U0001f511\x85\n".encode())
seed("clean_text_fuzz", "cut", "\U0001f511".encode()[:-1])
seed("clean_text_fuzz", "latin-1", b"\xe9t\xe9")
seed("local_unwrap_fuzz", "as-it-is", b"\1\0")
seed("local_unwrap_fuzz", "version", b"\1\0\6\3")
seed("local_unwrap_fuzz", "tag", b"\1\0\116\200")
seed("local_unwrap_fuzz", "longer", b"\1\1")
seed("local_unwrap_fuzz", "shorter", b"\1\377")
seed("local_unwrap_fuzz", "foreign", fmt.wrap_local(KEY, 1, bytes(32), b"binding"))
seed("local_unwrap_fuzz", "version-0", b"\1\0\6\1")
for line in (HERE.parent / "vectors" / "hostile_uris.txt").read_bytes().splitlines():
    if line and not line.startswith(b"#"):
        uri = line.split(b"\t")[1].replace(b"{server}", b"{host}:{port}").replace(b"{host}", b"a").replace(b"{port}", b"1")
        uri = b"transit/keys/tenant-*\n" + re.sub(rb"\\x(..)", lambda m: bytes.fromhex(m[1].decode()), uri)
        seed("key_uri_fuzz", "hostile-" + hashlib.sha1(uri).hexdigest()[:10], uri)
seed("key_uri_fuzz", "ipv6", b"*\nvault://[0:0::1]:8200/a?instance=b.c")
seed("key_uri_fuzz", "stars", b"*a*b/*c*\nvault://a/xaxb/cc")
CORP = b"[vault corp] ; a\naddress = https://a:1\n"
seed("kms_config_fuzz", "all", CORP + b"ca_file = /c\ntoken_file=/t ;\nallow_keys = a/*, b\nallow_databases = a,b\n"
     b"allow_keyrings = 00112233-4455-6677-8899-aabbccddeeff\n# b\n[local]\nallow_databases = c\n[other x.y-z_1]\n")
seed("kms_config_fuzz", "no-address", b"[vault corp]\nca_file = a\n")
seed("kms_config_fuzz", "two", CORP + CORP)
seed("kms_config_fuzz", "same", CORP + b"ca_file = a\nca_file = b\n")
seed("kms_config_fuzz", "utf-8", CORP + b"allow_databases = \xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x91\n")
seed("kms_config_fuzz", "latin-1", CORP + b"allow_databases = \xe9\n")
seed("kms_config_fuzz", "windows", CORP.replace(b"\n", b"\r\n"))
seed("kms_config_fuzz", "mark", b"\xef\xbb\xbf" + CORP)
seed("kms_config_fuzz", "names", b"[local]\n[local]\n[vault]\n[local a]\n[x y z]\n")
for name, text in (("standard", b"Zm9vYmE="), ("standard-2", b"+/8A"), ("url", b"-_8"), ("left-over", b"Zh=="), ("none", b"")):
    seed("encoding_fuzz", name, text)
ANSWERS = {
    "wrap": b'{"request_id":"5f2c","lease_duration":0,"data":{"ciphertext":"vault:v1:Zm9v","key_version":1},"warnings":null}',
    "login": b'{"auth":{"client_token":"hvs.x","lease_duration":3600,"renewable":true},"wrap_info":null}',
    "errors": b'{"errors":["permission denied","\\u00e9 \\"quoted\\""]}',
    "numbers": b'{"a":-1,"b":1.5e3,"c":9223372036854775807,"d":[true,false,null,{}]}',
    "twice": b'{"a":1,"\\u0061":2}',
    "nul": b'{"a":"\\u0000"}',
    "deep": b'{"a":' * 33 + b"1" + b"}" * 33,
    "cut": b'{"data":{"plaintext":"Zm9v',
}
for name, text in ANSWERS.items():
    seed("json_fuzz", name, text)
