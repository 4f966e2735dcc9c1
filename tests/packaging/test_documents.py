"""The sessions in README.md, CONTRIBUTING.md and docs/, run: each command must print what the page shows."""

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
def test_sessions_of_a_page_print_what_it_shows(page: Path, place: Path) -> None:
    with session(place, with_user="sudo -u" in page.read_text()) as shell:
        for block in RUN[page]:
            if block.language == "sh":
                status, printed = shell.run(f"(set -e; {block.text}\n)")
                assert status == 0, f"{page.name}:{block.line}: {printed}"
            else:
                for command, shown in block.steps():
                    shell.check(command, shown)


def test_pages_have_sessions() -> None:
    assert {"README.md", "usage.md", "behaviour.md", "choosing.md", "troubleshooting.md"} <= {page.name for page in RUN}


def test_output_that_differs_is_detected() -> None:
    assert is_as_shown(["a 1.2 s", "..."], ["a 3 s", "b", "c"])
    assert is_as_shown(["process 5 for 2 s: ..."], ["process 77 for 1 s: flac"])
    assert not is_as_shown(["a", "c"], ["a", "b"])
    assert not is_as_shown(["wins 2 of 3"], ["wins 1 of 3"])
    assert not is_as_shown([], ["a"])


def test_a_session_is_split_into_commands_and_their_output() -> None:
    block = Block("console", True, "$ a\n> b\nc\n> d\n$ e\n", 1)
    assert block.steps() == [("a\nb", ["c", "> d"]), ("e", [])]
