"""``--format html``: the plan as one page for a browser, which needs nothing else and asks nobody for anything.

What is in the document is data: it is embedded as JSON that cannot end its element, and the policy of the page lets no
script and no style run but its own, by their hashes.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files

_SCRIPTS = ("names", "plan", "picture", "columns", "grid", "near", "details", "page")


def html(document: Mapping[str, object]) -> str:
    """The page of a plan, in ASCII; ``document`` is what ``--format json`` prints."""
    style, script = _read("page.css"), "".join(_read(f"{name}.js") for name in _SCRIPTS)
    parts = {
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "plan": json.dumps(document, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))


def _read(name: str) -> str:
    return (files("mmirrorfs.cli") / "html" / name).read_text("ascii")


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
