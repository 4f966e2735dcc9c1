"""The command ``mmirrorfs``."""

import os
import platform
import sys
from typing import Any

import click

from mmirrorfs import __version__
from mmirrorfs.cli import mountopts
from mmirrorfs.cli.checks import check
from mmirrorfs.cli.problem import INTERRUPTED, SYSTEM, USAGE, Problem
from mmirrorfs.cli.settings import Settings, ViewSettings, named
from mmirrorfs.mount import log as logs

_BY_MOUNT = ("options",)
"""What -o cannot say."""


def _show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from mmirrorfs.cli.versions import versions

    click.echo(versions(__version__, platform.python_version()))
    context.exit()


@click.command(
    name="mmirrorfs",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: mmirrorfs flac/ mp3/ /mnt/high --prefer high --depth 2",
)
@click.argument("paths", nargs=-1, metavar="SOURCE SOURCE... MOUNTPOINT")
@click.option("--prefer", metavar="high|low", help="Who wins: the first source that has a folder, or the last. [high]")
@click.option("-d", "--depth", type=int, default=1, help="The level at which folders are taken whole. [1]")
@click.option("-o", "options", multiple=True, metavar="OPT,...", help="Options as mount(8) and fstab write them.")
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground and log to stderr.")
@click.option("-v", "--verbose", count=True, help="Say what happens; twice: everything.")
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show versions.",
)
@click.pass_context
def command(context: click.Context, /, **given: Any) -> int:  # noqa: ANN401  # click's own types
    """Show overlapping trees as one, read-only: merged down to a depth, and from there on every folder whole, from
    the source that is preferred."""
    settings = _settings(context, given)
    return _mount(check(settings))


def _settings(context: click.Context, given: dict[str, Any]) -> Settings:
    paths = [os.fsencode(path) for path in given["paths"]]
    if len(paths) < 2:
        raise Problem("sources and a mountpoint are needed: mmirrorfs SOURCE SOURCE MOUNTPOINT (see mmirrorfs --help)")
    *sources, mountpoint = paths
    fsname = ":".join(given["paths"][:-1])
    if len(sources) == 1:
        sources = [os.fsencode(part) for part in mountopts.split(given["paths"][0], ":")]
    if given["depth"] < 1:
        raise Problem(f"--depth {given['depth']}: must be 1 or more")
    fuse = given["fuse"] | {f"fsname={_fsname(fsname)}", "subtype=mmirrorfs", "default_permissions"}
    return Settings(
        sources=named(sources),
        views=(ViewSettings(os.path.abspath(mountpoint), given["prefer"] or "high"),),
        depth=given["depth"],
        foreground=given["foreground"],
        verbose=given["verbose"],
        fuse_options=frozenset(fuse | {"ro", "nosuid", "nodev"}),
    )


def _fsname(text: str) -> str:
    """A source field as libfuse takes it in an option: commas and backslashes escaped, ASCII only."""
    escaped = text.replace("\\", "\\\\").replace(",", "\\,")
    return escaped.encode("ascii", "replace").decode()


def _mount(settings: Settings) -> int:
    from mmirrorfs.cli.prepare import plans
    from mmirrorfs.mount.launch import in_background, in_foreground

    logs.to_stderr(settings.verbose)
    if settings.foreground:
        return in_foreground(lambda: plans(settings))
    return in_background(lambda: plans(settings), settings.verbose)


def run(arguments: list[str]) -> int:
    """Run the command with these arguments and return its exit code. Raises Problem or click's exceptions."""
    long = {p.opts[-1].lstrip("-"): p for p in command.params if isinstance(p, click.Option)}
    flags = frozenset(name for name, p in long.items() if p.is_flag or p.count)
    with command.make_context("mmirrorfs", list(arguments)) as context:
        options, fuse = mountopts.parse(context.params["options"], frozenset(long), flags)
    with command.make_context("mmirrorfs", options + list(arguments)) as context:
        context.params["fuse"] = fuse
        return int(command.invoke(context) or 0)


def main() -> None:
    """The entry point: one line on stderr and mount(8)'s exit code for everything that goes wrong."""
    try:
        code = run(sys.argv[1:])
    except Problem as problem:
        print(f"mmirrorfs: {problem}", file=sys.stderr)
        code = problem.code
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except click.ClickException as error:
        print(f"mmirrorfs: {error.format_message()} (see mmirrorfs --help)", file=sys.stderr)
        code = USAGE
    except (KeyboardInterrupt, click.Abort):
        code = INTERRUPTED
    except OSError as error:
        print(f"mmirrorfs: {error}", file=sys.stderr)
        code = SYSTEM
    sys.exit(code)
