"""The options: each declared once, for the command line, for ``-o`` and for the help, in groups."""

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from mmirrorfs.cli import beside, helper
from mmirrorfs.cli.complete import directories, files, one_of
from mmirrorfs.cli.config import Kind
from mmirrorfs.cli.versions import versions
from mmirrorfs.merge.names import MATCHES

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Grouped(click.Option):
    """An option that stands under a heading in the whole help; in the short one too, where it is ``common``.

    ``help`` is what the short help and a shell's completion say; what ``more`` says comes after it everywhere else.
    """

    def __init__(self, *args: Any, group: str, more: str = "", common: bool = False, **kwargs: Any) -> None:  # noqa: ANN401  # click's own types
        super().__init__(*args, **kwargs)
        self.group, self.more, self.common = group, more, common

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The names, and all there is to say."""
        return self._record(ctx, self.help, self.more)

    def get_short_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The names but for those with ``_``, and the least that there is to say."""
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
    """A command that has a short help, of the common options, and a whole one, of all under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the help that was asked for."""
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        (_write_all if ctx.meta.get(_ALL) else _write_common)(ctx, formatter, options)


def _write_all(ctx: click.Context, formatter: click.HelpFormatter, options: Sequence[click.Option]) -> None:
    """One section a heading, in the order of the declarations."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for option in options:
        if (record := option.get_help_record(ctx)) is not None:
            sections.setdefault(heading_of(option), []).append(record)
    for heading, records in sections.items():
        with formatter.section(heading):
            formatter.write_dl(records)


def _write_common(ctx: click.Context, formatter: click.HelpFormatter, options: Sequence[click.Option]) -> None:
    """What most people need, and the names of all else."""
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


def heading_of(option: click.Option) -> str:
    """The heading that an option stands under; click's own --help has none of its own."""
    return option.group if isinstance(option, Grouped) else _RUN


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


def _help_all(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        context.meta[_ALL] = True
        click.echo(context.get_help())
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
OF_SIMULATE, OF_STATUS = ("text", "tsv", "json", "csv", "html"), ("text", "json", "prometheus")
FORMATS = (*OF_SIMULATE, "prometheus")

FOLLOWS = "\0"
"""The value of --status and --explain where another option stands next: the path comes later. No path is like that."""

_VIEW, _LOOK, _NAMES = "What wins, and where", "Looking at the sources", "What is shown"
_ASK, _RUN = "Asking", "Running"
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
        _LOOK, "--refresh", type=_Seconds(), default=60.0, metavar="SECONDS", show_default=True, common=True,
        help="What changes in a source that is polled shows within this.",
        more="0: the merged part changes on SIGHUP only, and what lies in folders is at most a second old.",
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
        more="All includes network and FUSE sources. In the same folders --simulate counts files.",
    ),
    _option(
        _LOOK, "--timeout", type=_Seconds(), default=0.0, metavar="SECONDS", show_default=True,
        help="Give up on a source that does not answer, with an I/O error; what is known is shown after half of it.",
        more="0: wait, as for a disk; a program that reads from a hung source cannot even be killed then.",
    ),
    _option(
        _LOOK, "--on-change", metavar="COMMAND",
        help="Run this after the view has changed, with the changes as JSON lines on its standard input.",
        more='A line is {"change": "added", "path": "Artist/Album", "type": "directory"}; change may be removed or '
        "changed too, and of folders that were read before tracks are told as well. It never runs twice at once, and "
        "ends with the view, as does all that it left running in its process group.",
    ),
    _option(
        _LOOK, "--announce", type=click.Choice(ANNOUNCES), default="auto", show_default=True,
        help="Tell programs that watch the view (inotify) what changes in it, where root mounts it.",
    ),
    _option(
        _NAMES, "--match", type=click.Choice(MATCHES), default="exact", show_default=True, common=True,
        help="How names are paired, down to the depth.",
        more="To the byte; by Unicode normal form (a name from a Mac); by that and case; or as people spell: without "
        "punctuation, articles, marks of format. The spelling shown is the highest source's.",
    ),
    _option(
        _NAMES, "--ignore", multiple=True, metavar="REGEX",
        help="Leave out what this matches when names are compared, as ' \\[(FLAC|MP3)\\]$'; may be given again.",
        more="At most 200 characters and two repeats, and no group repeated, so that no name keeps it busy.",
    ),
    _option(
        _NAMES, "--follow-symlinks", "--followsymlinks", "follow_symlinks", is_flag=True,
        help="Let symbolic links count as what they point to.",
    ),
    _option(
        _NAMES, "--exclude", multiple=True, metavar="GLOB", common=True,
        help="Leave out names, as @eaDir or .DS_Store; may be given again.",
        more="They are left out at every level; lost+found is another.",
    ),
    _option(
        _ASK, "--simulate", is_flag=True, common=True,
        help="Print who would win what, and mount nothing.",
        more="Exit 1 where a source could not be read whole.",
    ),
    _option(
        _ASK, "--format", type=click.Choice(FORMATS),
        help="How --simulate prints it, or --status: text, tsv, csv, json, html, prometheus.",
        more="--simulate: text for people (on a terminal, in a pager), tsv (in a pipe), csv, json, or html, a page. Of "
        "tsv a line has TYPE, HIGH, LOW and PATH, and all else is on stderr. --status: text, json, or prometheus, "
        "metrics of that view or of all.",
    ),
    _option(
        _ASK, "--only", metavar="both|NAME|near|conflicts", shell_complete=one_of("both", "near", "conflicts"),
        help="Of --simulate only what several sources have, or only that source, near misses, or conflicts.",
        more="A conflict is a directory in the place of a file.",
    ),
    _option(_ASK, "--summary", is_flag=True, help="Of --simulate only the totals, and what needs a decision."),
    _option(
        _ASK, "--status", metavar="[MOUNTPOINT]", is_flag=False, flag_value=FOLLOWS, shell_complete=directories,
        common=True,
        help="Print how a live view is, or all of this machine.",
        more="Exit 1 where one is dead, or a source is lost or does not answer. Options beside it are compared with "
        "the view's.",
    ),
    _option(
        _ASK, "--explain", metavar="PATH", is_flag=False, flag_value=FOLLOWS, shell_complete=files, common=True,
        help="Print why a path of a view, or of a source, is shown or not.",
        more="It need not be there.",
    ),
    _option(
        _ASK, "--doctor", is_flag=True, common=True,
        help="Check what views need of this machine, and all that are mounted.",
        more="Each complaint says what to do; exit 1 where anything is wrong.",
    ),
    _option(
        _ASK, "--follow", is_flag=True,
        help="With --status: wait until the folders have been read ahead.",
        more="On a terminal it shows a bar.",
    ),
    _option(
        _ASK, "--json", is_flag=True,
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
    """Give a function all the options."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
