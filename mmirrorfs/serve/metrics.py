"""Prometheus metrics, in its text format 0.0.4, made of what ``serve.status`` gives. Pure.

Invariant 1: each family occurs once, with all its samples; values that a view of an earlier version lacks are left out.
Invariant 2: names are shown as in ``--status`` (``text.printable``), so that no two are alike and all are printable.
Invariant 3: a view that does not answer has ``mmirrorfs_up`` 0, and no other sample.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmirrorfs.text import path_of, printable

Values = dict[str, Any]
Labels = Mapping[str, str]
Sample = tuple[Labels, float | None]
"""Labels and value; one whose value is None is left out."""

CRAWLS = ("off", "crawling", "done", "full", "lost", "failed")
"""The states of a crawl."""


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    kind: str
    help: str
    samples: Callable[[Values], Iterable[Sample]]


MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What malformed values raise: another program may serve the view."""


def exposition(views: Sequence[tuple[bytes, Values | None]]) -> str:
    """The metrics of views, given as (mountpoint, values of ``serve.status``), or None for one that does not answer.

    Raises MALFORMED.
    """
    return "".join(line for family in FAMILIES for line in _lines(family, views))


def _lines(family: _Family, views: Sequence[tuple[bytes, Values | None]]) -> Iterator[str]:
    name = f"mmirrorfs_{family.name}"
    found = {
        _labels({"view": os.fsdecode(where), **labels}): _number(value)
        for where, state in views
        for labels, value in _samples(family, state)
        if value is not None
    }
    if found:
        yield f"# HELP {name} {family.help}\n"
        yield f"# TYPE {name} {family.kind}\n"
        yield from (f"{name}{labels} {number}\n" for labels, number in found.items())


def _samples(family: _Family, state: Values | None) -> Iterable[Sample]:
    if state is None:
        return [({}, 0)] if family is UP else ()
    return family.samples(state)


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(printable(value))}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    """For printable text, which has no newline to escape."""
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _number(value: float) -> str:
    return repr(float(value)) if isinstance(value, float) else str(int(value))


def _of_view(name: str, kind: str, text: str, value: Callable[[Values], float | None]) -> _Family:
    return _Family(name, kind, text, lambda state: [({}, value(state))])


def _of_sources(name: str, kind: str, text: str, value: Callable[[Values], float | None]) -> _Family:
    def samples(state: Values) -> Iterator[Sample]:
        for source in state["sources"]:
            yield _name_label(source), value(source)

    return _Family(f"source_{name}", kind, text, samples)


def _name_label(source: Values) -> Labels:
    return {"source": source["name"]}


def _infos(state: Values) -> Iterator[Sample]:
    for source in state["sources"]:
        yield {**_name_label(source), "path": os.fsdecode(path_of(source)), "watch": source["watch"]["how"]}, 1


def _crawls(state: Values) -> Iterator[Sample]:
    for source in state["sources"]:
        for one in CRAWLS:
            yield {**_name_label(source), "state": one}, source["crawl"]["state"] == one


def _requests(state: Values) -> Iterator[Sample]:
    for name, count in state.get("requests", {}).items():
        yield {"operation": name}, count


def _errors(state: Values) -> Iterator[Sample]:
    """EIO always has a sample, 0 at first: Prometheus sees no increase in a counter that begins at 1."""
    for name in state.get("requests", {}):
        for error, count in {"EIO": 0, **state["errors"].get(name, {})}.items():
            yield {"operation": name, "error": error}, count


UP = _of_view("up", "gauge", "Whether the view answers.", lambda state: 1)
FAMILIES = (
    UP,
    _Family(
        "build_info", "gauge", "The version that serves the view; always 1.",
        lambda state: [({"version": state["version"]}, 1)],
    ),
    _of_view(
        "start_time_seconds", "gauge", "When the process that serves the view was started, in seconds since the epoch.",
        lambda state: state.get("started"),
    ),
    _of_view("folders", "gauge", "Folders shown, at the depth.", lambda state: state["folders"]),
    _of_view("inodes", "gauge", "Inodes that the kernel holds.", lambda state: state["inodes"]),
    _of_view("open_files", "gauge", "Files that are open.", lambda state: state["open_files"]),
    _of_view("open_directories", "gauge", "Directories that are open.", lambda state: state["open_directories"]),
    _of_view(
        "changes_total", "counter", "Changes in the view since it was mounted.", lambda state: state.get("changes")
    ),
    _of_view(
        "last_change_timestamp_seconds", "gauge", "When the view changed last, in seconds since the epoch.",
        lambda state: state.get("changed"),
    ),
    _of_view(
        "last_scan_duration_seconds", "gauge", "What the last scan of a source took.", lambda state: state["took"]
    ),
    _of_view(
        "loop_longest_pause_seconds", "gauge",
        "The longest time for which the view looked for no request, in the last five to ten minutes.",
        lambda state: state.get("pause"),
    ),
    _Family("requests_total", "counter", "Requests of the kernel, by operation.", _requests),
    _Family("request_errors_total", "counter", "Requests that were answered with an error.", _errors),
    _of_view("opens_total", "counter", "Files that were opened.", lambda state: state.get("opened")),
    _of_view(
        "read_bytes_total", "counter", "Bytes that were read, but for what the kernel had cached.",
        lambda state: state.get("bytes_read"),
    ),
    _Family(
        "source_info", "gauge",
        "Where a source is, and how its changes are found: fanotify, inotify, mixed or polled; always 1.",
        _infos,
    ),
    _of_sources(
        "up", "gauge", "Whether the source is there and answers.",
        lambda source: not source["lost"] and not source["hangs"],
    ),
    _of_sources("lost", "gauge", "Whether the source is lost.", lambda source: source["lost"] is not None),
    _of_sources(
        "watched", "gauge", "Whether the kernel reports all changes in it, in one way; 0 where it is polled, or mixed.",
        lambda source: source["watch"]["how"] in ("fanotify", "inotify"),
    ),
    _of_sources(
        "last_scan_timestamp_seconds", "gauge", "When the source was scanned last, in seconds since the epoch.",
        lambda source: source.get("looked"),
    ),
    _of_sources("folders", "gauge", "Folders in the source, at the depth.", lambda source: source.get("folders")),
    _of_sources(
        "folders_shown", "gauge", "Folders of the source that are shown in the view.", lambda source: source["wins"]
    ),
    _of_sources(
        "folders_empty", "gauge", "Folders of the source without a file, with --skip-empty.",
        lambda source: source.get("empty"),
    ),
    _of_sources(
        "entries", "gauge", "Files and directories in its folders that are known, in memory.",
        lambda source: source.get("entries"),
    ),
    _Family("source_crawl_state", "gauge", "How reading ahead is: 1 for the state that it is in.", _crawls),
    _of_sources(
        "crawl_folders", "gauge", "Folders to be read ahead, as far as that is known.",
        lambda source: source["crawl"]["of"],
    ),
    _of_sources(
        "crawl_folders_done", "gauge", "Folders that were read ahead.", lambda source: source["crawl"]["folders"]
    ),
    _of_sources(
        "waiting_calls", "gauge", "Calls that wait for the source now.",
        lambda source: source.get("waiting", {}).get("calls"),
    ),
    _of_sources(
        "stuck_calls", "gauge", "Calls that have waited for more than five seconds.",
        lambda source: source.get("waiting", {}).get("stuck"),
    ),
    _of_sources(
        "longest_wait_seconds", "gauge", "How long the longest of them has waited.",
        lambda source: source.get("waiting", {}).get("longest"),
    ),
)  # fmt: skip
"""All metrics."""
