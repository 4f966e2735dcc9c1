"""What is running: the versions that a bug report needs."""

import ctypes
import ctypes.util
import platform
from importlib.metadata import PackageNotFoundError, version

from mmirrorfs import __version__

REINSTALL = (
    "install fuse3 and libfuse3-dev, then pip install --force-reinstall --no-cache-dir --no-binary pyfuse3 pyfuse3"
)
"""What to do where pyfuse3 and libfuse do not fit."""


def versions() -> str:
    """One line each for mmirrorfs, pyfuse3, libfuse, trio and Python."""
    lines = [("mmirrorfs", __version__), ("pyfuse3", _package("pyfuse3")), ("libfuse", _libfuse())]
    lines += [("trio", _package("trio")), ("Python", platform.python_version())]
    return "\n".join(f"{name} {number}" for name, number in lines)


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _libfuse() -> str:
    for library in ("libfuse3.so.3", "libfuse3.so.4", ctypes.util.find_library("fuse3")):
        try:
            call = ctypes.CDLL(library).fuse_pkgversion
        except (OSError, AttributeError, TypeError):
            continue
        call.restype = ctypes.c_char_p
        return str(call().decode())
    return "not found"
