"""The options, each declared once, under a heading: for command line, ``-o``, configuration file, help and manual page.

To add one, see CONTRIBUTING.md. Their values are checked in ``settings``, unless click does that already.
"""

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from mmirrorfs.cli import installation
from mmirrorfs.cli.completion import directories, files, one_of
from mmirrorfs.cli.config import Kind
from mmirrorfs.merge.names import MATCHES

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Grouped(click.Option):
    """An option under a heading (``group``) of ``--help-all``; ``common`` ones are in ``--help`` too.

    ``help`` is all that ``--help`` and shell completion show; ``more`` follows it everywhere else.
    """

    def __init__(self, *args: Any, group: str, more: str = "", common: bool = False, **kwargs: Any) -> None:  # noqa: ANN401  # click's own types
        super().__init__(*args, **kwargs)
        self.group, self.more, self.common = group, more, common

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The names, and the whole text."""
        return self._record(ctx, self.help, self.more)

    def get_short_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The names without those that have ``_``, and the first sentence."""
        record = self._record(ctx, self.help)
        return record and (re.sub(r", --\w+_\w+", "", record[0]), record[1])

    def _record(self, ctx: click.Context, *texts: str | None) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0], " ".join(filter(None, (*texts, self._default()))))

    def _default(self) -> str:
        if not self.show_default:
            return ""
        shown = self.show_default if isinstance(self.show_default, str) else self.default
        return f"[default: {shown:g}]" if isinstance(shown, float) else f"[default: {shown}]"


class Command(click.Command):
    """A command with ``--help``, for the common options, and ``--help-all``, for all under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, of ``--help-all`` or of ``--help``."""
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        (_write_all if ctx.meta.get(_ALL) else _write_common)(ctx, formatter, options)


def _write_all(ctx: click.Context, formatter: click.HelpFormatter, options: Sequence[click.Option]) -> None:
    """A section for each heading, in the order of the declarations."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for option in options:
        if (record := option.get_help_record(ctx)) is not None:
            sections.setdefault(heading_of(option), []).append(record)
    for heading, records in sections.items():
        with formatter.section(heading):
            formatter.write_dl(records)


def _write_common(ctx: click.Context, formatter: click.HelpFormatter, options: Sequence[click.Option]) -> None:
    """The common options, and the names of all others."""
    shown = [option for option in options if not isinstance(option, Grouped) or option.common]
    records = [one.get_short_record(ctx) if isinstance(one, Grouped) else one.get_help_record(ctx) for one in shown]
    with formatter.section("Options"):
        formatter.write_dl([record for record in records if record is not None], col_max=24)
    with formatter.section("More, explained by --help-all and mmirrorfs(8)"):
        formatter.write_text(
            ", ".join(
                next(name for name in option.opts if name[:2] == "--") for option in options if option not in shown
            )
        )


class _Seconds(click.FloatRange):
    """A number of seconds, finite and at most LONGEST."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:  # noqa: ANN401
        seconds = float(super().convert(value, parameter, context))
        if not seconds <= LONGEST:
            self.fail(f"{seconds:g} is not a number of seconds from 0 to {LONGEST:,}", parameter, context)
        return seconds


LONGEST = 1_000_000_000
"""Seconds, some 30 years: the longest time that an option accepts."""


def heading_of(option: click.Option) -> str:
    """The heading of an option; click's own --help is under the last one."""
    return option.group if isinstance(option, Grouped) else _RUN


def kind_of(option: click.Option) -> Kind:
    """The type of the option's value in a configuration file."""
    if option.is_flag:
        return Kind.FLAG
    if isinstance(option.type, click.types.FloatParamType):
        return Kind.NUMBER
    if isinstance(option.type, click.types.IntParamType):
        return Kind.WHOLE
    return Kind.TEXTS if option.multiple else Kind.TEXT


def _show_versions(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(installation.versions())
        context.exit()


def _help_all(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.meta[_ALL] = True
        click.echo(context.get_help())
        context.exit()


def _install(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        installation.install(sys.argv[0])
        context.exit()


def _uninstall(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        installation.uninstall()
        context.exit()


def _option(group: str, *names: str, **how: Any) -> Decorator:  # noqa: ANN401  # click's own types
    return click.option(*names, cls=Grouped, group=group, **how)


CRAWLS = ("all", "local", "off")
WATCHES = ("auto", "off")
ANNOUNCES = ("auto", "off")
SIMULATE_FORMATS, STATUS_FORMATS = ("text", "tsv", "json", "csv", "html"), ("text", "json", "prometheus")
FORMATS = (*SIMULATE_FORMATS, "prometheus")

POSITIONAL = "\0"
"""The value of --status and --explain where the path is a positional argument. No path has a NUL byte."""

_VIEW, _SOURCES, _SHOWN = "What wins, and where", "Looking at the sources", "What is shown"
_QUERIES, _RUN = "Asking", "Running"
_ALL = "mmirrorfs.help-all"

OPTIONS: tuple[Decorator, ...] = (
    _option(
        _VIEW, "--prefer", metavar="high|low|NAME", shell_complete=one_of("high", "low"), show_default="high",
        common=True,
        help="Who wins: the first source that has a folder, the last, or that source first.",
        more="A source is called as its folder, or as given in NAME=PATH.",
    ),
    _option(
        _VIEW, "-d", "--depth", type=int, default=1, metavar="N", show_default=True, common=True,
        help="Where folders are taken whole: 1 for Album/, 2 for Artist/Album/.",
    ),
    _option(
        _VIEW, "--skip-empty", is_flag=True,
        help="Let a folder without a file in it, at any level, win only where nobody has one with a file.",
    ),
    _option(
        _VIEW, "--output-high", "--output_high", metavar="DIR", shell_complete=directories, common=True,
        help="Mount the view in which the first source wins.",
        more="DIR is made if only its last component is missing.",
    ),
    _option(
        _VIEW, "--output-low", "--output_low", metavar="DIR", shell_complete=directories, common=True,
        help="Mount the view in which the last source wins.",
        more="With --output-high too, one command mounts both, a process each.",
    ),
    _option(
        _VIEW, "--nonempty", "--overwritesymlinks", "nonempty", is_flag=True,
        help="Mount over a directory that is not empty; what is in it stays untouched underneath.",
        more="--overwritesymlinks is its name in the program that this one descends from.",
    ),
    _option(
        _SOURCES, "--refresh", type=_Seconds(), default=60.0, metavar="SECONDS", show_default=True, common=True,
        help="What changes in a source that is polled shows within this.",
        more="0: the merged part changes on SIGHUP only, and what lies in folders is at most a second old.",
    ),
    _option(
        _SOURCES, "--watch", type=click.Choice(WATCHES), default="auto", show_default=True,
        help="Have the kernel report changes in the sources, where it can, and show them at once; off: poll them all.",
    ),
    _option(
        _SOURCES, "--recheck", type=_Seconds(), default=3600.0, metavar="SECONDS", show_default=True,
        help="Scan again, once in this time, all that is watched, for changes that no event tells; 0: never.",
    ),
    _option(
        _SOURCES, "--on-missing", type=click.Choice(["keep", "fallback"]), default="keep", show_default=True,
        help="What an unplugged source means: keep showing what is known of it, or let the other sources take over.",
    ),
    _option(
        _SOURCES, "--remember", type=click.IntRange(min=0), default=1_000_000, metavar="ENTRIES", show_default=True,
        help="How many names inside folders are kept in memory, for everybody who asks; about 100 bytes each.",
    ),
    _option(
        _SOURCES, "--crawl", type=click.Choice(CRAWLS), default="local", show_default=True,
        help="Whose folders are read ahead, when nothing else is to do: those of local disks, all, or none.",
        more="All includes network and FUSE sources. In the same folders --simulate counts files.",
    ),
    _option(
        _SOURCES, "--timeout", type=_Seconds(), default=0.0, metavar="SECONDS", show_default=True,
        help="Give up on a source that does not answer, with an I/O error; what is known is shown after half of it.",
        more="0: wait, as for a disk; a program that reads from a hung source cannot even be killed then.",
    ),
    _option(
        _SOURCES, "--on-change", metavar="COMMAND",
        help="Run this after the view has changed, with the changes as JSON lines on its standard input.",
        more='A line is {"change": "added", "path": "Artist/Album", "type": "directory"}; change may be removed or '
        "changed too, and of folders that were read before tracks are told as well. It never runs twice at once, and "
        "ends with the view, as does all that it left running in its process group.",
    ),
    _option(
        _SOURCES, "--announce", type=click.Choice(ANNOUNCES), default="auto", show_default=True,
        help="Tell programs that watch the view (inotify) what changes in it, where root mounts it.",
    ),
    _option(
        _SHOWN, "--match", type=click.Choice(MATCHES), default="exact", show_default=True, common=True,
        help="How names are paired, down to the depth.",
        more="To the byte; by Unicode normal form (a name from a Mac); by that and case; or as people spell: without "
        "punctuation, articles, marks of format. The spelling shown is the highest source's.",
    ),
    _option(
        _SHOWN, "--ignore", multiple=True, metavar="REGEX",
        help="Leave out what this matches when names are compared, as ' \\[(FLAC|MP3)\\]$'; may be given again.",
        more="At most 200 characters and two repeats, and no group repeated, so that no name keeps it busy.",
    ),
    _option(
        _SHOWN, "--follow-symlinks", "--followsymlinks", "follow_symlinks", is_flag=True,
        help="Let symbolic links count as what they point to.",
    ),
    _option(
        _SHOWN, "--exclude", multiple=True, metavar="GLOB", common=True,
        help="Leave out names, as @eaDir or .DS_Store; may be given again.",
        more="They are left out at every level; lost+found is another.",
    ),
    _option(
        _QUERIES, "--simulate", is_flag=True, common=True,
        help="Print who would win what, and mount nothing.",
        more="Exit 1 where a source could not be read whole.",
    ),
    _option(
        _QUERIES, "--format", type=click.Choice(FORMATS),
        help="How --simulate prints it, or --status: text, tsv, csv, json, html, prometheus.",
        more="--simulate: text for people (on a terminal, in a pager), tsv (in a pipe), csv, json, or html, a page. Of "
        "tsv a line has TYPE, HIGH, LOW and PATH, and all else is on stderr. --status: text, json, or prometheus, "
        "metrics of that view or of all.",
    ),
    _option(
        _QUERIES, "--only", metavar="both|NAME|near|conflicts", shell_complete=one_of("both", "near", "conflicts"),
        help="Of --simulate only what several sources have, or only that source, near misses, or conflicts.",
        more="A conflict is a directory in the place of a file.",
    ),
    _option(_QUERIES, "--summary", is_flag=True, help="Of --simulate only the totals, and what needs a decision."),
    _option(
        _QUERIES, "--status", metavar="[MOUNTPOINT]", is_flag=False, flag_value=POSITIONAL, shell_complete=directories,
        common=True,
        help="Print how a live view is, or all of this machine.",
        more="Exit 1 where one is dead, or a source is lost or does not answer. Options beside it are compared with "
        "the view's.",
    ),
    _option(
        _QUERIES, "--explain", metavar="PATH", is_flag=False, flag_value=POSITIONAL, shell_complete=files, common=True,
        help="Print why a path of a view, or of a source, is shown or not.",
        more="It need not be there.",
    ),
    _option(
        _QUERIES, "--doctor", is_flag=True, common=True,
        help="Check what views need of this machine, and all that are mounted.",
        more="Each complaint says what to do; exit 1 where anything is wrong.",
    ),
    _option(
        _QUERIES, "--follow", is_flag=True,
        help="With --status: wait until the folders have been read ahead.",
        more="On a terminal it shows a bar.",
    ),
    _option(
        _QUERIES, "--json", is_flag=True,
        help="With --simulate (the same as --format json), --status, --explain or --doctor: print it as JSON.",
    ),
    _option(
        _RUN, "--config", metavar="FILE", shell_complete=files, common=True,
        help="Read options, sources and views from this TOML file.",
        more="One command then mounts all its views; what the command line says wins.",
    ),
    _option(
        _RUN, "-o", "options", multiple=True, metavar="OPT,...", common=True,
        help="Options as in fstab, such as allow_other.",
        more="Any long option goes as name=value; mmirrorfs(8) lists the other words.",
    ),
    _option(_RUN, "-f", "--foreground", is_flag=True, common=True, help="Stay in the foreground and log to stderr."),
    _option(
        _RUN, "-v", "--verbose", count=True, common=True,
        help="Log each scan, change, loss and return.",
        more="-vv: each fetch and event too; -vvv: what pyfuse3 does as well.",
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
    _option(
        _RUN, "--help-all", is_flag=True, is_eager=True, expose_value=False, callback=_help_all, common=True,
        help="Show all options, and all there is to say of each.",
    ),
)  # fmt: skip


def with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function with all the options."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
