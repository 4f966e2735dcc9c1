"""The architecture, held by the syntax trees: imports point down, and never in a circle."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mmirrorfs

PACKAGE = Path(mmirrorfs.__file__).parent
VALUES = {"attributes": 0, "text": 0, "listing": 1, "difference": 2, "tree": 2}
LEVELS = {**VALUES, "merge": 3, "source": 3, "plan": 4, "view": 4, "serve": 5, "mount": 6, "cli": 7}
OF_THE_WORLD = {"os", "io", "pathlib", "shutil", "time", "datetime", "socket", "threading", "asyncio", "trio", "select"}
FILES = sorted(PACKAGE.rglob("*.py"), key=str)
INNER = [path for path in FILES if path.relative_to(PACKAGE).parts[0] not in ("__init__.py", "__main__.py")]


def room(path: Path) -> str:
    """The package, or the module at the top, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """All that a file imports, wherever in it, as the parts of dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (tuple(f"{node.module}.{alias.name}".split(".")) for alias in node.names)


def shown(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


@pytest.mark.parametrize("path", INNER, ids=shown)
def test_imports_between_the_layers_only_point_down(path: Path) -> None:
    own = room(path)
    assert own in LEVELS, f"{shown(path)} has no level"
    others = {name[1] for name in imported(path) if name[0] == "mmirrorfs" and len(name) > 1 and name[1] != own}
    assert [other for other in others if other in LEVELS and LEVELS[other] >= LEVELS[own]] == []


def test_every_layer_is_there_and_imports_something() -> None:
    assert {room(path) for path in INNER} == set(LEVELS)
    for layer in ("view", "serve", "mount", "cli"):
        names = {name[:1] for path in INNER if room(path) == layer for name in imported(path)}
        assert ("mmirrorfs",) in names, layer


@pytest.mark.parametrize(
    "path", [p for p in INNER if room(p) in ("merge", "plan", "tree", "listing", "difference", "attributes")], ids=shown
)
def test_the_merge_and_the_values_do_no_input_or_output(path: Path) -> None:
    assert {name[0] for name in imported(path)} & OF_THE_WORLD == set()
    calls = {
        n.func.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call) and hasattr(n.func, "id")
    }
    assert calls & {"open", "print", "input"} == set()


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_fuse_is_known_to_the_serve_and_mount_layers_only(path: Path) -> None:
    if room(path) not in ("serve", "mount"):
        assert "pyfuse3" not in {name[0] for name in imported(path)}


def test_no_module_needs_one_that_needs_it() -> None:
    """Within a package too."""
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in FILES}
    needs = {
        module: {".".join(name[:end]) for name in imported(path) for end in (2, 3)} & (modules.keys() - {module})
        for module, path in modules.items()
    }
    TopologicalSorter(needs).prepare()
