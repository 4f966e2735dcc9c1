"""The JSON of a plan: the structure that programs and the page rely on."""

import json
from dataclasses import replace

from mmirrorfs.attributes import DIR
from mmirrorfs.cli.simulate_formats import document
from mmirrorfs.plan.rows import Group, Near, Plan, Remark, Row
from mmirrorfs.tree import Rank

HIGH, LOW = Rank(0), Rank(1)

NEAR = Near(
    place=b"Lund",
    names=((b"Quay", (HIGH,)), (b"quay", (LOW,))),
    places=((b"Lund/Quay", None), (None, b"Lund/quay")),
    reason="differ by case",
    rule="casefold",
    advice="--match casefold",
)
PLAN = Plan(
    sources=("flac", "mp3"),
    depth=2,
    match="nfc",
    ignores=(r" \[FLAC\]$",),
    rows=(
        Row(b"Lund", DIR, (b"Lund", b"Lund"), None, None),
        Row(b"Lund/Harbour", DIR, (b"Lund/Harbour", b"Lund/Harbour"), HIGH, LOW, (2, 12)),
        Row(b"Lund/\xff", DIR, (None, b"Lund/\xff"), LOW, LOW, (None, None)),
        Row(b"index.txt", 0o100000, (b"index.txt", None), HIGH, HIGH),
    ),
    near=(NEAR,),
    groups=(Group(3, "case only", "--match casefold"),),
    remarks=(Remark("incomplete", b"Lund/Harbour", "2 files in flac against 12 in mp3"),),
    totals={"folders": 2, "in both": 1, "in both with loose": 2, "only in flac": 0, "only in mp3": 1},
)


def test_a_document_has_all_of_the_plan() -> None:
    assert json.loads(json.dumps(document(PLAN))) == {
        "sources": ["flac", "mp3"],
        "options": {"depth": 2, "match": "nfc", "ignore": [r" \[FLAC\]$"]},
        "entries": [
            {"path": "Lund", "type": "merged", "sources": ["flac", "mp3"], "high": None, "low": None, "files": {}},
            {
                "path": "Lund/Harbour", "type": "folder", "sources": ["flac", "mp3"], "high": "flac", "low": "mp3",
                "files": {"flac": 2, "mp3": 12},
            },
            {
                "path": "Lund/\ufffd", "path_b64": "THVuZC//", "type": "folder", "sources": ["mp3"],
                "high": "mp3", "low": "mp3", "files": {},
            },
            {"path": "index.txt", "type": "file", "sources": ["flac"], "high": "flac", "low": "flac", "files": {}},
        ],
        "near": [
            {
                "in": "Lund",
                "names": [{"name": "Quay", "sources": ["flac"]}, {"name": "quay", "sources": ["mp3"]}],
                "reason": "differ by case", "advice": "--match casefold", "pairs_with": "casefold",
            },
        ],
        "groups": [{"count": 3, "text": "case only", "advice": "--match casefold"}],
        "remarks": [{"about": "incomplete", "path": "Lund/Harbour", "text": "2 files in flac against 12 in mp3"}],
        "totals": {"folders": 2, "in both": 1, "in both with loose": 2, "only in flac": 0, "only in mp3": 1},
    }  # fmt: skip


def test_directory_of_a_near_miss_that_is_not_utf8_is_there_in_base64_too() -> None:
    odd = replace(NEAR, place=b"Lund/\xff")
    near = document(Plan(("a", "b"), 3, "exact", (), (), (odd,), (), (), {}))["near"][0]
    assert (near["in"], near["in_b64"]) == ("Lund/\ufffd", "THVuZC//")
