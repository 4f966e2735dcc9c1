"""Completion in the shell: ``_MMIRRORFS_COMPLETE=bash_source mmirrorfs`` (zsh_source, fish_source) prints the script.

The scripts are click's; with Tab they run the program again and ask it what may stand there. Looks at no path: the
shell itself lists directories, for one that we looked at could be a mount that hangs.
"""

import os
from collections.abc import Callable

import click
from click.shell_completion import CompletionItem, shell_complete

VARIABLE = "_MMIRRORFS_COMPLETE"

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def directories(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell list directories."""
    return [CompletionItem(incomplete, type="dir")]


def files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell list files and directories."""
    return [CompletionItem(incomplete, type="file")]


def one_of(*words: str) -> Completer:
    """Offer these words."""

    def offered(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]

    return offered


def is_asked() -> bool:
    """Whether a shell is asking, and not a person."""
    return bool(os.environ.get(VARIABLE))


def answer(command: click.Command) -> int:
    """Print what the shell asked for; returns the exit code, 1 where it asked for something unknown."""
    return shell_complete(command, {}, "mmirrorfs", VARIABLE, os.environ[VARIABLE])
