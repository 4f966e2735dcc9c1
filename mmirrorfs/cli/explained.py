"""``--explain`` for a person: an answer of a view (``serve.explain``) in words. Pure but for the local time."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from mmirrorfs.text import path_of, printable

Values = dict[str, Any]


def in_words(answer: Values) -> list[str]:
    """An answer as lines."""
    notes = [line for note in answer["notes"] for line in _NOTES.get(note["about"], _nothing)(note)]
    return [*_STATES[answer["state"]](answer), *notes]


def text(path: Values) -> str:
    """A path in the form of ``text.json_path``, for a person."""
    return printable(path_of(path))


def plain(lines: str) -> str:
    """Lines that a view told, with nothing in them that could do anything to a terminal: a view may be anybody's."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in lines)


def when(moment: float | None) -> str:
    """A time in seconds since the epoch, as the clock on the wall has it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) if moment is not None else "a moment ago"


def ago(seconds: float) -> str:
    """A duration, by its two largest units."""
    units = [(int(seconds) // size % limit, unit) for size, limit, unit in _UNITS]
    first = next((at for at, (number, _) in enumerate(units) if number), len(units) - 1)
    return " ".join(f"{number} {unit}" for number, unit in units[first : first + 2] if number or unit == "s")


_UNITS = ((86400, 1 << 30, "d"), (3600, 24, "h"), (60, 60, "min"), (1, 60, "s"))


def _named(places: list[Values]) -> str:
    return ", ".join(f"{place['name']}: {text(place)}" for place in places)


def _shown(answer: Values) -> Iterator[str]:
    at, path = text(answer["at"]), text(answer)
    if path != at:
        yield f"{path} is shown as {at}"
    if answer["role"] == "merged":
        yield f"{at} is above the depth: it shows together what these have."
        yield from (f"  {_named([place])}" for place in answer["sources"])
    else:
        yield f"{at} comes from {_named(answer['sources'])}"
        first = _FIRST.get(answer["rule"], "") if answer["role"] != "inside" else ""
        yield f"{_ROLES[answer['role']]} from {first}." if first else f"{_ROLES[answer['role']]}."
        if answer["rule"] == "directory":
            yield "A directory beats what is none, in whichever source."
    if answer["hides"]:
        yield f"It takes the place of {', '.join(map(text, answer['hides']))}"
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
    at, path = text(answer["at"]), text(answer)
    yield f"{path} is not shown."
    if answer["role"] == "merged":
        yield f"{at} is a directory in other sources, and a directory beats what is none: {_named(answer['sources'])}"
        return
    whole = "is taken whole" if answer["role"] == "folder" else "comes"
    yield f"{at} {whole} from {_named(answer['sources'])}"
    if answer["rule"] == "directory":
        yield "That is a directory, and a directory beats what is none."
    elif answer["rule"] in ("order", "filled"):
        yield f"That is {_FIRST[answer['rule']]}."
    others = [place for place in answer["hides"] if text(place) != path]
    if others:
        yield f"Hidden by it: {_named(others)}"
    yield from _skipped(answer)


def _skipped(answer: Values) -> Iterator[str]:
    if answer["skips"]:
        yield f"Skipped, as there is no file in it: {', '.join(map(text, answer['skips']))}"


def _there(answer: Values) -> Iterator[str]:
    if answer["hides"]:
        yield f"It is there: {_named(answer['hides'])}"


def _excluded(answer: Values) -> Iterator[str]:
    yield f"{text(answer)} is not shown: --exclude leaves it out."
    yield from _there(answer)


def _link(answer: Values) -> Iterator[str]:
    yield f"{text(answer)} is not shown: a symbolic link is in the way."


def _lost(answer: Values) -> Iterator[str]:
    yield f"{text(answer)} is not shown: its source is lost, and counts as empty meanwhile (--on-missing=fallback)."
    yield f"It was there: {_named(answer['hides'])}"


def _unseen(answer: Values) -> Iterator[str]:
    yield f"{text(answer)} is not shown yet."
    yield from _there(answer)


def _unknown(answer: Values) -> Iterator[str]:
    yield f"It cannot be told now whether {text(answer)} is there."


def _absent(answer: Values) -> Iterator[str]:
    yield f"{text(answer)} is not there: no source has it."


_STATES: dict[str, Callable[[Values], Iterator[str]]] = {
    "shown": _shown, "hidden": _hidden, "excluded": _excluded, "link": _link, "lost": _lost, "unseen": _unseen,
    "unknown": _unknown, "absent": _absent,
}  # fmt: skip


def _nothing(note: Values) -> list[str]:
    return []


def _note_link(note: Values) -> list[str]:
    to = f" to {text(note['target'])}" if "target" in note else ""
    own = f"{text(note)} is a symbolic link{to}"
    if not note["left_out"]:
        return [f"{own}: the view shows it as a link, and nothing below it."]
    if note["followed"]:
        return [f"{own}, which leads nowhere, back to a directory that it lies in, or into a view."]
    return [f"{own}; links are left out down to the depth, --follow-symlinks lets them count as what they point to."]


def _note_unread(note: Values) -> list[str]:
    how = {"off": "nothing is read ahead (--crawl)", "crawling": "reading ahead is under way"}
    return [f"What is in {text(note)} was never read: {how.get(note['crawl'], 'reading ahead has not come by it')}."]


def _note_namesake(note: Values) -> list[str]:
    is_not = f"It is not paired with {text(note)}, of {', '.join(note['sources'])}"
    if note["rule"] == "apart":
        return [f"{is_not}: {note['advice']} in the configuration file keeps them apart."]
    if note["rule"] == "same":
        lines = [f"  {line}" for line in note["advice"].splitlines()]
        return [f"{is_not}: these lines in the configuration file pair them.", *lines]
    return [f"{is_not}: {note['advice']} pairs them."]


def _note_unseen(note: Values) -> list[str]:
    past = ago(max(0.0, time.time() - note["scanned"]))
    return [f"{note['name']} was last scanned {past} ago; it is scanned again within --refresh, and at once on SIGHUP."]


_NOTES: dict[str, Callable[[Values], list[str]]] = {
    "lost": lambda note: [
        f"Source {note['name']} ({text(note)}) is lost since {when(note['since'])}: {note['why']}; "
        "what is told of it was known before."
    ],
    "slow": lambda note: [
        f"Source {note['name']} ({text(note)}) did not answer within {ago(note['seconds'])}; "
        "what is told of it was known before."
    ],
    "hung": lambda note: [
        f"Source {note['name']} ({text(note)}) has not answered for {ago(note['seconds'])}; "
        "what is told of it was known before."
    ],
    "unreadable": lambda note: [f"{text(note)} cannot be read, since {when(note['since'])}: {note['error']}."],
    "unread": _note_unread,
    "excluded": lambda note: [f"{printable(note['name'])} matches --exclude '{printable(note['by'] or '?')}'."],
    "link": _note_link,
    "unseen": _note_unseen,
    "spelled": lambda note: [f"Its place is under another spelling: {text(note)}"],
    "file": lambda note: [f"{text(note)} is no directory: nothing is in it."],
    "namesake": _note_namesake,
    "nearest": lambda note: [f"Nearest to it: {', '.join(map(text, note['paths']))}"],
    "elsewhere": lambda note: [f"Of the same name: {', '.join(map(text, note['paths']))}"],
}
