"""What a command line asks live views, and ``--explain``. Asks with a time limit, never longer."""

import json
import os
import sys
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from mmirrorfs.cli.explained import in_words, plain
from mmirrorfs.cli.options import FOLLOWS, OF_SIMULATE, OF_STATUS
from mmirrorfs.cli.problem import FAILED, Problem
from mmirrorfs.cli.query import LOST, Dead, put, put_or_read, views
from mmirrorfs.cli.settings import usual
from mmirrorfs.cli.status import not_mounted, show_all, show_metrics, show_status
from mmirrorfs.mount import table
from mmirrorfs.mount.control import about
from mmirrorfs.source.filesystems import VIEW_TYPE, Mount, mount_under
from mmirrorfs.text import printable

Values = dict[str, Any]


def asked(given: Values, said: Collection[str]) -> Callable[[], int] | None:
    """What a command line asks live views, if it asks anything. Raises Problem where that makes no sense.

    ``said`` are the names of the parameters that were given: a view is compared with them.
    """
    _check_what_to_print(given)
    names = [name for name in ("status", "explain", "doctor", "simulate") if given[name] not in (None, False)]
    if names in ([], ["simulate"]):
        return None
    if len(names) > 1:
        raise Problem(f"--{names[0]} and --{names[1]} are asked one at a time")
    (name,) = names
    if given["follow"] and name != "status":
        raise Problem("--follow goes with --status")
    words = [*([] if given[name] in (FOLLOWS, True) else [given[name]]), *given["paths"]]
    if name == "doctor":
        return _doctor(given)
    as_json = given["json"] or given["format"] == "json"
    if given["format"] == "prometheus":
        return _metrics(words, said)
    if name == "status" and not words and not given["follow"]:
        return partial(show_all, as_json)
    if len(words) != 1 or not words[0]:
        raise Problem(f"--{name} takes one path, that of {'a view' if name == 'status' else 'something in a view'}")
    if name == "explain":
        return partial(explain, words[0], as_json)
    wanted = {option: given[key] for key in said if (option := key.replace("_", "-")) in usual()}
    return partial(_status, words[0], as_json, given["follow"], wanted)


def _check_what_to_print(given: Values) -> None:
    """Raise Problem where a form, or a part, is asked for of what has no such thing."""
    form, is_status = given["format"], given["status"] is not None
    for name in ("only", "summary"):
        if given[name] and not given["simulate"]:
            raise Problem(f"--{name} goes with --simulate")
    if form is not None and not (given["simulate"] or is_status):
        raise Problem("--format goes with --simulate or --status")
    if given["json"] and form not in (None, "json"):
        raise Problem(f"--json is --format json, not {form}: give one of them")
    if form is not None and form not in (OF_STATUS if is_status else OF_SIMULATE):
        raise Problem(f"--format {form} goes with --{'simulate' if is_status else 'status'}")


def _metrics(words: list[str], said: Collection[str]) -> Callable[[], int]:
    """Of all views, or of that on one path. Nothing is compared, or waited for."""
    beside = [key.replace("_", "-") for key in said if key == "follow" or key.replace("_", "-") in usual()]
    if beside:
        raise Problem(f"--{beside[0]} does not go with --format prometheus")
    if len(words) > 1 or "" in words:
        raise Problem("--status takes one path, that of a view")
    if not words:
        return lambda: show_metrics((mount.where, mount) for mount in views())
    return lambda: show_metrics([_view_at(words[0])])


def _doctor(given: Values) -> Callable[[], int]:
    if given["paths"]:
        raise Problem("--doctor takes no path: it looks at the machine, and at all views")
    from mmirrorfs.cli.doctor import doctor

    return partial(doctor, given["json"])


def _status(mountpoint: str, as_json: bool, wait: bool, wanted: Values) -> int:
    where, mount = _view_at(mountpoint)
    if mount is None:
        raise not_mounted(where)
    return show_status(mount, as_json, wait, wanted)


def _view_at(mountpoint: str) -> tuple[bytes, Mount | None]:
    """The view that is mounted there, and where that is."""
    given = os.path.abspath(os.fsencode(mountpoint))
    places = [given] if table.view_at(given) else [*_resolved(given), given]
    mount = next(filter(None, map(table.view_at, places)), None)
    return (places[0] if mount is None else mount.where), mount


def explain(path: str, as_json: bool) -> int:
    """Print why ``path``, of a live view or of a source of one, is shown or is not: of a source, for each view."""
    given = os.path.abspath(os.fsencode(path))
    try:
        answers = _answers([given]) or _answers(_resolved(given))
    except Dead as dead:
        print(json.dumps(dead.document(given), indent=1) if as_json else "\n".join(dead.words()))
        return LOST
    if not answers:
        what = f"{printable(given)} is not in a mounted view, and not in a source of one that you may ask"
        raise Problem(what, FAILED)
    if as_json:
        print(json.dumps(answers, indent=1))
    else:
        several = answers if isinstance(answers, list) else [answers]
        print(plain("\n\n".join("\n".join(in_words(answer)) for answer in several)))
    return 0


def _answers(paths: list[bytes]) -> Values | list[Values]:
    """The answer of the view that one of the paths is in, or those of all that have a source in which one is."""
    question = {"ask": "explain", **about(*paths)}
    for path in paths:
        mount = mount_under(path)
        if mount is not None and mount.type == VIEW_TYPE:
            return put_or_read(mount, question, path)
    found: list[Values | None] = []
    silent: list[Problem] = []
    for mount in views():
        try:
            found.append(put(mount, question))
        except ConnectionError:
            continue
        except Problem as problem:
            silent.append(problem)
    answers = [answer for answer in found if answer is not None]
    if silent and not answers:
        raise silent[0]
    for one in silent:  # it may have nothing to do with the path
        print(f"mmirrorfs: {one}", file=sys.stderr)
    return answers


def _resolved(path: bytes) -> list[bytes]:
    """The path without links but for its end, and without any: as far as what is on it answers."""
    return [one for one in table.ask(partial(_without_links, path)).split(b"\0") if one]


def _without_links(path: bytes) -> bytes:
    """A question: both."""
    above = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return b"\0".join((above, os.path.realpath(above)))
