"""What to do next, in the words of the app: a hint that names a verb of the command line names the
key instead, where the app has one for it."""

from __future__ import annotations

import re

from localq.messages import msg, translate

__all__ = ["in_the_app"]

_KEYS = {
    "search": ("2", msg("Hub")),
    "fit": ("2", msg("Hub")),
    "pull": ("2", msg("Hub")),
    "list": ("1", msg("Library")),
    "show": ("1", msg("Library")),
    "chat": ("1 ↵", msg("Chat")),
    "run": ("1 ↵", msg("Chat")),
    "quantize": ("1 q", msg("Quantize")),
    "import": ("1 o", msg("Take in from other programs")),
    "verify": ("1 v", msg("Verify")),
    "rm": ("1 d", msg("Remove")),
    "restore": ("1 u", msg("Bring back what was removed")),
    "alias": ("1 a", msg("Give another name")),
    "tag": ("1 l", msg("Tags")),
    "note": ("1 n", msg("Note")),
    "plan": ("1 f", msg("How it would be loaded")),
    "bench": ("4 m", msg("Measure the speed")),
    "tune": ("4 t", msg("Tune")),
    "hardware": ("4", msg("Machine")),
    "jobs": ("3", msg("Jobs")),
}
"""Of a verb: the screen's key, then the key there, and what it is called."""

# A verb and what belongs to it: its own sub-verbs, and what can only be an argument (an option, a
# name with a mark or a digit in it, a word in capitals), not the sentence that goes on.
_COMMAND = re.compile(
    r"`?\blocalq (?P<verb>[a-z]+)"
    r"(?: (?:resume|clear|cancel|log|demo\b)|"
    r" (?:-[^\s,;，；。)）`]+|(?=[^\s,;，；。)）`]*[/:_\d])[^\s,;，；。)）`]+|[A-Z]{2,}[\w./]*))*`?"
)


def in_the_app(hint: str) -> str:
    """`hint`, a text in the user's language, with keys for the verbs that have one."""
    return _COMMAND.sub(_key, hint)


def _key(found: re.Match[str]) -> str:
    if (known := _KEYS.get(found["verb"])) is None:
        return found[0]
    key, name = known
    return f"{key} ({translate(name)})"
