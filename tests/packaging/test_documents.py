"""What README.md, CONTRIBUTING.md and docs/ show as sessions, run as a reader would: each prints what it shows."""

from pathlib import Path

import pytest

from tests.support.documents import LONGEST, PAGES, Block, blocks, is_as_shown, session
from tests.support.users import needs_root

RUN = {
    page: found
    for page in PAGES
    if (found := [one for one in blocks(page) if one.is_run and one.language in ("console", "sh")])
}


@pytest.mark.mount(seconds=LONGEST)
@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_a_session_prints_what_a_page_shows(page: Path, place: Path) -> None:
    with session(place, with_user="sudo -u" in page.read_text()) as shell:
        for block in RUN[page]:
            if block.language == "sh":
                status, printed = shell.run(f"(set -e; {block.text}\n)")
                assert status == 0, f"{page.name}:{block.line}: {printed}"
            else:
                for command, shown in block.steps():
                    shell.check(command, shown)


def test_documents_show_sessions() -> None:
    assert {"README.md", "usage.md", "behaviour.md", "choosing.md", "troubleshooting.md"} <= {page.name for page in RUN}


def test_a_session_that_prints_something_else_is_found() -> None:
    assert is_as_shown(["a 1.2 s", "..."], ["a 3 s", "b", "c"])
    assert is_as_shown(["process 5 for 2 s: ..."], ["process 77 for 1 s: flac"])
    assert not is_as_shown(["a", "c"], ["a", "b"])
    assert not is_as_shown(["wins 2 of 3"], ["wins 1 of 3"])
    assert not is_as_shown([], ["a"])


def test_commands_and_what_they_print_are_told_apart() -> None:
    block = Block("console", True, "$ a\n> b\nc\n> d\n$ e\n", 1)
    assert block.steps() == [("a\nb", ["c", "> d"]), ("e", [])]
