"""The HTML page of a plan: the plan is embedded as data, whatever is in it, and only the page's own script can run."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.cli.simulate_formats import html
from tests.support.plans import planned

HOSTILE = st.text() | st.sampled_from(
    ["</script>", "<!--<script>", "-->", "]]>", "{{script}}", "{{plan}}", "&lt;", "\\u003c", "\ud800", "\\1", "\\g<0>"]
)


class Elements(HTMLParser):
    """The elements of a page with their text, as a browser parses it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.found and self.cdata_elem == self.found[-1][0]:  # in a script or a style
            tag, attributes, text = self.found[-1]
            self.found[-1] = tag, attributes, text + data

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, text) for name, attributes, text in self.found if name == tag]


def hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@given(st.recursive(HOSTILE, lambda inner: st.lists(inner) | st.dictionaries(HOSTILE, inner)))
def test_plan_is_a_single_data_element_whatever_text_it_contains(plan: object) -> None:
    page = html({"entries": plan})
    assert page.isascii()
    data, script = Elements(page).of("script")
    assert data[0] == {"type": "application/json", "id": "plan"}
    assert json.loads(data[1]) == {"entries": plan}
    assert script[0] == {}
    assert script == Elements(html({})).of("script")[1], "the same for every plan"


def test_policy_allows_only_the_script_and_the_style_of_the_page() -> None:
    elements = Elements(html(planned(["flac", "mp3"], {"Lund/Harbour": {"flac": 1}})))
    (policy,) = [attributes["content"] for attributes, _ in elements.of("meta") if "http-equiv" in attributes]
    rules: dict[str, str] = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == hashed(elements.of("script")[-1][1])
    assert rules["style-src"] == hashed(elements.of("style")[0][1])
    assert set(rules) == {
        *("default-src", "script-src", "style-src", "img-src", "base-uri", "form-action", "require-trusted-types-for")
    }


def test_page_refers_to_nothing_outside_itself() -> None:
    page = html(planned(["flac", "mp3"], {}))
    addresses = set(re.findall(r"https?://[^\s'\"]*", page))
    assert addresses == {"http://www.w3.org/2000/svg"}, "an XML namespace"
    attributes: list[Any] = [value for _, attributes, _ in Elements(page).found for value in attributes.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name in ("style", "src")]
