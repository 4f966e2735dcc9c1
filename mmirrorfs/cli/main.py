"""The command ``mmirrorfs``: from arguments to an exit code.

One line on stderr and mount(8)'s exit code for everything that goes wrong; the imports that pull in pyfuse3 come
late, so that help and mistakes are answered at once.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import click
from click.core import ParameterSource as SOURCE

from mmirrorfs.cli import mountopts
from mmirrorfs.cli.ask import asked
from mmirrorfs.cli.checks import check, remove
from mmirrorfs.cli.complete import answer, directories, is_asked
from mmirrorfs.cli.config import Config, read
from mmirrorfs.cli.existing import without_links, without_live_views
from mmirrorfs.cli.helper import arguments, is_helper
from mmirrorfs.cli.last import check_last
from mmirrorfs.cli.options import Command, kind_of, with_options
from mmirrorfs.cli.problem import INTERRUPTED, SYSTEM, USAGE, Problem
from mmirrorfs.cli.settings import Settings, settings
from mmirrorfs.cli.versions import REINSTALL
from mmirrorfs.mount import log as logs
from mmirrorfs.mount.lock import Lock, locked
from mmirrorfs.text import printable


@click.command(
    cls=Command,
    name="mmirrorfs",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: mmirrorfs flac/ mp3/ /mnt/high --prefer high --depth 2",
)
@click.argument("paths", nargs=-1, metavar="SOURCE SOURCE... MOUNTPOINT", shell_complete=directories)
@with_options
@click.pass_context
def command(context: click.Context, /, **given: Any) -> int:  # noqa: ANN401  # click's own types
    """Show overlapping trees as one, read-only.

    The sources are merged down to a depth; from there on every folder is taken whole, from the source that is
    preferred. Nothing is written, neither to the sources nor beside them, and what changes in a source shows in
    the view by itself. Unmount with umount, or with fusermount3 -u as a plain user.
    """
    said = [name for name in given if context.get_parameter_source(name) in (SOURCE.COMMANDLINE, SOURCE.DEFAULT_MAP)]
    if (question := asked(given, said)) is not None:
        return question()
    wanted = settings(given, context.meta[_FUSE], context.meta[_CONFIG])
    logs.to_stderr(wanted.verbose)
    last_is_source = bool(given["paths"]) and any(view.make for view in wanted.views)
    if wanted.simulate:
        return _simulate(wanted, last_is_source)
    wanted = without_links(wanted)
    with locked([view.mountpoint for view in wanted.views]) as lock:
        missing = without_live_views(wanted)
        _tell_of_live_views(wanted, missing)
        if not missing.views:
            return 0
        if last_is_source:
            check_last(missing.sources)
        return _mount(missing, lock)


def _simulate(wanted: Settings, last_is_source: bool) -> int:
    from mmirrorfs.cli.simulate import simulate

    if last_is_source:
        check_last(wanted.sources)
    check(wanted)
    return simulate(wanted)


_FUSE, _CONFIG = "mmirrorfs.fuse", "mmirrorfs.config"


def _tell_of_live_views(wanted: Settings, missing: Settings) -> None:
    """Who stays in the foreground must hear why the command ends at once; with -v the log says it."""
    if wanted.foreground and not wanted.verbose:
        for view in wanted.views:
            if view not in missing.views:
                _say(f"{printable(view.mountpoint)} is mounted already", 0)


def _mount(wanted: Settings, lock: Lock) -> int:
    made = check(wanted)
    code = SYSTEM
    try:
        from mmirrorfs.cli.prepare import plans
        from mmirrorfs.mount.launch import in_background, in_foreground

        if wanted.foreground:
            code = in_foreground(lambda: plans(wanted), lock)
        else:
            code = in_background(lambda: plans(wanted), lock, _guarded)
    finally:
        if code:
            remove(made)
    return code


FIRST_STEPS = """\
mmirrorfs shows overlapping trees as one, read-only: merged down to a depth, and
from there on folder by folder, each whole from the source that you prefer.
Nothing is copied or written; what changes in a source shows by itself.
Try this first, where both have folders like Artist/Album. It mounts nothing:
    mmirrorfs --simulate flac/ mp3/ --depth 2
Then: mmirrorfs flac/ mp3/ /mnt/music --depth 2    Options: mmirrorfs --help"""
"""What the command says when it is called without a word: six lines of 80 columns."""


def run(arguments: list[str]) -> int:
    """Run the command with these arguments and return its exit code. Raises Problem or click's exceptions.

    Without any it says what it is for, and fails. What ``-o`` says is put before the other arguments, as the long
    options that it stands for; what a configuration file says stands in for the defaults.
    """
    if not arguments:
        print(FIRST_STEPS, file=sys.stderr)
        return USAGE
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    known = {name.lstrip("-").replace("_", "-"): p for p in options for name in p.opts if name.startswith("--")}
    kinds = {name: kind_of(option) for name, option in known.items() if name not in _ONCE and name != "config"}
    flags = frozenset(name for name, option in known.items() if option.is_flag or option.count)
    with command.make_context("mmirrorfs", list(arguments)) as context:
        words, fuse = mountopts.parse(context.params["options"], frozenset(known.keys() - _ONCE), flags)
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
    """What a file says of each parameter, as (option, value). Raises Problem where it has two names of one option."""
    found: dict[str, tuple[str, Any]] = {}
    for name, value in config.options.items():
        other, _ = found.setdefault(str(known[name].name), (name, value))
        if other != name:
            raise Problem(f"--config {config.shown}: {other} and {name} are the same option: give one of them")
    return found


_ONCE = frozenset(
    (
        *("status", "follow", "explain", "doctor", "json", "simulate", "format", "only", "summary"),
        *("version", "help", "help-all", "install-helper", "uninstall-helper"),
    )
)
"""Options that ask for something once: neither -o nor a file may say them, or a mount would be taken for made."""


def main() -> None:
    """The entry point, for people, for a shell that completes and, under the name of its helper, for mount(8)."""
    if is_asked():
        sys.exit(answer(command))
    _open_standard_streams()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller's SIG_IGN is inherited, and waitpid then finds nobody
    words: list[str] | None = sys.argv[1:]
    if is_helper(sys.argv[0]):
        words = arguments(sys.argv[1:])
    sys.exit(0 if words is None else _guarded(partial(run, words)))


def _open_standard_streams() -> None:
    """Have all three, where the caller closed them: the next file that is opened would be taken for one of them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _guarded(call: Callable[[], int]) -> int:
    """The exit code of the call, also for what it raises: one line says why."""
    try:
        return call()
    except Problem as problem:
        return _say(str(problem), problem.code)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        return _say(f"{printable(error.format_message())} (see mmirrorfs --help)", USAGE)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _give_up_output()
        return SYSTEM
    except ImportError as error:
        return _say(f"{error}: pyfuse3 or libfuse is missing, or they do not fit; {REINSTALL}", SYSTEM)
    except OSError as error:
        _give_up_output()
        return _say(os.strerror(error.errno or errno.EIO), SYSTEM)


def _give_up_output() -> None:
    """Drop what is left to be printed, where it cannot be: Python would try again in the end, and exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _say(message: str, code: int) -> int:
    print(f"mmirrorfs: {message}", file=sys.stderr)
    return code
