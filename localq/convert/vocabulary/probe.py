"""Texts that tell pre-tokenizers apart."""

from __future__ import annotations

from functools import cache

__all__ = ["CHECK_TEXT", "probe_texts"]

CHECK_TEXT = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶\u200d🌫\ufe0f (multiple "
    "emojis concatenated) ✅ 🦙🦙 3 33 333 3333 33333 333333 3333333"
    " 33333333 3.3 3..3 3...3 កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天"
    "～ ------======= нещо на Български ''''''```````\"\"\"\"......!!!"
    "!!!?????? I've been 'told he's there, 'RE you sure? 'M not s"
    "ure I'll make it, 'D you like some tea? We'Ve a'lL"
)
"""The fixed text of llama.cpp `conversion/base.py`, by whose ids it knows published tokenizers."""

_ATOMS = (
    *("'s", "'S", "'t", "'re", "'VE", "'ll", "'M", "'d", "'x", "'", "don't", "WE'LL", "’s"),
    *("a", "B", "ab", "Ab", "aB", "ABc", "XMLHttp", "é", "É", "ß", "ǅ", "ʰ", "ª", "Ω", "ж", "Ж"),
    *("\u0301", "\u0e31", "\u093e", "\u20e3", "ก", "क", "א", "ا", "ა", "က", "ក"),
    *("中", "文", "あ", "ア", "\uff71", "한", "\u3131", "\u3105", "\u3400", "\u3005", "\u9fa6"),
    *("1", "23", "456", "7890", "12345", "1234567", "٣", "١٢٣٤", "½", "Ⅷ", "²", "１２", "一"),
    *(
        " ",
        " ",
        " ",
        "  ",
        "   ",
        "     ",
        " " * 19,
        "\n",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        "\t",
        "\t\t",
    ),
    *("\u00a0", "\u3000", "\u2003", "\x0b", "\u2028", " \n", "\n ", " \n \n  "),
    *(
        "!",
        "...",
        "?!",
        "/",
        "//",
        "!/\n",
        "_",
        "__",
        "-",
        "--",
        "—",
        "&",
        "#",
        "@",
        "%",
        "*",
        ";",
        ":",
    ),
    *("(", ")", "[", "]", "{", "}", "<", ">", '"', "“", "”", "‘", "«", "»", "…", "|", "\\", "^"),
    *("，", "。", "「", "」", "、", "！", "،", "।", "۔", "\ufe30", "※"),
    *("$", "+", "<=>", "`", "~", "=", "€", "©", "∞", "😀", "\u200d", "\ufe0f", "\u00ad", "\ue000"),
    *("<sentinel:1>", "IMGIMGABZ"),
)
_TEXTS = 160
_ATOMS_IN_A_TEXT = 24


@cache
def probe_texts() -> tuple[str, ...]:
    """The check text, and atoms side by side in every kind of company: always the same texts."""
    texts = [CHECK_TEXT, " " * 600 + "x", "\n" * 9 + " " * 300, "".join(_ATOMS)]
    state = 1
    for _ in range(_TEXTS):
        atoms = []
        for _ in range(_ATOMS_IN_A_TEXT):
            state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
            atoms.append(_ATOMS[(state >> 33) % len(_ATOMS)])
        texts.append("".join(atoms))
    return tuple(texts)
