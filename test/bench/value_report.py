"""What the measurements of values tell: targets, the table, the ratios to pgcrypto.

SPDX-License-Identifier: PostgreSQL
"""
from rounds import differences, ratios, spread
from rows import PAIRS, SIZES, SLOW, rows
from targets import AT_MOST, Target, figure


def targets(measured):
    found = []
    for ours, theirs, free in PAIRS:
        at = measured[11]
        remark = "aim 50"
        if free:
            remark += f"; the nonce is {figure(spread(differences(at[theirs], at[free])).median)} ns of the yardstick"
        found.append(Target(f"11 B, {ours}: above the yardstick", AT_MOST, 100, "ns", differences(at[ours], at[theirs]), remark))
    for size in (1024, 65536):
        for ours, theirs, _ in PAIRS:
            found.append(Target(f"{SIZES[size]}, {ours}: by the yardstick", AT_MOST, 1.05, "x",
                                ratios(measured[size][ours], measured[size][theirs])))
    at = measured[11]
    for name, base in (("seal: ours XAES, 1,000 keys", "seal: ours XAES"), ("open: ours XAES, 1,000 keys", "open: ours XAES, one salt"),
                        ("seal: ours GCM, 1,000 keys", "seal: ours GCM"), ("open: ours GCM, 1,000 keys", "open: ours GCM")):
        found.append(Target(f"11 B, {name}: by one key", AT_MOST, 1.3, "x", ratios(at[name], at[base])))
    return found


def control(measured):
    """The target of a seal that was made slower: it is missed, or nothing here can be believed.

    Of each the best round: what a machine does besides only ever adds to a figure.
    """
    at = measured[11]
    return Target("control, 11 B, seal: ours XAES, 5 us slower: above the yardstick", AT_MOST, 100, "ns",
                  [min(at["seal: " + SLOW]) - min(at["seal: yardstick XAES one salt, pool"])], "as it must be")


def table(measured):
    lines = [f"{'ns per value':<48}" + "".join(f"{title:>15}" for title in SIZES.values())]
    for row in rows():
        cells = []
        for size in SIZES:
            if row.name not in measured[size]:
                cells.append("-")
                continue
            s = spread(measured[size][row.name])
            off = max(s.high - s.median, s.median - s.low) / max(abs(s.median), 1) * 100
            cells.append(f"{s.median:,.0f} ±{off:.0f}%")
        lines.append(f"{row.name:<48}" + "".join(f"{cell:>15}" for cell in cells))
    lines.append("±: how far the farthest round is from the median")
    lines.append("seal with a salt per value: the product built so; as it is, a salt serves up to 2^20 values of a transaction")
    return lines


def pgcrypto(measured):
    lines = [f"{'times as long as ours XAES':<48}" + "".join(f"{title:>15}" for title in SIZES.values())]
    for theirs, ours in (("seal: pgcrypto raw AES-CBC (no tag)", "seal: ours XAES"), ("seal: pgcrypto PGP", "seal: ours XAES"),
                        ("open: pgcrypto raw AES-CBC (no tag)", "open: ours XAES, a salt per value"),
                        ("open: pgcrypto PGP", "open: ours XAES, a salt per value")):
        cells = [spread(ratios(measured[size][theirs], measured[size][ours])).median for size in SIZES]
        lines.append(f"{theirs:<48}" + "".join(f"{figure(cell):>15}" for cell in cells))
    return lines


def differences_at(measured, size):
    """Where ours and the yardstick differ, so that the cause can be read off."""
    at = measured[size]
    lines = [f"{'ns at ' + SIZES[size]:<48}{'ours':>15}{'yardstick':>15}{'difference':>15}{'of the nonce':>15}{'of the call':>15}"]
    for ours, theirs, free in PAIRS:
        direction = ours.split(":")[0]
        cells = [at[ours], at[theirs], differences(at[ours], at[theirs]),
                 differences(at[theirs], at[free]) if free else None, at[direction + ": no-op function"]]
        lines.append(f"{ours:<48}" + "".join(f"{figure(spread(cell).median) if cell else '-':>15}" for cell in cells))
    lines.append("of the nonce: what the yardstick's costs from a pool of random bytes instead of a counter; "
                 "of the call: a function that does nothing")
    return lines
