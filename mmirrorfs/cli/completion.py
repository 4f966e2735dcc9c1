"""Shell completion: ``_MMIRRORFS_COMPLETE=bash_source mmirrorfs`` (or zsh_source, fish_source) prints the script.

The scripts are click's; on Tab they run the program again to list the candidates. No path is touched here: the shell
lists directories itself, and one that we listed could be a mount that hangs.
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

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]

    return complete


def is_requested() -> bool:
    """Whether a shell runs the program for completion."""
    return bool(os.environ.get(VARIABLE))


def respond(command: click.Command) -> int:
    """Print the script or the candidates for the shell; returns the exit code, 1 for an unknown instruction."""
    return shell_complete(command, {}, "mmirrorfs", VARIABLE, os.environ[VARIABLE])
