"""Writes the tables in README.md and docs/performance.md (--docs), each between two markers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.crew import BenchmarkError
from benchmark.figures import BY_NAME, Row, markdown, processor, speed, spread
from benchmark.peers import BARE, NAMES, OURS, TUNED_PEER
from benchmark.words import times, words

SHORT, LONG = "README.md", "docs/performance.md"
BEGIN, END = "<!-- scripts/bench --docs writes from here -->\n", "<!-- to here -->\n"


def check(directory: str) -> None:
    """Raises BenchmarkError if ``directory`` lacks the files, or these lack the markers."""
    for name in (SHORT, LONG):
        path = Path(directory, name)
        try:
            _parts(path.read_text())
            open(path, "a").close()
        except OSError as error:
            raise BenchmarkError(f"--docs: {path}: {error.strerror}") from None
        except ValueError:
            raise BenchmarkError(
                f"--docs: {path}: needs one line {BEGIN.strip()}, and {END.strip()} after it"
            ) from None


def write(directory: str, header: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Replace the tables."""
    for name, text in ((SHORT, short(header, rows)), (LONG, long(header, rows))):
        path = Path(directory, name)
        before, after = _parts(path.read_text())
        path.write_text(f"{before}\n{text}\n\n{after}")


def _parts(text: str) -> tuple[str, str]:
    """The text before and after the tables, markers included. Raises ValueError."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN, END + after


def short(header: Mapping[str, str], rows: Sequence[Row]) -> str:
    """The runs that users know, against tuned mergerfs and the plain folders, as factors faster or slower."""
    known = [row for row in rows if row.state in BY_NAME[row.run].known and row.ratios is not None]
    measured = {(row.peer, row.condition) for row in known}
    heads = [(peer, condition) for peer in _COLUMNS for condition in _conditions(rows) if (peer, condition) in measured]
    lines = [("", *(f"{_COLUMNS[peer]}, wake-ups {condition}" for peer, condition in heads))]
    for title in dict.fromkeys(row.title for row in known):
        found = {(row.peer, row.condition): row for row in known if row.title == title}
        lines.append((title, *(times(found[head]) if head in found else "" for head in heads)))
    return f"{markdown(lines)}\n\n{header['time'].partition(' ')[0]}: {header['machine']}, {header['kernel']}."


def long(header: Mapping[str, str], rows: Sequence[Row]) -> str:
    """All results, by condition, and their summary in words."""
    parts = [markdown([("with", ""), *header.items()]).replace("---:", "---")]
    for condition in _conditions(rows):
        parts.append(f"### Wake-ups {condition}\n\n{_long([row for row in rows if row.condition == condition])}")
    parts.append("### In words")
    for title, lines in words(rows):
        parts.append("\n".join((f"**{title}**\n", *(f"- {line}" for line in lines))))
    return "\n\n".join(parts)


def _long(rows: Sequence[Row]) -> str:
    """Our own figures and the ratio to each peer, one line per run."""
    peers = sorted({row.peer for row in rows} - {OURS}, key=NAMES.index)
    lines = [("run", OURS, "its CPU", *peers)]
    for title in dict.fromkeys(row.title for row in rows):
        found = {row.peer: row for row in rows if row.title == title}
        own = (speed(found[OURS]), processor(found[OURS])) if OURS in found else ("", "")
        ratios = [found.get(peer) for peer in peers]
        lines.append((title, *own, *map(_ratio, ratios)))
    return markdown(lines)


def _ratio(row: Row | None) -> str:
    return f"{row.ratios[0]:.2f} {spread(row)}".rstrip() if row is not None and row.ratios else ""


def _conditions(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.condition for row in rows))


_COLUMNS = {TUNED_PEER: "mergerfs, tuned", BARE: "plain folders"}
