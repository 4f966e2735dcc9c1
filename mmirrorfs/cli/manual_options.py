"""docs/options.md, in Markdown: ``python -m mmirrorfs.cli.manual_options > docs/options.md``. Pure: text out.

Rule 1: nothing is said here that the command, ``mountopts`` or ``manual`` know: options, words of ``-o``, exit codes.
Rule 2: the same source gives the same page, so that a test can tell whether the page is up to date.

Knows nothing of the disk and mounts nothing; called by ``scripts/man --options``, and by the tests.
"""

import itertools
import re
import sys
from collections.abc import Iterable, Iterator

import click

from mmirrorfs.cli import mountopts
from mmirrorfs.cli.main import command
from mmirrorfs.cli.manual import EXITS
from mmirrorfs.cli.options import heading_of

HEAD = """\
# Options

<!-- ./scripts/man --options writes this page, from what the program itself says -->

`mmirrorfs --help` has the most common ones, `mmirrorfs --help-all` and mmirrorfs(8) what is here. In a configuration
file and after `-o` each long option goes by its name without the dashes. See [how to mount](usage.md).
"""
MOUNT = """\
## Words of `-o` and of fstab

Every long option goes as `name=value`, or as `name` where it takes no value; `_` and `-` are alike, and a comma in a
value is written `\\,`. A view is mounted `ro,nosuid,nodev`, whatever is asked for. `remount` is refused: unmount, and
mount again; any word that is not here is a mistake.
"""


def page(of: click.Command) -> str:
    """The whole page of a command."""
    context = click.Context(of, info_name=of.name, help_option_names=of.context_settings.get("help_option_names"))
    options = [option for option in of.get_params(context) if isinstance(option, click.Option)]
    parts = [HEAD]
    for heading, members in itertools.groupby(options, heading_of):
        records = [record for option in members if (record := option.get_help_record(context)) is not None]
        parts.append(f"## {heading}\n\n{_table('option', [(_code(names), _plain(text)) for names, text in records])}")
    parts.append(f"{MOUNT}\n{_table('words', _words())}")
    parts.append(f"## Exit status\n\n{_table('status', [(str(code), _plain(text)) for code, text in EXITS])}")
    return "\n".join(parts)


def _words() -> Iterator[tuple[str, str]]:
    """The words of ``-o`` that are no options of the program, by what comes of them."""
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
    """The names of an option, each as code, with what they take."""
    return f"`{names.replace('|', chr(92) + '|')}`"


def _plain(text: str) -> str:
    """A text in a cell, in which options, JSON and names with signs are code."""
    text = re.sub(r"(\{.*?\}|'[^' ]* ?[^']*\$'|(?<![\w-])--?[a-zA-Z][\w-]*)", r"`\1`", text)
    return re.sub(r"(@eaDir|\.DS_Store)", r"`\1`", text).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page(command))
