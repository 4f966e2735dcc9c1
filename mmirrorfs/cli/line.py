"""The command that mounts a view, whole: without the directory, the other views, and the file that it was given with.

Where pairs are settled by hand that file has them, and is named; what it says besides is said again.
"""

import os
import re
import shutil
import sys

from mmirrorfs.cli.helper import NAME
from mmirrorfs.cli.places import ViewSettings, named
from mmirrorfs.cli.settings import SETTLED, Settings, told, usual


def line(settings: Settings, view: ViewSettings) -> list[str]:
    """Its words, the program first. Options that are as they would be anyhow are left out."""
    paths = [os.fsdecode(os.path.abspath(source.path)) for source in settings.sources]
    names = [source.name for source in settings.sources]
    if [source.name for source in named(paths)] != names and all(re.fullmatch(r"[\w.-]+", name) for name in names):
        paths = [f"{name}={path}" for name, path in zip(names, paths, strict=True)]
    words = [*_program(), *paths, os.fsdecode(view.mountpoint)]
    if settings.rules_in is not None:
        words.append(f"--config={os.fsdecode(settings.rules_in)}")
    for name, value in told(settings, view).items():
        if name not in SETTLED and (value != usual()[name] or settings.rules_in is not None):
            words += _option(name, value)
    words += ["--nonempty"] if settings.cover else []
    words += [f"--log={os.fsdecode(settings.log)}"] if settings.log is not None else []
    return [*words, *(["-" + "v" * settings.verbose] if settings.verbose else [])]


def _program() -> list[str]:
    return [NAME] if shutil.which(NAME) else [sys.executable, "-m", NAME]


def _option(name: str, value: object) -> list[str]:
    if name == "o" and isinstance(value, list):
        return ["-o", ",".join(value)] if value else []
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    if isinstance(value, list):
        return [f"--{name}={one}" for one in value]
    return [f"--{name}={value:g}" if isinstance(value, float) else f"--{name}={'' if value is None else value}"]
