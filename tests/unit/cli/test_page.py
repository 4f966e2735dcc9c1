"""The page of a plan as text: what is in the plan is data in it, whatever it says, and nothing else of it can run."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.cli.page import html
from tests.support.plans import planned

HOSTILE = st.text() | st.sampled_from(
    ["</script>", "<!--<script>", "-->", "]]>", "{{script}}", "{{plan}}", "&lt;", "\\u003c", "\ud800", "\\1", "\\g<0>"]
)


class Parts(HTMLParser):
    """Elements with their text, as a browser cuts a page."""

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
def test_a_plan_is_one_element_of_data_whatever_is_in_it(what: object) -> None:
    page = html({"entries": what})
    assert page.isascii()
    data, script = Parts(page).of("script")
    assert data[0] == {"type": "application/json", "id": "plan"}
    assert json.loads(data[1]) == {"entries": what}
    assert script[0] == {}
    assert script == Parts(html({})).of("script")[1], "which is the same for every plan"


def test_policy_lets_the_page_run_its_own_script_and_style_and_load_nothing() -> None:
    parts = Parts(html(planned(["flac", "mp3"], {"Lund/Harbour": {"flac": 1}})))
    (policy,) = [attributes["content"] for attributes, _ in parts.of("meta") if "http-equiv" in attributes]
    rules: dict[str, str] = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == hashed(parts.of("script")[-1][1])
    assert rules["style-src"] == hashed(parts.of("style")[0][1])
    assert set(rules) == {
        *("default-src", "script-src", "style-src", "img-src", "base-uri", "form-action", "require-trusted-types-for")
    }


def test_page_names_nothing_that_is_elsewhere() -> None:
    page = html(planned(["flac", "mp3"], {}))
    addresses = set(re.findall(r"https?://[^\s'\"]*", page))
    assert addresses == {"http://www.w3.org/2000/svg"}, "which is the name of a namespace"
    attributes: list[Any] = [value for _, attributes, _ in Parts(page).found for value in attributes.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name in ("style", "src")]
