"""The options: each declared once, for the command line, for ``-o`` and for the help, in groups."""

import sys
from collections.abc import Callable
from typing import Any

import click

from mmirrorfs.cli import beside, helper
from mmirrorfs.cli.complete import directories, files, one_of
from mmirrorfs.cli.config import Kind
from mmirrorfs.cli.versions import versions
from mmirrorfs.merge.names import MATCHES

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Grouped(click.Option):
    """An option that stands under a heading in the help."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:  # noqa: ANN401  # click's own types
        super().__init__(*args, **kwargs)
        self.group = group


class Command(click.Command):
    """A command whose help lists the options under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section a heading, in the order of the declarations."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                heading = parameter.group if isinstance(parameter, Grouped) else _RUN
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class _Seconds(click.FloatRange):
    """A number of seconds that a clock can count."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:  # noqa: ANN401
        seconds = float(super().convert(value, parameter, context))
        if not seconds <= LONGEST:
            self.fail(f"{seconds:g} is not a number of seconds from 0 to {LONGEST:,}", parameter, context)
        return seconds


LONGEST = 1_000_000_000
"""Seconds, some 30 years: the longest time that an option takes."""


def kind_of(option: click.Option) -> Kind:
    """What the option's value must be in a configuration file."""
    if option.is_flag:
        return Kind.FLAG
    if isinstance(option.type, click.types.FloatParamType):
        return Kind.NUMBER
    if isinstance(option.type, click.types.IntParamType):
        return Kind.WHOLE
    return Kind.TEXTS if option.multiple else Kind.TEXT


def _show_versions(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(versions())
        context.exit()


def _install(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        beside.install(helper.install(sys.argv[0]))
        context.exit()


def _uninstall(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        helper.uninstall()
        beside.uninstall()
        context.exit()


def _option(group: str, *names: str, **how: Any) -> Decorator:  # noqa: ANN401  # click's own types
    return click.option(*names, cls=Grouped, group=group, **how)


CRAWLS = ("all", "local", "off")
WATCHES = ("auto", "off")
ANNOUNCES = ("auto", "off")
FORMATS = ("text", "tsv", "json", "csv", "html")

FOLLOWS = "\0"
"""The value of --status and --explain where another option stands next: the path comes later. No path is like that."""

_VIEW, _LOOK, _NAMES = "What wins, and where", "Looking at the sources", "What is shown"
_ASK, _RUN = "Asking", "Running"

OPTIONS: tuple[Decorator, ...] = (
    _option(
        _VIEW, "--prefer", metavar="high|low|NAME", shell_complete=one_of("high", "low"),
        help="Who wins: the first source that has a folder (high), the last (low), or the source of that name first.  "
        "[default: high]",
    ),
    _option(
        _VIEW, "-d", "--depth", type=int, default=1, metavar="N", show_default=True,
        help="The level at which folders are taken whole: 1 for Album/, 2 for Artist/Album/.",
    ),
    _option(
        _VIEW, "--skip-empty", is_flag=True,
        help="Let a folder without a file in it, at any level, win only where nobody has one with a file.",
    ),
    _option(
        _VIEW, "--output-high", "--output_high", metavar="DIR", shell_complete=directories,
        help="Mount the view here in which the first source wins; made if only its last component is missing.",
    ),
    _option(
        _VIEW, "--output-low", "--output_low", metavar="DIR", shell_complete=directories,
        help="Mount the view here in which the last source wins. Both may be given: one process each.",
    ),
    _option(
        _VIEW, "--nonempty", "--overwritesymlinks", "nonempty", is_flag=True,
        help="Mount over a directory that is not empty; what is in it stays untouched underneath.",
    ),
    _option(
        _LOOK, "--refresh", type=_Seconds(), default=60.0, metavar="SECONDS", show_default=True,
        help="What changes in a source shows within this time, where it is polled; 0: the merged part changes "
        "on SIGHUP only.",
    ),
    _option(
        _LOOK, "--watch", type=click.Choice(WATCHES), default="auto", show_default=True,
        help="Have the kernel report changes in the sources, where it can, and show them at once; off: poll them all.",
    ),
    _option(
        _LOOK, "--recheck", type=_Seconds(), default=3600.0, metavar="SECONDS", show_default=True,
        help="Scan again, once in this time, all that is watched, for changes that no event tells; 0: never.",
    ),
    _option(
        _LOOK, "--on-missing", type=click.Choice(["keep", "fallback"]), default="keep", show_default=True,
        help="What an unplugged source means: keep showing what is known of it, or let the other sources take over.",
    ),
    _option(
        _LOOK, "--remember", type=click.IntRange(min=0), default=1_000_000, metavar="ENTRIES", show_default=True,
        help="How many names inside folders are kept in memory, for everybody who asks; about 100 bytes each.",
    ),
    _option(
        _LOOK, "--crawl", type=click.Choice(CRAWLS), default="local", show_default=True,
        help="Whose folders are read ahead, when nothing else is to do: those of local disks, all, or none.",
    ),
    _option(
        _LOOK, "--timeout", type=_Seconds(), default=0.0, metavar="SECONDS", show_default=True,
        help="Give up on a source that does not answer, with an I/O error, or after half of it show what is known; "
        "0: wait, as for a disk.",
    ),
    _option(
        _LOOK, "--on-change", metavar="COMMAND",
        help="Run this after the view has changed, with the changes as JSON lines on its standard input.",
    ),
    _option(
        _LOOK, "--announce", type=click.Choice(ANNOUNCES), default="auto", show_default=True,
        help="Let programs that watch the view (inotify) hear of what changes in it, where root mounts it.",
    ),
    _option(
        _NAMES, "--match", type=click.Choice(MATCHES), default="exact", show_default=True,
        help="How names are paired, down to the depth: to the byte, by Unicode normal form, by that and case, or as "
        "people spell: without punctuation, articles, marks of format.",
    ),
    _option(
        _NAMES, "--ignore", multiple=True, metavar="REGEX",
        help="What does not count in a name when pairing; may be given again. For instance ' \\[(FLAC|MP3)\\]$'.",
    ),
    _option(
        _NAMES, "--follow-symlinks", "--followsymlinks", "follow_symlinks", is_flag=True,
        help="Let symbolic links count as what they point to.",
    ),
    _option(
        _NAMES, "--exclude", multiple=True, metavar="GLOB",
        help="Leave out names that match, at every level; may be given again. For instance @eaDir or .DS_Store.",
    ),
    _option(_ASK, "--simulate", is_flag=True, help="Print who would win what, and mount nothing."),
    _option(
        _ASK, "--format", type=click.Choice(FORMATS),
        help="How --simulate prints it: text for people (on a terminal), tsv (in a pipe), csv, json, or html, a page.",
    ),
    _option(
        _ASK, "--only", metavar="both|NAME|near|conflicts", shell_complete=one_of("both", "near", "conflicts"),
        help="Of --simulate only what several sources have, or only that source, near misses, or conflicts.",
    ),
    _option(_ASK, "--summary", is_flag=True, help="Of --simulate only the totals, and what needs a decision."),
    _option(
        _ASK, "--status", metavar="[MOUNTPOINT]", is_flag=False, flag_value=FOLLOWS, shell_complete=directories,
        help="Print how a live view is, or all of this machine; exit 1 where one is dead, or a source is lost or does "
        "not answer. Options beside it are compared with the view's.",
    ),
    _option(
        _ASK, "--explain", metavar="PATH", is_flag=False, flag_value=FOLLOWS, shell_complete=files,
        help="Print why a path of a live view, or of a source of one, is shown or is not.",
    ),
    _option(
        _ASK, "--doctor", is_flag=True,
        help="Check what views need of this machine, and those that are mounted; exit 1 where anything is wrong.",
    ),
    _option(_ASK, "--follow", is_flag=True, help="With --status: wait until the folders have been read ahead."),
    _option(
        _ASK, "--json", is_flag=True,
        help="With --simulate (the same as --format json), --status, --explain or --doctor: print it as JSON.",
    ),
    _option(
        _RUN, "--config", metavar="FILE", shell_complete=files,
        help="Read options, sources and views from this TOML file; one command then mounts all views.",
    ),
    _option(_RUN, "-o", "options", multiple=True, metavar="OPT,...",
            help="Options as mount(8) and fstab write them: any long one as name=value, and allow_other."),
    _option(_RUN, "-f", "--foreground", is_flag=True, help="Stay in the foreground and log to stderr."),
    _option(
        _RUN, "-v", "--verbose", count=True,
        help="Log each scan, change, loss and return; -vv: each fetch and event too; -vvv: what pyfuse3 does as well.",
    ),
    _option(
        _RUN, "--log", metavar="FILE", shell_complete=files,
        help="Log to this file once the view can be used; it may be renamed at any time, for rotation.",
    ),
    _option(
        _RUN, "--install-helper", is_flag=True, is_eager=True, expose_value=False, callback=_install,
        help="Let mount(8) find this program by /sbin/mount.fuse.mmirrorfs and /sbin/mount.mmirrorfs; and put the "
        "manual page, the completions and the systemd unit where they are looked for.",
    ),
    _option(
        _RUN, "--uninstall-helper", is_flag=True, is_eager=True, expose_value=False, callback=_uninstall,
        help="Remove all of these.",
    ),
    _option(
        _RUN, "-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_versions,
        help="Show the versions of mmirrorfs, pyfuse3, libfuse, trio and Python.",
    ),
)  # fmt: skip


def with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function all the options."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
