"""The HTML page of a plan in a real browser: content, filters, keyboard use, and the configuration it produces."""

import os
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from selenium.webdriver.common.keys import Keys

from mmirrorfs.cli import simulate_formats as page
from tests.support.accessible import contrasts, nameless
from tests.support.browser import Browser, browsing
from tests.support.limit import limit
from tests.support.plans import Document, near_miss, planned
from tests.support.running import called
from tests.support.trees import folders, grow

SECONDS = 30.0
"""Time limit of the start of the browser, and of a test."""

SCRIPTS = [
    "<script>window.ran = 1</script>",
    "</script><script>window.ran = 2</script>",
    "<!--<script>",
    "<img src=x onerror='window.ran = 3'>",
    "<svg onload=window.ran=4>",
    "javascript:window.ran=5",
    "\"><iframe srcdoc='<script>parent.ran = 6</script>'>",
    "' onmouseover='window.ran = 7",
    "{{script}} ${window.ran = 8} `",
    "&lt;b&gt; &amp;",
    "__proto__",
    "constructor",
]
"""Names that would have an effect if they were not escaped."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    place = tmp_path_factory.mktemp("browser")
    with limit(SECONDS, os.fsencode(place)):
        context = browsing(place)
        browser = context.__enter__()
    try:
        yield browser
    finally:
        with limit(SECONDS, os.fsencode(place)):
            context.__exit__(None, None, None)


@pytest.fixture
def browser(started: Browser) -> Iterator[Browser]:
    """The browser; the test fails if its console has errors or it made a request."""
    started.prefer("light")
    started.complaints()
    with limit(SECONDS, os.fsencode(started.place)):
        yield started
        assert started.complaints() == []


def library(**more: object) -> Document:
    """A plan of two sources, with one of every kind of entry."""
    folders = {
        "Björk/Début": {"flac": 11, "mp3": 11},
        "Björk/Post": {"flac": 11},
        "Mira Lund/Harbour": {"flac": 9, "mp3": 2},
        "Mira Lund/Lighthouse": {"flac": 10},
        "Tin Sparrows/Rooftops": {"mp3": 8},
        "Tin Sparrows/rooftops": {"flac": 12},
    }
    near = [
        near_miss("Tin Sparrows", "rooftops", "Rooftops", "casefold"),
        near_miss("", "Mira Lund", "Lund, Mira"),
        near_miss("", "Air", "Air (FR)"),
    ]
    remarks = [("conflict", "Björk/Post"), ("unreadable", "Mira Lund"), ("link", "Björk/elsewhere")]
    return planned(["flac", "mp3"], folders, near=near, remarks=remarks) | more


def albums(browser: Browser) -> list[str]:
    """The names in the table, in order."""
    return browser.texts(".rows [data-column=leaf] .line > .name, .rows [data-column=whole] .line > .name")


def lines(browser: Browser) -> dict[str, list[dict[str, Any]]]:
    """The lines of the page, parsed as a configuration file."""
    return tomllib.loads(browser.text("#lines"))


def tick(browser: Browser, number: int, label: str) -> None:
    """Choose an answer for a near miss, by its position in the list."""
    (choice,) = [one for one in browser.all(f".miss:nth-child({number}) .choice") if one.text == label]
    choice.click()


# --- The picture ---


def test_the_chart_of_two_sources_is_true_to_scale(browser: Browser) -> None:
    browser.open(library())
    assert browser.texts(".figure strong") == ["3", "2", "1"]
    assert "Of 6 albums in all, 40% of those in flac and 67% of those in mp3" in browser.text("#picture .muted")
    boxes = browser.evaluate(
        "return [...document.querySelectorAll('.bars rect')].map((r) => r.getBoundingClientRect().toJSON())"
    )
    whole, (both, flac, mp3, *_) = browser.one(".bars").size["width"], boxes
    assert [round(6 * box["width"] / whole) for box in (both, flac, mp3)] == [2, 5, 3]
    assert both["x"] == pytest.approx(mp3["x"], abs=1)
    assert both["right"] == pytest.approx(flac["right"], abs=1)


def test_a_click_on_the_chart_filters_the_albums(browser: Browser) -> None:
    browser.open(library())
    browser.click(".figure", "1")
    assert albums(browser) == ["Rooftops"]


def test_the_chart_of_more_sources_shows_each_combination(browser: Browser) -> None:
    names = ["flac", "mp3", "ogg", "phone"]
    folders = {f"A/{i}": {names[rank]: 1 for rank in range(4) if i + 1 & 1 << rank} for i in range(15)}
    browser.open(planned(names, {**folders, "B/1": {"ogg": 3}, "B/2": {"ogg": 3}}))
    assert browser.texts(".legend .muted") == ["8", "8", "10", "8"]
    first, *others = browser.texts(".combination")
    assert first == "Only in ogg: 3"
    assert len(others) == 9
    assert "5 albums more in 5 other combinations." in browser.texts("#picture > .muted")
    browser.click(".combination", "Only in flac, mp3 and phone")
    assert albums(browser) == ["10"]
    assert browser.texts(".chip[aria-pressed=true]") == ["Only in flac, mp3 and phone 1"]


def test_a_partial_plan_says_how_many_albums_it_leaves_out(browser: Browser) -> None:
    browser.open(library(totals={"folders": 20_000, "in both with loose": 9}))
    assert browser.texts("#picture > .muted")[1] == "Only 6 of 20,000 albums are on this page, as --only says."
    browser.open(planned(["flac", "mp3"], {}) | {"totals": {"folders": 3}})
    assert browser.text("#picture") == "Only 0 of 3 albums are on this page, as --only says."


def test_the_chart_says_what_another_match_would_pair(browser: Browser) -> None:
    browser.open(library(totals={"folders": 6, "in both with loose": 3}))
    assert browser.text("#picture > .muted").endswith("With --match loose 3 would be in both.")


# --- Search, filters, order ---


@pytest.mark.parametrize(
    ("chip", "names"),
    [
        ("All", ["Début", "elsewhere", "Post", "Harbour", "Lighthouse", "Rooftops", "rooftops"]),
        ("In both", ["Début", "Harbour"]),
        ("Only flac", ["Post", "Lighthouse", "rooftops"]),
        ("Only mp3", ["Rooftops"]),
        ("Near misses", ["Rooftops", "rooftops"]),
        ("Conflicts", ["Post"]),
        ("Links left out", ["elsewhere"]),
    ],
)
def test_each_filter_shows_its_albums_and_their_number(browser: Browser, chip: str, names: list[str]) -> None:
    browser.open(library())
    (label,) = [text for text in browser.texts(".chip") if text.startswith(chip)]
    assert label == f"{chip} {len(names)}"
    if chip != "All":
        browser.evaluate(
            "[...document.querySelectorAll('.chip')].find((c) => c.textContent === arguments[0]).click()", label
        )
    assert sorted(albums(browser)) == sorted(names)
    assert browser.text("#count") == f"{len(names)} of 7"


def test_filters_and_search_are_combined(browser: Browser) -> None:
    browser.open(library())
    browser.click(".chip", "Near misses")
    browser.type("sparrows roof", into="#search")
    browser.click(".chip", "In both")
    assert albums(browser) == []
    assert browser.one("#none").is_displayed()
    browser.click("#reset")
    assert len(albums(browser)) == 7


@pytest.mark.parametrize("asked", ["debut", "DÉBUT", "bjork deb", "De\u0301but", "  début  "])
def test_search_ignores_case_accents_and_word_order(browser: Browser, asked: str) -> None:
    browser.open(library())
    browser.type(asked, into="#search")
    assert albums(browser) == ["Début"]


def test_columns_sort_both_ways_with_empty_cells_last(browser: Browser) -> None:
    browser.open(library())
    browser.click(".sort", "mp3")
    assert albums(browser)[:3] == ["Début", "Rooftops", "Harbour"]
    browser.click(".sort", "mp3")
    assert albums(browser)[:3] == ["Harbour", "Rooftops", "Début"]
    assert browser.one("[aria-sort]").get_attribute("aria-sort") == "ascending"
    browser.click(".sort", "Album")
    assert albums(browser)[0] == "Début"
    assert albums(browser)[-1] in ("Rooftops", "rooftops")


def test_the_table_of_artists_links_to_their_albums(browser: Browser) -> None:
    browser.open(library())
    browser.click(".tab", "Artists")
    assert albums(browser) == ["Björk", "Mira Lund", "Tin Sparrows"]
    assert browser.texts(".rows .row:first-child .present") == ["2 albums", "1 album"]
    browser.click(".chip", "Unreadable")
    assert albums(browser) == ["Mira Lund"]
    browser.click(".rows .row")
    assert "unreadable it is" in browser.texts("dialog li")
    browser.click("dialog .link", "Show its 2 albums")
    assert albums(browser) == ["Harbour", "Lighthouse"]


def test_albums_are_counted_per_artist_exactly(browser: Browser) -> None:
    browser.open(planned(["flac", "mp3"], {"A/1": {"flac": 1}, "A b/1": {"mp3": 1}, "A b/2": {"flac": 1, "mp3": 1}}))
    browser.click(".tab", "Artists")
    assert albums(browser) == ["A", "A b"]
    assert browser.texts(".rows .present") == ["1 album", "1 album", "2 albums"]
    assert browser.texts(".rows [data-column=both]") == ["0", "1"]


def test_entries_that_need_attention_are_listed_first_and_link_to_their_filters(browser: Browser) -> None:
    browser.open(library())
    assert browser.texts(".attend") == ["3 near misses", "1 conflict", "1 unreadable", "1 link left out"]
    browser.click(".attend", "1 unreadable")
    assert albums(browser) == ["Mira Lund"]
    browser.click(".attend", "1 link left out")
    assert albums(browser) == ["elsewhere"]
    browser.click(".attend", "3 near misses")
    assert len(browser.all(".miss")) == 3


def test_scrolling_twenty_thousand_albums_keeps_few_rows_in_the_page(browser: Browser) -> None:
    folders = {f"Artist {i // 10:04}/Album {i:05}": {"flac": 9, **({"mp3": 9} if i % 2 else {})} for i in range(20_000)}
    near = [near_miss(f"Artist {i:04}", f"Album {i}", f"album {i}") for i in range(2_000)]
    browser.open(planned(["flac", "mp3"], folders, near=near))
    assert albums(browser)[0] == "Album 00000"
    browser.scroll("#grid", 300_000)
    assert 0 < len(browser.all(".rows .row")) < 80
    browser.scroll("#grid", 10**9)
    assert albums(browser)[-1] == "Album 19999"
    assert 0 < len(browser.all(".rows .row")) < 80
    last = browser.all(".rows .row")[-1].rect
    assert last["y"] + last["height"] <= browser.one("#grid").rect["y"] + browser.one("#grid").rect["height"] + 1
    browser.type("1999", into="#search")
    browser.click(".chip", "In both")
    assert browser.text("#count") == "7 of 20,000"
    browser.click(".tab", "Near misses")
    browser.type("", Keys.BACKSPACE, into="#search")
    assert len(browser.all(".miss")) == 50
    browser.click("#more")
    assert len(browser.all(".miss")) == 100


def test_a_list_taller_than_an_element_can_be_scrolls_to_its_end(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page._read
    monkeypatch.setattr(page, "_read", lambda name: text(name).replace("10_000_000", "20_000"))
    browser.open(planned(["flac", "mp3"], {f"{i:05}": {"flac": None} for i in range(3000)}, depth=1))
    assert browser.one(".space").size["height"] == 20_000
    browser.scroll("#grid", 10**9)
    assert albums(browser)[-1] == "02999"
    keys = {Keys.HOME: "00000", Keys.ARROW_DOWN: "00001", Keys.PAGE_DOWN: "", Keys.END: "02999", Keys.ARROW_UP: "02998"}
    for key, name in keys.items():
        browser.one("#grid").send_keys(key, *[key] * (9 if not name else 0))
        browser.scroll("#grid", browser.evaluate("return document.getElementById('grid').scrollTop"))
        (row,) = browser.all(".row.active")
        assert name in row.text
        box = browser.one("#grid").rect
        assert box["y"] < row.rect["y"] <= box["y"] + box["height"] - row.rect["height"]


# --- Near misses and the lines for them ---


def test_choices_become_lines_of_the_configuration_file(browser: Browser) -> None:
    browser.open(library())
    browser.click(".tab", "Near misses")
    assert not browser.one("#copy").is_displayed()
    tick(browser, 1, "The same")
    tick(browser, 2, "Apart")
    assert lines(browser) == {
        "same": [{"names": ["rooftops", "Rooftops"], "in": "Tin Sparrows"}],
        "apart": [{"names": ["Mira Lund", "Lund, Mira"], "in": "/"}],
    }
    assert browser.text("#decided") == "1 the same, 1 apart"
    tick(browser, 1, "Apart")
    tick(browser, 2, "Apart")
    assert lines(browser) == {"apart": [{"names": ["rooftops", "Rooftops"], "in": "Tin Sparrows"}]}
    browser.click("#clear")
    assert lines(browser) == {}
    assert [choice for choice in browser.all(".choice") if choice.get_attribute("aria-pressed") == "true"] == []


@pytest.mark.parametrize(("kind", "label", "other"), [("same", "The same", "Apart"), ("apart", "Apart", "The same")])
def test_pairs_with_a_common_name_are_one_entry_and_contradictions_are_reported(
    browser: Browser, kind: str, label: str, other: str
) -> None:
    near = [near_miss("", "a", "b"), near_miss("", "c", "d"), near_miss("", "b", "c"), near_miss("x", "a", "d")]
    browser.open(planned(["flac", "mp3"], {}, near=[*near, near_miss("", "a", "d")]))
    browser.click(".tab", "Near misses")
    for number in (1, 2, 3):
        tick(browser, number, label)
    assert [set(entry["names"]) for entry in lines(browser)[kind]] == [{"a", "b", "c", "d"}]
    tick(browser, 4, other)
    assert browser.texts("#doubts li") == []
    tick(browser, 5, other)
    assert browser.texts("#doubts li") == ["a and d would be the same and apart: untick one of these."]


NO_CLIPBOARD = "navigator.clipboard.writeText = () => Promise.reject(new DOMException('no', 'NotAllowedError'));"
NO_COMMAND = "document.execCommand = () => false;"


@pytest.mark.parametrize("refused", ["", NO_CLIPBOARD])
def test_lines_are_copied_even_if_clipboard_access_is_refused(browser: Browser, refused: str) -> None:
    browser.open(library(), clipboard="nothing yet")
    browser.click(".tab", "Near misses")
    tick(browser, 3, "The same")
    browser.evaluate(refused)
    browser.click("#copy")
    browser.becomes("#copy", "Copied")
    assert tomllib.loads(browser.clipboard()) == {"same": [{"names": ["Air", "Air (FR)"], "in": "/"}]}


def test_lines_are_selected_for_the_keyboard_if_copying_fails(browser: Browser) -> None:
    browser.open(library(), clipboard="nothing yet")
    browser.click(".tab", "Near misses")
    tick(browser, 3, "The same")
    browser.evaluate(NO_CLIPBOARD + NO_COMMAND)
    browser.click("#copy")
    browser.becomes("#said", "Press Ctrl+C")
    browser.type(Keys.CONTROL + "c")
    assert browser.clipboard().strip() == browser.text("#lines").strip() != ""


def test_the_advice_for_a_group_is_copied_verbatim(browser: Browser) -> None:
    group = {"count": 1459, "text": "suffix ' [MP3]'", "advice": r"--ignore ' \[MP3\]$'"}
    browser.open(library(groups=[group]), clipboard="nothing yet")
    browser.click(".tab", "Near misses")
    assert browser.text("#groups strong") == "1,459"
    browser.click("#groups button")
    browser.becomes("#said", "Copied")
    assert browser.clipboard() == group["advice"]
    browser.becomes("#groups button", "Copy")


def test_choices_survive_a_reload(browser: Browser) -> None:
    browser.open(library())
    browser.click(".tab", "Near misses")
    tick(browser, 1, "The same")
    browser.driver.refresh()
    assert lines(browser) == {"same": [{"names": ["rooftops", "Rooftops"], "in": "Tin Sparrows"}]}


@example(["e\u0301", "\u00e9"])
@given(st.lists(st.text(), min_size=1))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_text_becomes_a_toml_string_of_visible_characters(started: Browser, texts: list[str]) -> None:
    if not started.pages:
        started.open(library())
    strings: list[str] = started.evaluate("return arguments[0].map(toml)", texts)
    assert [tomllib.loads(f"text = {string}")["text"] for string in strings] == texts
    assert [unicodedata.normalize("NFC", string) for string in strings] == strings
    assert {unicodedata.category(char) for char in "".join(strings)} & {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"} == set()


def test_a_name_that_is_not_utf8_is_shown_without_choices(browser: Browser) -> None:
    near = [near_miss(b"caf\xe9", "Post", "post")]
    folders = {b"caf\xe9/Post": {"flac": 1}, b"caf\xe8/Post": {"mp3": 1}, b"caf\xe8/x": {"mp3": 1}}
    browser.open(planned(["flac", "mp3"], folders, near=near))
    assert browser.texts(".rows .tag") == ["near miss"]
    browser.click(".tab", "Artists")
    assert sorted(browser.texts(".rows .present")) == ["1 album", "2 albums"]
    browser.click(".tab", "Near misses")
    assert "Not UTF-8: a configuration file cannot hold this name." in browser.texts(".miss > p")
    assert browser.all(".choice") == []


def test_the_next_command_pairs_what_was_chosen_on_the_page(browser: Browser, tmp_path: Path) -> None:
    one, other = b'Mira "Q" Lund\\e\t', b'Mira "Q" Lunde\\e\t'
    grow(tmp_path / "flac", {one: folders("f", "Harbour", "Quay")})
    grow(tmp_path / "mp3", {other: folders("m", "Harbour", "Quay")})
    start = ("--simulate", "flac", "mp3", "--depth=2")
    done = called(tmp_path, *start, "--format=html")
    assert (done.returncode, done.stderr) == (0, b"")
    browser.open(done.stdout)
    assert browser.texts(".figure strong") == ["2", "0", "2"]
    browser.click(".attend", "1 near miss")
    tick(browser, 1, "The same")
    (tmp_path / "settled.toml").write_text(browser.text("#lines"))
    again = called(tmp_path, *start, "--format=html", "--config=settled.toml")
    assert (again.returncode, again.stderr) == (0, b"")
    browser.open(again.stdout)
    assert browser.texts(".figure strong") == ["0", "2", "0"]
    assert browser.text("#attention") == "Nothing needs a decision."


# --- Names are data ---


def test_names_with_markup_or_scripts_are_shown_as_text(browser: Browser) -> None:
    near = [near_miss(name, name, f"{name}x", "ignore", reason=name, advice=name) for name in SCRIPTS]
    for rank, spelled in enumerate(spelled for miss in near for spelled in miss["names"]):
        spelled["sources"] = [SCRIPTS[rank // 2]]
    groups = [{"count": 1, "text": name, "advice": name} for name in SCRIPTS]
    remarks = [(name, f"Lund/{name}") for name in SCRIPTS]
    document = planned(SCRIPTS, {f"Lund/{name}": {SCRIPTS[0]: 1} for name in SCRIPTS}, near=near, remarks=remarks)
    document |= {"groups": groups, "options": {"depth": 2, "match": SCRIPTS[0], "ignore": SCRIPTS}}
    browser.open(document)
    shown = zip(browser.texts(".rows [data-column=above]"), albums(browser), strict=True)
    assert {f"{above}/{name}" for above, name in shown} == {f"Lund/{name}" for name in SCRIPTS}
    for row in range(3):
        browser.all(".rows .row")[row].click()
        browser.click("dialog .quiet")
    browser.click(".tab", "Near misses")
    assert [name for name in browser.texts(".spelling > .name") if not name.endswith("x")] == SCRIPTS
    for number in range(len(SCRIPTS)):
        tick(browser, number + 1, "The same")
    assert [entry["in"] for entry in lines(browser)["same"]] == SCRIPTS
    assert browser.evaluate("return window.ran ?? null") is None
    assert browser.all("main img, main iframe, main script, main b, main a, dialog script") == []


def test_trusted_types_forbid_the_page_to_parse_text_as_html(browser: Browser) -> None:
    browser.open(library())
    tried = "try { document.body.innerHTML = '<img>'; return 'done' } catch (error) { return error.name }"
    assert browser.evaluate(tried) == "TypeError"
    assert any("TrustedHTML" in str(said) for said in browser.complaints())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("two\nlines\tand a tab", r"two\nlines\tand a tab"),
        ("\x1b[31mred\x7f", r"\u001b[31mred\u007f"),
        (" outer  blanks ", "\u2423outer  blanks\u2423"),
        ("no\u00a0break\u200b", r"no\u00a0break\u200b"),
        ("\U000e0041", r"\U000e0041"),
        ("\u3164", r"\u3164"),
        ("e\u0301 \u05d0\u05d1", "e\u0301 \u05d0\u05d1"),
    ],
)
def test_invisible_characters_of_a_name_are_escaped(browser: Browser, name: str, shown: str) -> None:
    browser.open(planned(["flac", "mp3"], {f"Lund/{name}": {"flac": 1}}))
    assert albums(browser) == [shown]


# --- For everybody ---


def test_table_and_tabs_can_be_used_by_keyboard_alone(browser: Browser) -> None:
    browser.open(library())
    browser.evaluate("document.body.focus()")
    browser.type("/")
    browser.type("o")
    assert browser.evaluate("return document.activeElement.id") == "search"
    browser.type("lund", into="#search")
    while browser.evaluate("return document.activeElement.id") != "grid":
        browser.type(Keys.TAB)
    browser.type(Keys.ARROW_DOWN)
    active = browser.evaluate(
        "return document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).textContent"
    )
    assert "Lighthouse" in active
    browser.type(Keys.ENTER)
    assert browser.text("dialog h2") == "Mira Lund / Lighthouse"
    browser.type(Keys.ESCAPE)
    assert browser.evaluate("return document.activeElement.id") == "grid"
    browser.evaluate("document.querySelector('.tab').focus()")
    browser.type(Keys.ARROW_RIGHT)
    browser.type(Keys.ARROW_RIGHT)
    assert browser.evaluate("return document.activeElement.id") == "tab-near"
    assert browser.one("#near").is_displayed()


def test_every_control_has_an_accessible_name(browser: Browser) -> None:
    browser.open(library())
    assert nameless(browser) == []
    browser.click(".rows .row")
    assert nameless(browser) == []
    browser.click("dialog .quiet")
    browser.click(".tab", "Near misses")
    tick(browser, 1, "Apart")
    assert nameless(browser) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["Albums", "Artists", "Near misses"])
def test_all_text_has_sufficient_contrast_in_both_themes(browser: Browser, theme: str, tab: str) -> None:
    browser.prefer(theme)
    browser.open(library(groups=[{"count": 3, "text": "case", "advice": "--match casefold"}]))
    browser.click(".tab", tab)
    if tab == "Near misses":
        tick(browser, 1, "The same")
    found = contrasts(browser)
    assert len(found) > 40
    assert [what for what in found if what[0] < 4.5] == []


def test_the_theme_follows_the_system_until_one_is_chosen(browser: Browser) -> None:
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    browser.open(library())
    light = browser.evaluate(ground)
    browser.prefer("dark")
    dark = browser.evaluate(ground)
    assert light != dark
    browser.driver.refresh()
    browser.click("#theme", "Light")
    assert browser.evaluate(ground) == light
    browser.driver.refresh()
    assert browser.evaluate(ground) == light
    browser.click("#theme", "Dark")
    assert browser.evaluate(ground) == dark


@pytest.mark.parametrize("tab", ["Albums", "Artists", "Near misses"])
def test_a_phone_needs_no_horizontal_scrolling(browser: Browser, tab: str) -> None:
    long = "W" * 255
    near = [near_miss(long, long, long + "x", reason=long)]
    browser.open(planned(["flac", "mp3"], {f"{long}/{long}": {"flac": 1}}, near=near), 390, 844)
    browser.click(".tab", tab)
    assert browser.evaluate("return document.documentElement.scrollWidth") <= 390
    assert browser.evaluate("return document.getElementById('grid').scrollWidth") <= 390
    edges = """return [...document.querySelectorAll(':not(.chip > .source) > .name')]
        .map((name) => name.getBoundingClientRect().right)"""
    assert max(browser.evaluate(edges)) <= 390


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("count", [2, 3, 12])
def test_long_source_names_are_truncated_and_keep_the_layout(browser: Browser, width: int, count: int) -> None:
    names = [f"{rank} {'W' * 200}" for rank in range(count)]
    browser.open(planned(names, {"A/1": dict.fromkeys(names, 3), "A/2": {names[0]: 1}}), width, 844)
    assert browser.evaluate("return document.documentElement.scrollWidth") <= width
    assert browser.evaluate("return document.getElementById('grid').scrollWidth") <= width
    cramped = (
        "return [...document.querySelectorAll('button')].filter((one) => one.scrollWidth > one.clientWidth + 1).length"
    )
    assert browser.evaluate(cramped) == 0


# --- Plans of other shapes ---


def test_an_empty_plan_is_a_page_that_says_so(browser: Browser) -> None:
    browser.open(planned(["flac", "mp3"], {}))
    assert browser.text("#picture") == "No source has albums at this depth."
    assert browser.text("#attention") == "Nothing needs a decision."
    assert browser.text("#count") == "0 of 0"


def test_at_other_depths_folders_are_not_called_albums(browser: Browser) -> None:
    browser.open(planned(["flac", "mp3"], {"Harbour": {"flac": 1}, "Quay": {"flac": 1, "mp3": 1}}, depth=1))
    assert browser.texts(".tab") == ["Folders 2", "Near misses 0"]
    assert albums(browser) == ["Harbour", "Quay"]
    browser.open(planned(["flac", "mp3"], {"Jazz/Lund/Harbour": {"flac": 1, "mp3": 2}}, depth=3))
    assert browser.texts(".rows .row:first-child [data-column=above]") == ["Jazz/Lund"]
    browser.click(".tab", "Above the depth")
    assert albums(browser) == ["Jazz", "Jazz/Lund"]
