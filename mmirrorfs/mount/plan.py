"""The settings of one mount, as the command line hands them over. A value without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmirrorfs.serve.probe import Choices
from mmirrorfs.source.crawl import Plan as CrawlPlan
from mmirrorfs.view.state import State


@dataclass(frozen=True, slots=True)
class Plan:
    """What to mount where. ``options`` are libfuse's.

    With ``fallback`` a lost source counts as empty. ``crawls`` are what to read ahead, by source rank. A request gets
    EIO after ``timeout`` seconds (0: never). With ``watch`` the kernel reports changes, and everything watched is
    scanned again every ``recheck`` seconds (0: never). ``on_change`` is the user's command, ``identity`` the same for
    every mount of this view. ``silent`` is why changes are not announced to programs that watch the view, "" if they
    are. ``choices`` are for ``--explain``, ``line`` is the command that mounts the view, ``log`` its log file,
    ``shown_options`` its options by name.
    """

    mountpoint: bytes
    options: frozenset[str]
    state: State
    fallback: bool = False
    crawls: tuple[CrawlPlan | None, ...] = ()
    timeout: float = 0.0
    watch: bool = True
    recheck: float = 0.0
    on_change: str | None = None
    identity: str = ""
    silent: str = ""
    choices: Choices = field(default_factory=Choices)
    line: tuple[str, ...] = ()
    log: bytes | None = None
    shown_options: Mapping[str, object] = field(default_factory=dict)
