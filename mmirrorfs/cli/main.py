"""The command ``mmirrorfs``: arguments to exit code.

Rule 1: the command line overrides ``-o``, ``-o`` overrides the configuration file, and that overrides the defaults.
Rule 2: a failure is one line on stderr and an exit code of mount(8)'s (``errors``). A mountpoint that was created is
removed again.
Rule 3: modules that need pyfuse3 are imported late, so that help and usage errors are fast and work without libfuse.
"""

import os
import signal
import sys
from functools import partial
from typing import Any

import click
from click.core import ParameterSource as SOURCE

from mmirrorfs.cli import completion, mountopts
from mmirrorfs.cli.checks import check, check_last_source, remove
from mmirrorfs.cli.config import Config, read
from mmirrorfs.cli.errors import SYSTEM, USAGE, Problem, exit_code, say
from mmirrorfs.cli.mounted import with_resolved_mountpoints, without_mounted_views
from mmirrorfs.cli.options import Command, kind_of, with_options
from mmirrorfs.cli.query import query_of
from mmirrorfs.cli.settings import Settings, settings
from mmirrorfs.mount import log as logs
from mmirrorfs.mount.lock import Lock, locked
from mmirrorfs.text import printable


@click.command(
    cls=Command,
    name="mmirrorfs",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: mmirrorfs flac/ mp3/ /mnt/high --prefer high --depth 2",
)
@click.argument("paths", nargs=-1, metavar="SOURCE SOURCE... MOUNTPOINT", shell_complete=completion.directories)
@with_options
@click.pass_context
def command(context: click.Context, /, **given: Any) -> int:  # noqa: ANN401  # click's own types
    """Show overlapping trees as one, read-only.

    The sources are merged down to a depth; from there on every folder is taken whole, from the source that is
    preferred. Nothing is written, neither to the sources nor beside them, and what changes in a source shows in
    the view by itself. Unmount with umount, or with fusermount3 -u as a plain user.
    """
    explicit = [name for name in given if context.get_parameter_source(name) in _EXPLICIT]
    if (query := query_of(given, explicit)) is not None:
        return query()
    wanted = settings(given, context.meta[_FUSE], context.meta[_CONFIG])
    logs.to_stderr(wanted.verbose)
    last_is_source = bool(given["paths"]) and any(view.make for view in wanted.views)
    if wanted.simulate:
        return _simulate(wanted, last_is_source)
    wanted = with_resolved_mountpoints(wanted)
    with locked([view.mountpoint for view in wanted.views]) as lock:
        missing = without_mounted_views(wanted)
        _report_mounted_views(wanted, missing)
        if not missing.views:
            return 0
        if last_is_source:
            check_last_source(missing.sources)
        return _mount(missing, lock)


def _simulate(wanted: Settings, last_is_source: bool) -> int:
    from mmirrorfs.cli.simulate import simulate

    if last_is_source:
        check_last_source(wanted.sources)
    check(wanted)
    return simulate(wanted)


_FUSE, _CONFIG = "mmirrorfs.fuse", "mmirrorfs.config"
"""Keys of click's context: the options for libfuse, and the parsed configuration file."""
_EXPLICIT = (SOURCE.COMMANDLINE, SOURCE.DEFAULT_MAP)
"""Where options come from that are no defaults; DEFAULT_MAP is the configuration file."""


def _report_mounted_views(wanted: Settings, missing: Settings) -> None:
    """With --foreground, say why the command ends at once; with -v the log says it."""
    if wanted.foreground and not wanted.verbose:
        for view in wanted.views:
            if view not in missing.views:
                say(f"{printable(view.mountpoint)} is mounted already", 0)


def _mount(wanted: Settings, lock: Lock) -> int:
    created = check(wanted)
    code = SYSTEM
    try:
        from mmirrorfs.cli.prepare import plans
        from mmirrorfs.mount.launch import in_background, in_foreground

        if wanted.foreground:
            code = in_foreground(lambda: plans(wanted), lock)
        else:
            code = in_background(lambda: plans(wanted), lock, exit_code)
    finally:
        if code:
            remove(created)
    return code


FIRST_STEPS = """\
mmirrorfs shows overlapping trees as one, read-only: merged down to a depth, and
from there on folder by folder, each whole from the source that you prefer.
Nothing is copied or written; what changes in a source shows by itself.
Try this first, where both have folders like Artist/Album. It mounts nothing:
    mmirrorfs --simulate flac/ mp3/ --depth 2
Then: mmirrorfs flac/ mp3/ /mnt/music --depth 2    Options: mmirrorfs --help"""
"""What the command prints without arguments: six lines of 80 columns."""


def run(arguments: list[str]) -> int:
    """Run the command with these arguments and return its exit code. Raises Problem or click's exceptions.

    Without arguments it prints FIRST_STEPS and fails. The options of ``-o`` are put before the other arguments, as long
    options; those of the configuration file replace the defaults.
    """
    if not arguments:
        print(FIRST_STEPS, file=sys.stderr)
        return USAGE
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    known = {name.lstrip("-").replace("_", "-"): p for p in options for name in p.opts if name.startswith("--")}
    kinds = {name: kind_of(option) for name, option in known.items() if name not in _NO_MOUNT and name != "config"}
    flags = frozenset(name for name, option in known.items() if option.is_flag or option.count)
    with command.make_context("mmirrorfs", list(arguments)) as context:
        words, fuse = mountopts.parse(context.params["options"], frozenset(known.keys() - _NO_MOUNT), flags)
    with command.make_context("mmirrorfs", words + list(arguments)) as context:
        file = context.params["config"]
        config = read(file, kinds) if file is not None else None
    defaults = {
        parameter: [value] if known[name].multiple and isinstance(value, str) else value
        for parameter, (name, value) in (_by_parameter(config, known) if config is not None else {}).items()
    }
    with command.make_context("mmirrorfs", words + list(arguments), default_map=defaults) as context:
        context.meta[_FUSE], context.meta[_CONFIG] = fuse, config
        return int(command.invoke(context) or 0)


def _by_parameter(config: Config, known: dict[str, click.Option]) -> dict[str, tuple[str, Any]]:
    """The file's options by parameter, as (option, value). Raises Problem where it has one option under two names."""
    found: dict[str, tuple[str, Any]] = {}
    for name, value in config.options.items():
        other, _ = found.setdefault(str(known[name].name), (name, value))
        if other != name:
            raise Problem(f"--config {config.shown}: {other} and {name} are the same option: give one of them")
    return found


_NO_MOUNT = frozenset(
    (
        *("status", "follow", "explain", "doctor", "json", "simulate", "format", "only", "summary"),
        *("version", "help", "help-all", "install-helper", "uninstall-helper"),
    )
)
"""Options that print something and mount nothing. -o and the file may not have them: mount(8) would report success."""


def main() -> None:
    """The entry point: for users, for shell completion, and for mount(8), which runs it under the name of a helper."""
    if completion.is_requested():
        sys.exit(completion.respond(command))
    _open_standard_streams()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an inherited SIG_IGN would make waitpid fail
    words: list[str] | None = sys.argv[1:]
    if mountopts.is_mount_helper(sys.argv[0]):
        words = mountopts.helper_arguments(sys.argv[1:])
    sys.exit(0 if words is None else exit_code(partial(run, words)))


def _open_standard_streams() -> None:
    """Open /dev/null for those that the caller closed, or the next file that is opened gets their descriptor."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
