"""The remarks of a plan: unreadable directories, links, conflicts, collisions and incomplete winners. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from mmirrorfs.merge.index import Pairing, exact
from mmirrorfs.merge.names import collisions
from mmirrorfs.merge.settled import Matching, Matchings
from mmirrorfs.plan.rows import Remark, Row, is_directory
from mmirrorfs.tree import Directory, Entry, Trees, join

EXACT = Matchings([bytes])


def remarks(trees: Trees, names: Sequence[str], pairing: Pairing = exact, matchings: Matchings = EXACT) -> list[Remark]:
    """The remarks on some sources, sorted by path; ``names`` are the sources', ``matchings`` those of the pairing."""
    found: list[Remark] = []
    queue: list[tuple[bytes, Trees]] = [(b"", trees)]
    for path, inputs in queue:
        found += _in_directory(path, inputs, names)
        found += _collisions(path, inputs, names, matchings.at(path))
        for name, entries, _ in pairing(inputs, path):
            if len({is_directory(entry) for entry in entries if entry is not None}) == 2:
                found.append(Remark("conflict", join(path, name), _conflict(entries, names)))
            directories = tuple(entry if isinstance(entry, Directory) else None for entry in entries)
            if any(directories):
                queue.append((join(path, name), directories))
    return sorted(found, key=lambda remark: (remark.path, remark.about))


def _in_directory(path: bytes, inputs: Trees, names: Sequence[str]) -> Iterator[Remark]:
    for rank, directory in enumerate(inputs):
        if directory is not None and directory.errno:
            yield Remark("unreadable", path, f"cannot be listed in {names[rank]}")
        for name in directory.links if directory is not None else ():
            yield Remark("link", join(path, name), f"symbolic link in {names[rank]}, left out")


def _collisions(path: bytes, inputs: Trees, names: Sequence[str], matching: Matching) -> Iterator[Remark]:
    for rank, first, other in collisions(inputs, matching):
        text = f"falls together with {first.decode(errors='replace')!r} in {names[rank]}: both are shown"
        yield Remark("collision", join(path, other), text)


def _conflict(entries: Sequence[Entry | None], names: Sequence[str]) -> str:
    have = [(is_directory(entry), names[rank]) for rank, entry in enumerate(entries) if entry is not None]
    folders = ", ".join(name for has_directory, name in have if has_directory)
    others = ", ".join(name for has_directory, name in have if not has_directory)
    return f"a directory in {folders}, a file in {others}: the directory is shown"


def incomplete(rows: Iterable[Row], names: Sequence[str]) -> Iterator[Remark]:
    """Folders that win with no file, or with less than half as many as another source's."""
    for row in rows:
        if row.high is None or row.low is None or not row.files:
            continue
        most, best = max((count, -rank) for rank, count in enumerate(row.files) if count is not None)
        for winner, view in ((row.high, "high"), (row.low, "low")):
            files = row.files[winner]
            if files is not None and 2 * files < most:
                about = "incomplete" if files else "empty"
                has = f"{files} file{'s' if files > 1 else ''}" if files else "no file"
                wins = f"{names[winner]}, which wins in the {view} view, has {has}"
                yield Remark(about, row.path, f"{wins} against {most} in {names[-best]}")
