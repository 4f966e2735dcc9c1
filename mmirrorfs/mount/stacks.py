"""Dumps the stacks of all threads and trio tasks to the log, on SIGUSR1. Event loop's thread only."""

import logging
import sys
import traceback

import trio

from mmirrorfs.text import STACKS, fields

log = logging.getLogger(__name__)


def dump() -> None:
    """Log all stacks as warnings, exempt from the rate limit."""
    for ident, frame in sys._current_frames().items():
        stack = "".join(traceback.format_stack(frame))
        log.warning("thread %d\n%s", ident, stack, extra=fields(STACKS))
    for task in _tasks(trio.lowlevel.current_root_task()):
        where = [
            f"  {frame.f_code.co_filename}:{line} {frame.f_code.co_name}" for frame, line in task.iter_await_frames()
        ]
        log.warning("task %s\n%s", task.name, "\n".join(where), extra=fields(STACKS))


def _tasks(root: trio.lowlevel.Task | None) -> list[trio.lowlevel.Task]:
    found = [root] if root is not None else []
    for task in found:
        found += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found
