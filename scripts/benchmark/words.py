"""Summarizes the figures in words. Pure.

"Faster" or "slower" requires that all rounds agree; if they do not, or differ by less than SAME, there is no clear
difference.
"""

from collections.abc import Iterator, Sequence

from benchmark.figures import Row
from benchmark.peers import BARE, FLOOR, OURS, TUNED_PEER

SAME = 0.05
"""Ratios this close to 1 count as equal."""


def times(row: Row) -> str:
    """By which factor mmirrorfs is faster or slower than the peer of this row."""
    if verdict := _verdict(row):
        return f"{_factor(row)} {'faster' if verdict < 0 else 'slower'}"
    return "the same" if _distance(row) < 1 + SAME else "unclear"


def words(rows: Sequence[Row]) -> Iterator[tuple[str, list[str]]]:
    """Per condition and relevant peer: a heading, and lines on where mmirrorfs leads and where it does not."""
    ours = {(row.condition, row.title): row.median for row in rows if row.peer == OURS}
    for condition in dict.fromkeys(row.condition for row in rows):
        for peer, heading in _BESIDE.items():
            found = [row for row in rows if (row.condition, row.peer) == (condition, peer) and row.ratios]
            if found:
                gaps = {row.title: _gap(row, ours[condition, row.title]) if peer == FLOOR else "" for row in found}
                yield f"{heading}, wake-ups {condition}", list(_said(found, gaps))


def _said(found: Sequence[Row], gaps: dict[str, str]) -> Iterator[str]:
    for verdict, name in ((-1, "faster"), (1, "slower"), (0, "no clear difference")):
        group = sorted((row for row in found if _verdict(row) == verdict), key=_distance, reverse=True)
        lines = [f"{row.title} {_factor(row)}{gaps[row.title]}" if verdict else row.title for row in group]
        yield f"{name} in {len(group)} of {len(found)}: {'; '.join(lines)}" if lines else f"{name} in none"
    if once := sum(len(row.rounds) == 1 for row in found):
        yield f"{once} of them were measured once only, which proves little"


def _verdict(row: Row) -> int:
    """-1 if mmirrorfs is faster, 1 if it is slower, 0 if unclear."""
    middle, least, greatest = row.ratios or (1, 1, 1)
    if _distance(row) < 1 + SAME or least < 1 < greatest:
        return 0
    return -1 if middle < 1 else 1


def _distance(row: Row) -> float:
    middle = row.ratios[0] if row.ratios else 1
    return max(middle, 1 / middle)


def _factor(row: Row) -> str:
    factor = _distance(row)
    return f"{factor:,.{1 if factor < 9.95 else 0}f} x"


def _gap(row: Row, own: float) -> str:
    return f" ({(own - row.median) * 1e6:+,.1f} us)" if row.per in ("entry", "file", "name") else ""


_BESIDE = {
    TUNED_PEER: "Beside mergerfs, tuned",
    FLOOR: "Beside the floor, the least that Python with pyfuse3 takes",
    BARE: "Beside the plain folders",
}
