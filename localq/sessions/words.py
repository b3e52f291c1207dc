"""What of a text goes into the index of words, and what a search asks of it.

SQLite's `unicode61` splits at spaces and punctuation, so of a Chinese sentence it would make one
word. Characters of scripts that have no spaces between words go in one by one; a search for 模型 is
one for 模 followed by 型. Other words are found by their beginning from three letters on.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["indexed", "query", "snippet", "sought_words", "well_formed"]

# Thai, Lao, Tibetan, Burmese, Khmer; kana, bopomofo, ideographs and their later blocks.
_ALONE = re.compile(
    "([\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3031-\u3035"
    "\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff])"
)
_PREFIX = 3
_AROUND = 40


def well_formed(text: str) -> str:
    """`text` as UTF-8 can have it; what cannot be said so (halves of surrogate pairs, from a
    terminal or from JSON) becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def indexed(text: str) -> str:
    """What the index keeps of `text`. An index must be made anew when this changes: what is taken
    out of it has to be what was put in."""
    return _ALONE.sub(r" \1 ", unicodedata.normalize("NFKC", text))


def query(text: str) -> str:
    """What to ask the index for messages that have every word of `text`; "" where it has none."""
    parts = []
    for word in text.split():
        plain = indexed(word).replace('"', " ").replace("\0", " ").strip()
        if any(character.isalnum() for character in plain):
            last = plain.split()[-1]
            prefix = "*" if len(last) >= _PREFIX and not _ALONE.search(last) else ""
            parts.append(f'"{plain}"{prefix}')
    return " ".join(parts)


def sought_words(text: str) -> list[str]:
    """The words of `text` for who looks for them in the messages themselves, without an index."""
    return [word.lower() for word in text.split() if any(map(str.isalnum, word))]


def snippet(text: str, sought: str) -> str:
    """A line of `text` around the first of the sought words that is there."""
    line = " ".join(text.split())
    folded = line.casefold()
    if len(folded) != len(line):  # some letters fold into two
        folded = line
    found = [at for word in sought.casefold().split() if (at := folded.find(word)) >= 0]
    middle = min(found, default=0)
    begin = max(0, middle - _AROUND)
    end = middle + 2 * _AROUND
    return ("…" if begin else "") + line[begin:end].strip() + ("…" if end < len(line) else "")
