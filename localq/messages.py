"""Texts for people: English where they are made, another language only where they are shown.

A `Message` is its English text, so JSON, logs, records and tests never depend on the language. It
remembers what it was made of, so whoever prints it (`translate`) can say it in the user's words:

    raise NotFoundError(msg("no model {name!r} in the library", name=name))

The catalogues lie in `localq/locale`, with the English text as a message's id (GNU gettext). A new
text needs its translation there: `python -m packaging.translations` lists what is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gettext import NullTranslations

__all__ = ["DOMAIN", "LOCALES", "Message", "language", "listed", "msg", "translate"]

LOCALES = os.path.join(os.path.dirname(__file__), "locale")  # noqa: PTH118, PTH120 (start-up)
DOMAIN = "localq"
_SIMPLIFIED = ("zh", "zh_cn", "zh_sg", "zh_my", "zh_hans")


class Message(str):
    """An English text, and the template and values, or the parts, it was made of."""

    template: str
    values: Mapping[str, object]
    parts: tuple[str, ...]

    @classmethod
    def of(cls, template: str, values: Mapping[str, object]) -> Message:
        self = cls(template.format_map(values) if values else template)
        self.template, self.values, self.parts = template, values, ()
        return self

    @classmethod
    def joined(cls, *parts: str) -> Message:
        """Texts one after another, each of which is translated on its own."""
        self = cls("".join(parts))
        self.template, self.values, self.parts = "", {}, parts
        return self

    def __add__(self, other: str) -> Message:
        return Message.joined(self, other)

    def __radd__(self, other: str) -> Message:
        return Message.joined(other, self)


def msg(template: str, /, **values: object) -> Message:
    """A text for people. `template` has a `{name}` for each of the values, as `str.format` takes
    them; without values it is taken as it stands."""
    return Message.of(template, values)


def listed(parts: Iterable[str], separator: str = ", ") -> Message:
    """As `separator.join(parts)`, where some of the parts may be messages."""
    pieces: list[str] = []
    for part in parts:
        pieces += [separator, part] if pieces else [part]
    return Message.joined(*pieces)


def translate(text: str) -> str:
    """A message in the user's language, with the messages inside it. What is no message (names,
    paths, a model's words) stays as it is, and so does what the catalogue lacks."""
    catalogue = _catalogue(language())
    return str(text) if catalogue is None else _translated(text, catalogue)


def language() -> str:
    """The code of the language to show: "en" or "zh_CN".

    LOCALQ_LANG decides, else the locale, as for other programs: LANGUAGE, LC_ALL, LC_MESSAGES,
    LANG, and on Windows the language of its windows.
    """
    return _supported(os.environ.get("LOCALQ_LANG") or _of_the_system())


def _of_the_system() -> str:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if locale := os.environ.get(variable):
            # The C locale turns translation off; else LANGUAGE, a list, goes first.
            plain = locale.partition(".")[0] in ("C", "POSIX")
            preferred = os.environ.get("LANGUAGE", "").partition(":")[0]
            return locale if plain or not preferred else preferred
    return _of_windows() if sys.platform == "win32" else ""


@cache
def _of_windows() -> str:
    import ctypes
    import locale

    windll = getattr(ctypes, "windll")  # noqa: B009 (no such name on other systems)
    return locale.windows_locale.get(windll.kernel32.GetUserDefaultUILanguage(), "")


@cache
def _supported(locale: str) -> str:
    name = locale.partition(".")[0].partition("@")[0].replace("-", "_").lower()
    return "zh_CN" if name in _SIMPLIFIED or name.startswith("zh_hans_") else "en"


@cache
def _catalogue(code: str) -> NullTranslations | None:
    if code == "en":
        return None
    import gettext

    return gettext.translation(DOMAIN, LOCALES, [code], fallback=True)


def _translated(text: str, catalogue: NullTranslations) -> str:
    if not isinstance(text, Message):
        return str(text)
    if text.parts:
        return "".join(_translated(part, catalogue) for part in text.parts)
    template = catalogue.gettext(text.template) if text.template else ""
    if not text.values:
        return template
    values = {
        name: _translated(value, catalogue) if isinstance(value, Message) else value
        for name, value in text.values.items()
    }
    return template.format_map(values)
