"""The architecture, checked in the syntax trees: imports point down, without cycles."""

import ast
import functools
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mmirrorfs

PACKAGE = Path(mmirrorfs.__file__).parent
VALUE_LEVELS = {"attributes": 0, "text": 0, "listing": 1, "difference": 2, "tree": 2}
LEVELS = {**VALUE_LEVELS, "merge": 3, "source": 3, "plan": 4, "view": 4, "serve": 5, "mount": 6, "cli": 7}
PURE = {"merge", "plan", "tree", "listing", "difference", "attributes"}
DOING_IO = {"os", "io", "pathlib", "shutil", "time", "datetime", "socket", "threading", "asyncio", "trio", "select"}
FILES = sorted(PACKAGE.rglob("*.py"), key=str)
INNER = [path for path in FILES if path.relative_to(PACKAGE).parts[0] not in ("__init__.py", "__main__.py")]


def layer_of(path: Path) -> str:
    """The package, or the top-level module, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file's syntax tree."""
    return tuple(ast.walk(ast.parse(path.read_text())))


@functools.cache
def imported(path: Path) -> tuple[tuple[str, ...], ...]:
    """All imports of a file, also those in functions, as the parts of dotted names."""
    names = list[str]()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(tuple(name.split(".")) for name in names)


def shown(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


@pytest.mark.parametrize("path", INNER, ids=shown)
def test_imports_between_layers_only_point_down(path: Path) -> None:
    own = layer_of(path)
    assert own in LEVELS, f"{shown(path)} has no level"
    others = {name[1] for name in imported(path) if name[0] == "mmirrorfs" and len(name) > 1 and name[1] != own}
    assert [other for other in others if other in LEVELS and LEVELS[other] >= LEVELS[own]] == []


def test_every_layer_exists_and_upper_ones_import_others() -> None:
    assert {layer_of(path) for path in INNER} == set(LEVELS)
    for layer in ("view", "serve", "mount", "cli"):
        names = {name[:1] for path in INNER if layer_of(path) == layer for name in imported(path)}
        assert ("mmirrorfs",) in names, layer


@pytest.mark.parametrize(
    "path",
    [p for p in INNER if layer_of(p) in ("merge", "plan", "tree", "listing", "difference", "attributes")],
    ids=shown,
)
def test_pure_layers_do_no_io(path: Path) -> None:
    assert {name[0] for name in imported(path)} & DOING_IO == set()
    calls = {n.func.id for n in nodes(path) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert calls & {"open", "print", "input"} == set()


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_only_serve_and_mount_import_pyfuse3(path: Path) -> None:
    if layer_of(path) not in ("serve", "mount"):
        assert "pyfuse3" not in {name[0] for name in imported(path)}


def test_imports_between_modules_have_no_cycle() -> None:
    """Also within a package."""
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in FILES}
    needs = {
        module: {".".join(name[:end]) for name in imported(path) for end in (2, 3)} & (modules.keys() - {module})
        for module, path in modules.items()
    }
    TopologicalSorter(needs).prepare()
