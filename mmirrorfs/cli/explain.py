"""``--explain``: why a path, of a mounted view or of a source of one, is shown or not.

Rule 1: a path of a view is explained by that view; a path of a source by each view that has the source.
Rule 2: the text has the same content as the JSON, which is the daemon's answer (``serve.explain``).

Every request has a time limit. Raises Problem.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from mmirrorfs.cli.client import LOST, Dead, request_all, request_with_fallback, resolved, views
from mmirrorfs.cli.errors import FAILED, Problem
from mmirrorfs.cli.terminal import age, duration, local_time, path_text, sanitized
from mmirrorfs.mount.controlclient import about
from mmirrorfs.mount.log import print_error
from mmirrorfs.source.filesystems import VIEW_TYPE, mount_under
from mmirrorfs.text import printable

Values = dict[str, Any]


def explain(path: str, as_json: bool) -> int:
    """Print the explanation of a path; returns 0, or LOST where its view is dead."""
    given = os.path.abspath(os.fsencode(path))
    try:
        answers = _answers([given]) or _answers(resolved(given))
    except Dead as dead:
        print(json.dumps(dead.document(given), indent=1) if as_json else "\n".join(dead.lines()))
        return LOST
    if not answers:
        message = f"{printable(given)} is not in a mounted view, and not in a source of one that you may ask"
        raise Problem(message, FAILED)
    if as_json:
        print(json.dumps(answers, indent=1))
    else:
        several = answers if isinstance(answers, list) else [answers]
        print(sanitized("\n\n".join("\n".join(_lines(answer)) for answer in several)))
    return 0


def _answers(paths: list[bytes]) -> Values | list[Values]:
    """The answer of the view that one of the paths is in, or those of all views with a source that one is in."""
    question = {"ask": "explain", **about(*paths)}
    for path in paths:
        mount = mount_under(path)
        if mount is not None and mount.type == VIEW_TYPE:
            return request_with_fallback(mount, question, path)
    found: list[Values | None] = []
    failures: list[Problem] = []
    for answer in request_all(views(), question):
        try:
            found.append(answer())
        except ConnectionError:
            continue
        except Problem as problem:
            failures.append(problem)
    answers = [one for one in found if one is not None]
    if failures and not answers:
        raise failures[0]
    for failure in failures:  # that view may have nothing to do with the path
        print_error(str(failure))
    return answers


def _lines(answer: Values) -> list[str]:
    """An answer as text."""
    notes = [line for note in answer["notes"] for line in _NOTES.get(note["about"], _nothing)(note)]
    return [*_STATES[answer["state"]](answer), *notes]


def _sources(sources: list[Values]) -> str:
    return ", ".join(f"{source['name']}: {path_text(source)}" for source in sources)


def _shown(answer: Values) -> Iterator[str]:
    at, path = path_text(answer["at"]), path_text(answer)
    if path != at:
        yield f"{path} is shown as {at}"
    if answer["role"] == "merged":
        yield f"{at} is above the depth: it shows together what these have."
        yield from (f"  {_sources([source])}" for source in answer["sources"])
    else:
        yield f"{at} comes from {_sources(answer['sources'])}"
        first = _FIRST.get(answer["rule"], "") if answer["role"] != "inside" else ""
        yield f"{_ROLES[answer['role']]} from {first}." if first else f"{_ROLES[answer['role']]}."
        if answer["rule"] == "directory":
            yield "A directory beats what is none, in whichever source."
    if answer["hides"]:
        yield f"It takes the place of {', '.join(map(path_text, answer['hides']))}"
    elif answer["role"] != "merged":
        yield "No other source has anything in its place."
    yield from _skipped(answer)


_FIRST = {
    "only": "the first source of this view that has it",
    "order": "the first source of this view that has it",
    "filled": "the first source of this view that has it with a file in it",
}
_ROLES = {
    "folder": "It is a folder at the depth, taken whole",
    "inside": "It lies in a folder that is taken whole from one source",
    "loose": "It is no directory, and is taken",
}


def _hidden(answer: Values) -> Iterator[str]:
    at, path = path_text(answer["at"]), path_text(answer)
    yield f"{path} is not shown."
    if answer["role"] == "merged":
        yield f"{at} is a directory in other sources, and a directory beats what is none: {_sources(answer['sources'])}"
        return
    whole = "is taken whole" if answer["role"] == "folder" else "comes"
    yield f"{at} {whole} from {_sources(answer['sources'])}"
    if answer["rule"] == "directory":
        yield "That is a directory, and a directory beats what is none."
    elif answer["rule"] in ("order", "filled"):
        yield f"That is {_FIRST[answer['rule']]}."
    others = [hidden for hidden in answer["hides"] if path_text(hidden) != path]
    if others:
        yield f"Hidden by it: {_sources(others)}"
    yield from _skipped(answer)


def _skipped(answer: Values) -> Iterator[str]:
    if answer["skips"]:
        yield f"Skipped, as there is no file in it: {', '.join(map(path_text, answer['skips']))}"


def _exists(answer: Values) -> Iterator[str]:
    if answer["hides"]:
        yield f"It is there: {_sources(answer['hides'])}"


def _excluded(answer: Values) -> Iterator[str]:
    yield f"{path_text(answer)} is not shown: --exclude leaves it out."
    yield from _exists(answer)


def _link(answer: Values) -> Iterator[str]:
    yield f"{path_text(answer)} is not shown: a symbolic link is in the way."


def _lost(answer: Values) -> Iterator[str]:
    path = path_text(answer)
    yield f"{path} is not shown: its source is lost, and counts as empty meanwhile (--on-missing=fallback)."
    yield f"It was there: {_sources(answer['hides'])}"


def _unseen(answer: Values) -> Iterator[str]:
    yield f"{path_text(answer)} is not shown yet."
    yield from _exists(answer)


def _unknown(answer: Values) -> Iterator[str]:
    yield f"It cannot be told now whether {path_text(answer)} is there."


def _absent(answer: Values) -> Iterator[str]:
    yield f"{path_text(answer)} is not there: no source has it."


_STATES: dict[str, Callable[[Values], Iterator[str]]] = {
    "shown": _shown, "hidden": _hidden, "excluded": _excluded, "link": _link, "lost": _lost, "unseen": _unseen,
    "unknown": _unknown, "absent": _absent,
}  # fmt: skip


def _nothing(note: Values) -> list[str]:
    return []


def _note_link(note: Values) -> list[str]:
    to = f" to {path_text(note['target'])}" if "target" in note else ""
    own = f"{path_text(note)} is a symbolic link{to}"
    if not note["left_out"]:
        return [f"{own}: the view shows it as a link, and nothing below it."]
    if note["followed"]:
        return [f"{own}, which leads nowhere, back to a directory that it lies in, or into a view."]
    return [f"{own}; links are left out down to the depth, --follow-symlinks lets them count as what they point to."]


def _note_unread(note: Values) -> list[str]:
    how = {"off": "nothing is read ahead (--crawl)", "crawling": "reading ahead is under way"}
    return [
        f"What is in {path_text(note)} was never read: {how.get(note['crawl'], 'reading ahead has not come by it')}."
    ]


def _note_namesake(note: Values) -> list[str]:
    unpaired = f"It is not paired with {path_text(note)}, of {', '.join(note['sources'])}"
    if note["rule"] == "apart":
        return [f"{unpaired}: {note['advice']} in the configuration file keeps them apart."]
    if note["rule"] == "same":
        lines = [f"  {line}" for line in note["advice"].splitlines()]
        return [f"{unpaired}: these lines in the configuration file pair them.", *lines]
    return [f"{unpaired}: {note['advice']} pairs them."]


def _note_unseen(note: Values) -> list[str]:
    past = age(note["scanned"])
    return [f"{note['name']} was last scanned {past} ago; it is scanned again within --refresh, and at once on SIGHUP."]


_NOTES: dict[str, Callable[[Values], list[str]]] = {
    "lost": lambda note: [
        f"Source {note['name']} ({path_text(note)}) is lost since {local_time(note['since'])}: {note['why']}; "
        "what is told of it was known before."
    ],
    "slow": lambda note: [
        f"Source {note['name']} ({path_text(note)}) did not answer within {duration(note['seconds'])}; "
        "what is told of it was known before."
    ],
    "hung": lambda note: [
        f"Source {note['name']} ({path_text(note)}) has not answered for {duration(note['seconds'])}; "
        "what is told of it was known before."
    ],
    "unreadable": lambda note: [
        f"{path_text(note)} cannot be read, since {local_time(note['since'])}: {note['error']}."
    ],
    "unread": _note_unread,
    "excluded": lambda note: [f"{printable(note['name'])} matches --exclude '{printable(note['by'] or '?')}'."],
    "link": _note_link,
    "unseen": _note_unseen,
    "spelled": lambda note: [f"Its place is under another spelling: {path_text(note)}"],
    "file": lambda note: [f"{path_text(note)} is no directory: nothing is in it."],
    "namesake": _note_namesake,
    "nearest": lambda note: [f"Nearest to it: {', '.join(map(path_text, note['paths']))}"],
    "elsewhere": lambda note: [f"Of the same name: {', '.join(map(path_text, note['paths']))}"],
}
