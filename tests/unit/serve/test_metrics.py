"""The metrics, read back by Prometheus' own parser, with odd names."""

import os
import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from mmirrorfs.serve.metrics import FAMILIES, MALFORMED, exposition
from mmirrorfs.text import json_path, printable
from tests.support.metrics import samples

ODD = (b'quote"s', b"back\\slash", b"new\nline", b"caf\xe9", "Björk".encode(), b"\x1b[31m", b"a,b={c}", b"\\n", b" ")


def source(name: bytes = b"flac", **values: object) -> dict[str, Any]:
    """The status of a source."""
    return {
        "name": os.fsdecode(name), **json_path(b"/music/" + name), "lost": None, "lost_since": None, "hangs": False,
        "waiting": {"calls": 1, "stuck": 0, "longest": 0.25}, "wins": 2, "folders": 3, "empty": None, "entries": 40,
        "looked": 1700000000.5, "watch": {"how": "fanotify", "why": ""},
        "crawl": {"state": "done", "folders": 3, "of": 3, "directories": 3, "entries": 40}, **values,
    }  # fmt: skip


def state(*sources: dict[str, Any], **values: object) -> dict[str, Any]:
    """The status of a view."""
    return {
        "version": "1.2.3", "pid": 7, "started": 1700000000.25, "sources": list(sources), "folders": 5, "took": 0.5,
        "inodes": 9, "open_files": 1, "open_directories": 0, "changes": 4, "changed": 1700000001.0, "pause": 0.0625,
        "requests": {"lookup": 12, "read": 0}, "errors": {"read": {"EIO": 2}}, "opened": 3, "bytes_read": 1 << 60,
        **values,
    }  # fmt: skip


def value(text: str, name: str, **labels: str) -> float:
    """The value of one sample."""
    return samples(text)[f"mmirrorfs_{name}", frozenset({"view": "/mnt/v", **labels}.items())]


def test_the_status_of_a_view_is_in_its_metrics() -> None:
    text = exposition([(b"/mnt/v", state(source(), source(b"mp3", lost="gone", watch={"how": "polled", "why": "x"})))])
    assert value(text, "up") == 1
    assert value(text, "build_info", version="1.2.3") == 1
    assert value(text, "requests_total", operation="lookup") == 12
    assert value(text, "request_errors_total", operation="read", error="EIO") == 2
    assert value(text, "request_errors_total", operation="lookup", error="EIO") == 0, "an increase from 0 is visible"
    assert value(text, "opens_total") == 3
    assert value(text, "read_bytes_total") == 1 << 60
    assert value(text, "loop_longest_pause_seconds") == 0.0625
    assert value(text, "last_change_timestamp_seconds") == 1700000001
    assert [value(text, "source_up", source=name) for name in ("flac", "mp3")] == [1, 0]
    assert [value(text, "source_watched", source=name) for name in ("flac", "mp3")] == [1, 0]
    assert value(text, "source_info", source="mp3", path="/music/mp3", watch="polled") == 1
    assert value(text, "source_crawl_state", source="flac", state="done") == 1
    assert value(text, "source_crawl_state", source="flac", state="crawling") == 0
    assert f'mmirrorfs_read_bytes_total{{view="/mnt/v"}} {1 << 60}\n' in text, "not rounded"


def test_a_hung_source_is_neither_up_nor_lost() -> None:
    text = exposition([(b"/mnt/v", state(source(hangs=True)))])
    assert (value(text, "source_up", source="flac"), value(text, "source_lost", source="flac")) == (0, 0)


def test_a_view_that_does_not_answer_has_up_0_and_no_other_sample() -> None:
    text = exposition([(b"/mnt/v", None), (b"/mnt/w", state(source()))])
    assert value(text, "up") == 0
    assert [name for name, labels in samples(text) if ("view", "/mnt/v") in labels] == ["mmirrorfs_up"]
    assert exposition([]) == ""


def test_values_that_an_earlier_version_lacks_are_left_out() -> None:
    old = state(source())
    for name in ("started", "changes", "changed", "pause", "requests", "errors", "opened", "bytes_read"):
        del old[name]
    for name in ("folders", "entries", "waiting"):
        del old["sources"][0][name]
    text = exposition([(b"/mnt/v", old)])
    assert value(text, "up") == 1
    assert "requests" not in text


def test_each_family_occurs_once_for_all_views_with_its_help_and_type() -> None:
    text = exposition([(b"/mnt/%d" % number, state(source(), source(b"mp3"))) for number in range(3)])
    heads = re.findall(r"^# (HELP|TYPE) (\w+)", text, re.MULTILINE)
    assert len(heads) == len(set(heads))
    families = [family.name for family in text_string_to_metric_families(text)]
    assert len(families) == len(set(families)) == len(heads) / 2


def test_names_and_help_texts_follow_the_conventions_of_prometheus() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", family.name)
        assert (family.kind == "counter") == family.name.endswith("_total")
        assert family.help.endswith(".")
        assert "\n" not in family.help
        assert "\\" not in family.help
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_the_page_on_monitoring_lists_exactly_these_families() -> None:
    page = (Path(__file__).parents[3] / "docs/monitoring.md").read_text()
    assert set(re.findall(r"\bmmirrorfs_(\w+)", page)) == {family.name for family in FAMILIES}


def test_odd_names_stay_distinct_and_are_shown_as_in_status() -> None:
    views = [(b"/mnt/" + name, state(*map(source, ODD))) for name in ODD]
    text = exposition(views)
    assert text.isascii() or text.encode()
    shown = {dict(labels)["view"] for name, labels in samples(text) if name == "mmirrorfs_up"}
    assert shown == {printable(b"/mnt/" + name) for name in ODD}
    assert "\x1b" not in text
    assert "\r" not in text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_malformed_values_of_another_program_raise_malformed_or_give_valid_text(data: st.DataObject) -> None:
    values = state(source(), source(b"mp3"))
    where: dict[str, Any] = data.draw(st.sampled_from([values, values["sources"][0], values["sources"][1]["crawl"]]))
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(JSON)
    try:
        text = exposition([(b"/mnt/v", values)])
    except MALFORMED:
        return
    samples(text)
    assert all(line.isprintable() for line in text.split("\n"))


def test_equal_samples_are_written_once() -> None:
    assert value(exposition([(b"/mnt/v", state(source(), source()))]), "source_up", source="flac") == 1


names = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name)


@given(st.lists(names, min_size=1, max_size=4, unique=True), st.lists(names, min_size=1, max_size=3, unique=True))
def test_arbitrary_names_are_read_back_by_the_parser(places: list[bytes], sources: list[bytes]) -> None:
    text = exposition([(b"/" + where, state(*map(source, sources))) for where in places])
    found = samples(text)
    for where in places:
        for name in sources:
            labels = {"view": printable(b"/" + where), "source": printable(name)}
            assert found["mmirrorfs_source_up", frozenset(labels.items())] == 1
    assert all(line.isprintable() for line in text.split("\n"))
