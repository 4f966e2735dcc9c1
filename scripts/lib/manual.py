"""Renders the reference of the command: the manual page mmirrorfs(8), in roff (man(7)), and docs/options.md.

    python -m scripts.lib.manual man >packaging/man/mmirrorfs.8
    python -m scripts.lib.manual options >docs/options.md

Rule 1: options, their help and the words of ``-o`` come from the command itself. The prose of the manual page is in
packaging/man/mmirrorfs.8.in, where ``@NAME@`` stands for a generated part.
Rule 2: the output depends on the source alone, neither on the date nor on the machine, so that a test can compare it
with the files that are checked in.

Mounts nothing. Called by ``scripts/man`` and by the tests; not part of the wheel.
"""

import itertools
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from mmirrorfs import __version__
from mmirrorfs.cli import mountopts
from mmirrorfs.cli.errors import FAILED, INTERRUPTED, SYSTEM, USAGE
from mmirrorfs.cli.main import command
from mmirrorfs.cli.options import heading_of

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "packaging" / "man" / "mmirrorfs.8.in"
MANUAL = ROOT / "packaging" / "man" / "mmirrorfs.8"
OPTIONS = ROOT / "docs" / "options.md"

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


# --- mmirrorfs(8) ---


def manual_page(of: click.Command, version: str, date: str = "") -> str:
    """The manual page of a command. ``date`` as YYYY-MM-DD; empty in the page that is checked in."""
    values = [f"{name}=" for name in sorted(mountopts.IGNORED_VALUES)]
    parts = {
        "VERSION": version,
        "DATE": date,
        "OPTIONS": "\n".join(_options(of)),
        "FUSE": _bold_list(sorted(mountopts.FUSE)),
        "IGNORED": _bold_list(sorted(mountopts.IGNORED)),
        "IGNORED_OF_FUSE": _bold_list([*sorted(mountopts.IGNORED_OF_FUSE), *values]),
        "REFUSED": _bold_list(f"{name}=" for name in sorted(mountopts.REFUSED)),
        "EXITS": "\n".join(_terms((str(code), meaning) for code, meaning in EXITS)),
    }
    return re.sub(r"@([A-Z_]+)@", lambda found: parts[found[1]], TEMPLATE.read_text())


def _options(of: click.Command) -> Iterator[str]:
    """The options under the headings of ``--help-all``, as roff."""
    for heading, records in _records(of):
        yield f'.SS "{escaped(heading)}"'
        for names, meaning in records:
            yield from (".TP", option_names(names), *wrapped(meaning))


def _terms(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A list of terms and their meanings."""
    for term, meaning in pairs:
        yield from (".TP", f"\\fB{escaped(term)}\\fR", *wrapped(meaning))


def option_names(names: str) -> str:
    """``-d, --depth N`` with the names in bold and the rest in italics."""
    flags, _, metavar = re.fullmatch(r"((?:-{1,2}[\w-]+(?:, )?)+)( ?)(.*)", names, re.DOTALL).groups()  # type: ignore[union-attr]
    shown = ", ".join(f"\\fB{escaped(flag)}\\fR" for flag in flags.strip().split(", "))
    return f"{shown} \\fI{escaped(metavar)}\\fR" if metavar else shown


def _bold_list(names: Iterable[str]) -> str:
    """Names in bold, separated by commas."""
    return "\n".join(textwrap.wrap(", ".join(f"\\fB{escaped(name)}\\fR" for name in names), 100))


def wrapped(text: str) -> list[str]:
    """Plain text as lines of roff, none of which can be taken for a request."""
    found = textwrap.wrap(" ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False)
    return [("\\&" if line[0] in ".'" else "") + escaped(line) for line in found]


def escaped(text: str) -> str:
    """Plain text with the characters escaped that are special to roff."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")


# --- docs/options.md ---

_HEAD = """\
# Options

<!-- ./scripts/man writes this page, from what the program itself says -->

`mmirrorfs --help` has the most common ones, `mmirrorfs --help-all` and mmirrorfs(8) what is here. In a configuration
file and after `-o` each long option goes by its name without the dashes. See [how to mount](usage.md).
"""
_MOUNT = """\
## Words of `-o` and of fstab

Every long option goes as `name=value`, or as `name` where it takes no value; `_` and `-` are alike, and a comma in a
value is written `\\,`. A view is mounted `ro,nosuid,nodev`, whatever is asked for. `remount` is refused: unmount, and
mount again; any word that is not here is a mistake.
"""


def options_page(of: click.Command) -> str:
    """All options of a command, the words of ``-o`` and the exit codes, in Markdown."""
    parts = [_HEAD]
    for heading, records in _records(of):
        parts.append(f"## {heading}\n\n{_table('option', [(_code(names), _plain(text)) for names, text in records])}")
    parts.append(f"{_MOUNT}\n{_table('words', _words())}")
    parts.append(f"## Exit status\n\n{_table('status', [(str(code), _plain(text)) for code, text in EXITS])}")
    return "\n".join(parts)


def _words() -> Iterator[tuple[str, str]]:
    """The words of ``-o`` that are no options of the program, by their effect."""
    yield _list(mountopts.FUSE), "for libfuse, see mount.fuse3(8)"
    yield f"{_list(mountopts.IGNORED)}, and whatever begins with `x-` or `X-`", "no matter to a view, or mount(8)'s own"
    values = [f"{name}=" for name in mountopts.IGNORED_VALUES]
    yield (
        _list([*mountopts.IGNORED_OF_FUSE, *values]),
        "without effect, so that lines for other filesystems can be used",
    )
    for reason in sorted(set(mountopts.REFUSED.values())):
        yield _list(f"{name}=" for name, why in mountopts.REFUSED.items() if why == reason), f"refused: {reason}"


def _list(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in sorted(words))


def _table(head: str, rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"| {first} | {second} |\n" for first, second in [(head, "meaning"), ("---", "---"), *rows])


def _code(names: str) -> str:
    """The names of an option and its metavar, as code."""
    return f"`{names.replace('|', chr(92) + '|')}`"


def _plain(text: str) -> str:
    """A text in a cell, with options, JSON and names that have special characters as code."""
    text = re.sub(r"(\{.*?\}|'[^' ]* ?[^']*\$'|(?<![\w-])--?[a-zA-Z][\w-]*)", r"`\1`", text)
    return re.sub(r"(@eaDir|\.DS_Store)", r"`\1`", text).replace("|", "\\|")


# --- both ---


def _records(of: click.Command) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each heading, with the help records of its options: (names, meaning)."""
    context = click.Context(of, info_name=of.name, help_option_names=of.context_settings.get("help_option_names"))
    options = [option for option in of.get_params(context) if isinstance(option, click.Option)]
    for heading, members in itertools.groupby(options, heading_of):
        yield heading, [record for option in members if (record := option.get_help_record(context)) is not None]


PAGES: dict[str, Callable[[], str]] = {
    "man": lambda: manual_page(command, __version__),
    "options": lambda: options_page(command),
}

if __name__ == "__main__":
    sys.stdout.write(PAGES[sys.argv[1]]())
