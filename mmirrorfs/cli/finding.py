"""What ``--doctor`` has found."""

from dataclasses import dataclass

OK, NOTE, BAD = "ok", "note", "bad"
"""All is well; something could be better; something does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, ``about`` what, and what to do, if anything is."""

    level: str
    about: str
    found: str
    todo: str = ""
