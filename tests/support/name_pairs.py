"""Pairs of real names and whether they are the same: the rows of ``name_pairs.tsv``. Imports nothing of mmirrorfs."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NamePair:
    """Two names of an "artist" or an "album": the "same", "apart", or the same but "unknown" to the rules; and why."""

    verdict: str
    kind: str
    one: str
    other: str
    why: str


def _read() -> list[NamePair]:
    text = Path(__file__).with_suffix(".tsv").read_text(encoding="utf-8")
    text = re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text)
    return [NamePair(*line.split("\t")) for line in text.split("\n") if line and line[0] != "#"]


NAME_PAIRS = _read()
SAME = [pair for pair in NAME_PAIRS if pair.verdict == "same"]
APART = [pair for pair in NAME_PAIRS if pair.verdict == "apart"]
UNKNOWN = [pair for pair in NAME_PAIRS if pair.verdict == "unknown"]
