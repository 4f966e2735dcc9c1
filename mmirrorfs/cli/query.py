"""Which query a command line makes of mounted views: ``--status``, ``--explain`` or ``--doctor``, and with what.

Rule 1: one query at a time, and only with options that go with it; anything else raises Problem.
Rule 2: options beside ``--status`` are compared with the view's.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from mmirrorfs.cli.client import not_mounted, view_at, views
from mmirrorfs.cli.errors import Problem
from mmirrorfs.cli.explain import explain
from mmirrorfs.cli.options import POSITIONAL, SIMULATE_FORMATS, STATUS_FORMATS
from mmirrorfs.cli.status import show_all, show_metrics, show_status
from mmirrorfs.cli.view_options import default_options

Values = dict[str, Any]


def query_of(given: Values, explicit: Collection[str]) -> Callable[[], int] | None:
    """The query, to be called for its exit code; None for a mount or a simulation. Raises Problem.

    ``explicit`` are the names of the parameters that are no defaults.
    """
    _check_output(given)
    names = [name for name in ("status", "explain", "doctor", "simulate") if given[name] not in (None, False)]
    if names in ([], ["simulate"]):
        return None
    if len(names) > 1:
        raise Problem(f"--{names[0]} and --{names[1]} are asked one at a time")
    (name,) = names
    if given["follow"] and name != "status":
        raise Problem("--follow goes with --status")
    words = [*([] if given[name] in (POSITIONAL, True) else [given[name]]), *given["paths"]]
    if name == "doctor":
        return _doctor(given)
    as_json = given["json"] or given["format"] == "json"
    if given["format"] == "prometheus":
        return _metrics(words, explicit)
    if name == "status" and not words and not given["follow"]:
        return partial(show_all, as_json)
    if len(words) != 1 or not words[0]:
        raise Problem(f"--{name} takes one path, that of {'a view' if name == 'status' else 'something in a view'}")
    if name == "explain":
        return partial(explain, words[0], as_json)
    wanted = {option: given[key] for key in explicit if (option := key.replace("_", "-")) in default_options()}
    return partial(_status, words[0], as_json, given["follow"], wanted)


def _check_output(given: Values) -> None:
    """Raise Problem where a format, or a part of the output, does not go with the rest."""
    form, is_status = given["format"], given["status"] is not None
    for name in ("only", "summary"):
        if given[name] and not given["simulate"]:
            raise Problem(f"--{name} goes with --simulate")
    if form is not None and not (given["simulate"] or is_status):
        raise Problem("--format goes with --simulate or --status")
    if given["json"] and form not in (None, "json"):
        raise Problem(f"--json is --format json, not {form}: give one of them")
    if form is not None and form not in (STATUS_FORMATS if is_status else SIMULATE_FORMATS):
        raise Problem(f"--format {form} goes with --{'simulate' if is_status else 'status'}")


def _metrics(words: list[str], explicit: Collection[str]) -> Callable[[], int]:
    """Metrics of all views, or of one. Nothing is compared, or waited for."""
    options = [key.replace("_", "-") for key in explicit]
    misplaced = [option for option in options if option == "follow" or option in default_options()]
    if misplaced:
        raise Problem(f"--{misplaced[0]} does not go with --format prometheus")
    if len(words) > 1 or "" in words:
        raise Problem("--status takes one path, that of a view")
    if not words:
        return lambda: show_metrics([(mount.where, mount) for mount in views()])
    return lambda: show_metrics([view_at(words[0])])


def _doctor(given: Values) -> Callable[[], int]:
    if given["paths"]:
        raise Problem("--doctor takes no path: it looks at the machine, and at all views")
    from mmirrorfs.cli.doctor import doctor

    return partial(doctor, given["json"])


def _status(path: str, as_json: bool, wait: bool, wanted: Values) -> int:
    where, mount = view_at(path)
    if mount is None:
        raise not_mounted(where)
    return show_status(mount, as_json, wait, wanted)
