"""Letters without what is a matter of spelling: compatibility forms, diacritics, typographic punctuation.

What is a letter of its own stays: й, dakuten, the vowel signs of Indic scripts. Pure: text in, text out.
"""

import re
import unicodedata

_COMBINING = "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f"
_MARKS = re.compile(
    rf"(?<![\u0400-\u052f])[{_COMBINING}]+"  # but for Cyrillic, where a breve makes another letter
    r"|(?<![\u0433\u043a])[\u0300\u0301]|(?<=\u0435)\u0308"  # Cyrillic stress, but not in ѓ and ќ; io as ie
    r"|[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"  # Hebrew points
    r"|[\u0610-\u061a\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0640]"  # Arabic
    r"|(?<=\u0627)[\u0653-\u0655]"  # hamza and madda of alef
    r"|[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u061c]"  # what has no width
)
_SIGNS = str.maketrans(dict.fromkeys("\u2122\u2120\xae\xa9", ""))
"""Of trademarks and copyright; the compatibility form of the first is the letters tm."""
_LETTERS = str.maketrans(
    {
        **{"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ŧ": "t", "\u0131": "i"},
        **{"\u0671": "\u0627", "\u06cc": "\u064a", "\u06a9": "\u0643"},  # alef wasla; Persian ye and kaf
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2035\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\xb4", "'"),
        **dict.fromkeys(
            "\u201c\u201d\u201e\u201f\u2033\u2036\xab\xbb\u2039\u203a\u300c\u300d\u300e\u300f\u300a\u300b", '"'
        ),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2e3a\u2e3b\u301c\u3030", "-"),
        **dict.fromkeys("\u2044\u2215\u29f8\u2571", "/"),
        **dict.fromkeys("\u2223\u01c0\xa6\u2502", "|"),
        **dict.fromkeys("\u2217\u204e\u2731", "*"),
        **dict.fromkeys("\u2236\ua789\u02d0", ":"),
        **dict.fromkeys("\u3010\u3014\u3016", "["),
        **dict.fromkeys("\u3011\u3015\u3017", "]"),
        "\u266f": "#",
    }
)
_PUNCTUATION = frozenset(("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sk", "Zs", "Zl", "Zp", "Cc", "Cf", "Co"))
"""Categories of Unicode; Co is where SMB and macOS put what a filesystem does not allow."""


def plain(text: str) -> str:
    """A casefolded text in these letters, with every other punctuation of Unicode as a full stop."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS)).casefold()
    text = _MARKS.sub("", unicodedata.normalize("NFD", text))
    text = unicodedata.normalize("NFC", text).translate(_LETTERS)
    if text.isascii():
        return text
    return "".join("." if not char.isascii() and unicodedata.category(char)[0] in "PCZ" else char for char in text)
