"""The rows of the table of values: which functions, on which lists of arguments.

SPDX-License-Identifier: PostgreSQL
"""
from dataclasses import dataclass

from server import EACH_SALT, PRODUCT

SIZES = {11: "11 B", 100: "100 B", 1024: "1 KiB", 8192: "8 KiB", 65536: "64 KiB", 1 << 20: "1 MiB"}

@dataclass(frozen=True)
class Row:
    """A function, and the lists that its arguments take their values from in turn."""
    direction: str
    label: str
    function: str               # with the types of its arguments
    lists: tuple = ()
    opener: str = ""            # seal: what opens the result, given it and the other arguments
    transaction: bool = False   # one value per transaction
    port: int = PRODUCT         # EACH_SALT: built to draw a salt for every value
    line: str = ""              # its name in the plot, if it is there
    only: int = 0               # a size, where it is measured at that alone

    @property
    def name(self):
        return f"{self.direction}: {self.label}"

    @property
    def is_loop_in_c(self):
        return self.function.startswith("bench_evp_")


RAW = "encrypt_iv(bytea,bytea,bytea,text)"
SEALING = "envelope_encrypt(text,text)"
OPENING = "envelope_decrypt(bytea,text)"
SEALING_BYTEA = "envelope_encrypt_bytea(bytea,text)"
OPENING_BYTEA = "envelope_decrypt_bytea(bytea,text)"
NOTHING = "yardstick_noop(text)"

# Controls of the program itself: a seal that is slower on purpose, whose target
# has to be missed, and an open that gives other text, which has to be noticed.
SLOWER_NS = 5000
SLOW = "control: ours XAES, 5 us slower"
WRONG = Row("open", "control: other text", "planted_wrong(bytea,text)", ("sealed one", "one"))
PLANTED = f"""
    CREATE FUNCTION planted_slow(value text, key_id text) RETURNS bytea LANGUAGE plpgsql AS $$
        DECLARE
            until float8 := bench_cpu_ns() + {SLOWER_NS};
        BEGIN
            WHILE bench_cpu_ns() < until LOOP END LOOP;
            RETURN envelope_encrypt(value, key_id);
        END $$;
    CREATE FUNCTION planted_wrong(sealed bytea, key_id text) RETURNS text LANGUAGE sql AS
        $$ SELECT overlay(envelope_decrypt(sealed, key_id) PLACING '?' FROM 3) $$"""


def yardstick(kind, direction):
    return f"yardstick_{direction}_{kind}" + ("(text)" if direction == "seal" else "(bytea)")


def rows():
    def seal(label, function, *lists, **more):
        return Row("seal", label, function, ("plain",) + lists, **more)

    def open_(label, function, *lists, **more):
        return Row("open", label, function, lists, **more)

    ours = {"opener": OPENING}
    return [
        seal("no-op function", NOTHING, line="no-op function"),
        Row("seal", "EVP in C, XAES", "bench_evp_seal(true"),
        Row("seal", "EVP in C, GCM", "bench_evp_seal(false", line="EVP in C, GCM"),
        seal("yardstick XAES, counter", yardstick("xaes_counter", "seal"), opener=yardstick("xaes", "open")),
        seal("yardstick XAES, pool", yardstick("xaes_pool", "seal"), opener=yardstick("xaes", "open"), line="yardstick XAES"),
        seal("yardstick XAES one salt, counter", yardstick("salt_counter", "seal"), opener=yardstick("salt", "open")),
        seal("yardstick XAES one salt, pool", yardstick("salt_pool", "seal"), opener=yardstick("salt", "open")),
        seal("yardstick GCM, counter", yardstick("gcm_counter", "seal"), opener=yardstick("gcm", "open")),
        seal("yardstick GCM, pool", yardstick("gcm_pool", "seal"), opener=yardstick("gcm", "open")),
        seal("ours XAES", SEALING, "one", **ours, line="ours XAES"),
        seal("ours XAES, a salt per value", SEALING, "one", **ours, port=EACH_SALT),
        seal("ours XAES, 10 keys", SEALING, "ten", **ours),
        seal("ours XAES, 1,000 keys", SEALING, "thousand", **ours),
        seal("ours XAES, bytea", SEALING_BYTEA, "one", opener=OPENING_BYTEA),
        seal("ours GCM", SEALING, "compact", **ours, line="ours GCM"),
        seal("ours GCM, 10 keys", SEALING, "compact ten", **ours),
        seal("ours GCM, 1,000 keys", SEALING, "compact thousand", **ours),
        seal("yardstick XAES, pool, 1 per transaction", yardstick("xaes_pool", "seal"), transaction=True,
            opener=yardstick("xaes", "open")),
        seal("ours XAES, 1 per transaction", SEALING, "one", **ours, transaction=True),
        seal("ours GCM, 1 per transaction", SEALING, "compact", **ours, transaction=True),
        seal("pgcrypto raw AES-CBC (no tag)", RAW, "raw key", "raw iv", "raw type",
            opener="decrypt_iv(bytea,bytea,bytea,text)", line="pgcrypto raw (no tag)"),
        seal("pgcrypto PGP", "pgp_sym_encrypt(text,text)", "raw key", opener="pgp_sym_decrypt(bytea,text)",
            line="pgcrypto PGP"),
        seal(SLOW, "planted_slow(text,text)", "one", **ours, only=11),
        open_("no-op function", NOTHING, "plain", line="no-op function"),
        Row("open", "EVP in C, XAES", "bench_evp_open(true"),
        Row("open", "EVP in C, GCM", "bench_evp_open(false", line="EVP in C, GCM"),
        open_("yardstick XAES, a salt per value", yardstick("xaes", "open"), "yardstick xaes", line="yardstick XAES"),
        open_("yardstick XAES, one salt", yardstick("salt", "open"), "yardstick salt"),
        open_("yardstick GCM", yardstick("gcm", "open"), "yardstick gcm"),
        open_("ours XAES, a salt per value", OPENING, "sealed apart", "one", line="ours XAES"),
        open_("ours XAES, one salt", OPENING, "sealed one", "one"),
        open_("ours XAES, 10 keys", OPENING, "sealed ten", "ten"),
        open_("ours XAES, 1,000 keys", OPENING, "sealed thousand", "thousand"),
        open_("ours XAES, one salt, bytea", OPENING_BYTEA, "sealed one", "one"),
        open_("ours GCM", OPENING, "sealed compact", "compact", line="ours GCM"),
        open_("ours GCM, 10 keys", OPENING, "sealed compact ten", "compact ten"),
        open_("ours GCM, 1,000 keys", OPENING, "sealed compact thousand", "compact thousand"),
        open_("yardstick XAES, 1 per transaction", yardstick("xaes", "open"), "yardstick xaes", transaction=True),
        open_("ours XAES, 1 per transaction", OPENING, "sealed apart", "one", transaction=True),
        open_("ours GCM, 1 per transaction", OPENING, "sealed compact", "compact", transaction=True),
        open_("pgcrypto raw AES-CBC (no tag)", "decrypt_iv(bytea,bytea,bytea,text)", "raw", "raw key", "raw iv",
            "raw type", line="pgcrypto raw (no tag)"),
        open_("pgcrypto PGP", "pgp_sym_decrypt(bytea,text)", "pgp", "raw key", line="pgcrypto PGP"),
    ]


# Ours, the yardstick that does the same work, and the same yardstick if nonces
# cost nothing.  (Text that is opened is checked to be text, bytea is not.)
PAIRS = [
    ("seal: ours XAES", "seal: yardstick XAES one salt, pool", "seal: yardstick XAES one salt, counter"),
    ("seal: ours XAES, a salt per value", "seal: yardstick XAES, pool", "seal: yardstick XAES, counter"),
    ("seal: ours XAES, bytea", "seal: yardstick XAES one salt, pool", "seal: yardstick XAES one salt, counter"),
    ("seal: ours GCM", "seal: yardstick GCM, pool", "seal: yardstick GCM, counter"),
    ("open: ours XAES, a salt per value", "open: yardstick XAES, a salt per value", None),
    ("open: ours XAES, one salt", "open: yardstick XAES, one salt", None),
    ("open: ours XAES, one salt, bytea", "open: yardstick XAES, one salt", None),
    ("open: ours GCM", "open: yardstick GCM", None),
]
