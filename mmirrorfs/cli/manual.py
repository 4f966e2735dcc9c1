"""The manual page mmirrorfs(8), in roff (man(7)): ``python -m mmirrorfs.cli.manual > mmirrorfs.8``. Pure: text out.

Rule 1: what the program knows is taken from it and not said twice: the options and their help from the command, the
words of ``-o`` from ``mountopts``, the exit codes from ``problem``. The rest is in ``manual_text``,
``manual_sources``, ``manual_names``, ``manual_answers`` and ``manual_machine``.
Rule 2: no date but the one that SOURCE_DATE_EPOCH gives, so that the same source gives the same page.

Knows nothing of the disk and mounts nothing; called by the scripts that package, and by the tests.
"""

import os
import re
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator

import click

from mmirrorfs import __version__
from mmirrorfs.cli import manual_text as prose
from mmirrorfs.cli import mountopts
from mmirrorfs.cli.main import command
from mmirrorfs.cli.manual_answers import ASKING, DOCTOR, EXPLAINING, LOGGING
from mmirrorfs.cli.manual_machine import PRIVILEGES
from mmirrorfs.cli.manual_names import NAMES
from mmirrorfs.cli.manual_sources import WATCHING
from mmirrorfs.cli.options import heading_of
from mmirrorfs.cli.problem import FAILED, INTERRUPTED, SYSTEM, USAGE

EXITS = (
    (0, "The view can be used; it is mounted already, with the same sources and options; or it has ended in order."),
    (
        USAGE,
        "A mistake in the command line; or --status found a source lost, --simulate one that could not be read, "
        "--doctor something wrong; or the view that was asked is dead.",
    ),
    (SYSTEM, "Something of the system's is missing or refused, pyfuse3 or libfuse for instance."),
    (INTERRUPTED, "Interrupted from the keyboard."),
    (FAILED, "The mount could not be made: a source, the mountpoint, or FUSE. Nothing stays behind."),
)
"""Exit codes, which are those of mount(8), and what they mean here."""


def page(of: click.Command, version: str, date: str = "") -> str:
    """The whole manual page of a command. ``date`` as YYYY-MM-DD."""
    head = [f'.TH MMIRRORFS 8 "{date}" "mmirrorfs {version}" "System Administration"', ".nh", ".ad l"]
    sections = [
        ("NAME", prose.NAME),
        ("SYNOPSIS", prose.SYNOPSIS),
        ("DESCRIPTION", prose.DESCRIPTION),
        ("OPTIONS", lines(options(of))),
        ("MOUNT OPTIONS", prose.MOUNT_OPTIONS + lines(words())),
        ("WATCHED AND POLLED", WATCHING),
        ("WHY SOMETHING IS SHOWN OR NOT", EXPLAINING),
        ("HOW A VIEW IS", ASKING),
        ("WHAT IS WRONG", DOCTOR),
        ("LOGGING", LOGGING),
        ("CONFIGURATION FILE", prose.CONFIG),
        ("NAMES", NAMES),
        ("FSTAB", prose.FSTAB),
        ("SYSTEMD", prose.SYSTEMD),
        ("PRIVILEGES", PRIVILEGES),
        ("JSON", prose.JSON),
        ("EXIT STATUS", lines(terms((str(code), meaning) for code, meaning in EXITS)) + prose.STDERR),
        ("SIGNALS", prose.SIGNALS),
        ("FILES", prose.FILES),
        ("EXTENDED ATTRIBUTES", prose.ATTRIBUTES),
        ("EXAMPLES", prose.EXAMPLES),
        ("LIMITS", prose.LIMITS),
        ("SEE ALSO", prose.SEE_ALSO),
    ]
    return lines(head) + "".join(f".SH {title}\n{text.strip(chr(10))}\n" for title, text in sections)


def options(of: click.Command) -> Iterator[str]:
    """The options under the headings of the help, as roff."""
    context = click.Context(of, info_name=of.name, help_option_names=of.context_settings.get("help_option_names"))
    heading = ""
    for parameter in of.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or not isinstance(parameter, click.Option):
            continue
        if heading_of(parameter) != heading:
            heading = heading_of(parameter)
            yield f'.SS "{escaped(heading)}"'
        names, meaning = record
        yield from (".TP", option_names(names), *wrapped(meaning))


def words() -> Iterator[str]:
    """The words of ``-o`` that are no options of the program."""
    yield "For libfuse, described in"
    yield ".BR mount.fuse3 (8):"
    yield bold_list(sorted(mountopts.FUSE)) + "."
    yield ".PP"
    yield "Accepted and without effect, being the business of"
    yield ".BR mount (8)"
    yield "or no matter to a view:"
    yield bold_list(sorted(mountopts.IGNORED)) + ","
    yield "and whatever begins with x\\- or X\\-."
    yield ".PP"
    yield "Accepted and without effect too, so that lines written for other FUSE filesystems can be used:"
    yield bold_list([*sorted(mountopts.IGNORED_OF_FUSE), *(f"{name}=" for name in sorted(mountopts.IGNORED_VALUES))])
    yield "\\&."
    yield ".PP"
    yield "Refused, with what to say instead:"
    yield bold_list(f"{name}=" for name in sorted(mountopts.REFUSED)) + "."
    yield "Any other word is a mistake."


def terms(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A list of terms and their meanings."""
    for term, meaning in pairs:
        yield from (".TP", f"\\fB{escaped(term)}\\fR", *wrapped(meaning))


def option_names(names: str) -> str:
    """``-d, --depth N`` with the names in bold and the rest in italics."""
    flags, _, metavar = re.fullmatch(r"((?:-{1,2}[\w-]+(?:, )?)+)( ?)(.*)", names, re.DOTALL).groups()  # type: ignore[union-attr]
    shown = ", ".join(f"\\fB{escaped(flag)}\\fR" for flag in flags.strip().split(", "))
    return f"{shown} \\fI{escaped(metavar)}\\fR" if metavar else shown


def bold_list(names: Iterable[str]) -> str:
    """Names in bold, with commas."""
    return "\n".join(textwrap.wrap(", ".join(f"\\fB{escaped(name)}\\fR" for name in names), 100))


def wrapped(text: str) -> list[str]:
    """Plain text as lines of roff, none of which can be taken for a request."""
    found = textwrap.wrap(" ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False)
    return [("\\&" if line[0] in ".'" else "") + escaped(line) for line in found]


def escaped(text: str) -> str:
    """Plain text, so that roff shows it as it is."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")


def lines(texts: Iterable[str]) -> str:
    """Each text on a line of its own."""
    return "".join(f"{text}\n" for text in texts)


if __name__ == "__main__":
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    day = time.strftime("%Y-%m-%d", time.gmtime(int(epoch))) if epoch else ""
    sys.stdout.write(page(command, __version__, day))
