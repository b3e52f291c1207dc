"""Texts on which tokenizers go wrong."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from unicodedata import normalize

__all__ = ["make_texts"]

_SLICES = {
    "wiki": ("wiki.test.raw", 0, 120_000),
    "wikitext-2": ("wikitext-2.test.txt", 200_000, 260_000),
    "shakespeare": ("tinyshakespeare.txt", 0, 60_000),
}
_SOURCES = Path(__file__).parent.parent / "localq"

_TEXTS: Mapping[str, str] = {
    "code": 'def f(x):\n\tif x:\n\t\treturn {"a": [1, 2, 3]}\n\n\n\n    else:\r\n        pass\r\n'
    "// C++ x->y != z && a::b<c>; /* */ #include <stdio.h>\n$HOME/${x%%.*} `ls -la|wc` @dec\n"
    "https://www.example.com/path?q=1&r=2#frag user@example.org C:\\Windows\\x.exe",
    "chinese": "人工智能是计算机科学的一个分支，它企图了解智能的实质。我想在apple工作1314151天～"
    "《红楼梦》“引号”、；：（括号）￥１２３ 龘靐齉",
    "japanese": "吾輩は猫である。名前はまだ無い。カタカナと漢字ｶﾅ、ひらがな。〜ー「」",
    "korean": "대한민국은 민주공화국이다. 한국어 텍스트 처리 ㅋㅋㅋ 가나다",
    "arabic": "السلام عليكم ورحمة الله وبركاته، كيف حالك اليوم؟ ١٢٣٤٥ لا إله",
    "hebrew": "שלום עולם וְהָיָה",
    "thai-khmer": "สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง ១២៣ កាន់តែពិសេសអាច",
    "indic": "नमस्ते दुनिया क्षेत्र १२३ বাংলা ভাষা தமிழ் മലയാളം ಕನ್ನಡ",
    "cyrillic-greek": "Съешь ещё этих мягких французских булок. Ξεσκεπάζω την ψυχοφθόρα",
    "emoji": "👩‍👩‍👧‍👦 👨🏽‍💻 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☺︎ 😶‍🌫️ 🚀🚀 ✅",
    "keycaps": "1️⃣ 2️⃣ #️⃣",
    "digits": "1 12 123 1234 12345 123456 1234567 12345678901234567890 3.14159 1,000,000 0x1F "
    "2024-01-02 1e-10 ½ ² Ⅷ 一二三 ٣٤",
    "spaces": "a  b   c    d     e      f\t\tg\t h \t i\u00a0j\u2003k\u3000l",
    "newlines": "foo\n \n  \n\n bar\r\n\r\nbaz \n  qux\n\n\n\n\n",
    "only-spaces": "     ",
    "only-newlines": "\n\n\n",
    "leading-space": " hello",
    "leading-spaces": "   hello",
    "leading-tab": "\thello",
    "trailing-spaces": "hello  ",
    "empty": "",
    "contractions": "I'm you're he's WE'VE I'LL they'd DON'T can't 'Tis o'clock rock'n'roll I’m "
    "don’t ''s 'S's",
    "punctuation": "!!!??? ... --- === *** ((())) [[]] {{}} <<>> «» „“ ‘’ †‡ § ¶ • … ‰ €£¥ "
    "~`^|\\/ \"quoted\" 'single'",
    "accents": "naïve café résumé Ærøskøbing Łódź Ünïcödé straße ﬁ ﬂ ŉ",
    "combining": "e\u0301 a\u0308 n\u0303 Z\u0351\u036b\u0343",
    "controls": "a\x01b\x07c\x1bd\x7fe\u200bf\u200eg\u2028h\u2029i\ufeffj\u00adk",
    "next-line": "a\u0085b",
    "word-mark": "a▁b ▁the",
    "private-use": "\ue000\uf8ff \U000f0000 \U0010fffd \ufffd \uffff",
    "math": "∑∏∫√∞≠≤≥ ℝℂ x² + y³ = z⁴ ①②③ ㈠ ㎏",
    "long-word": "ab" * 200 + " " + "Donaudampfschifffahrtsgesellschaft" * 5,
    "long-number": "7" * 200,
    "long-spaces": "x" + " " * 200 + "x",
    "cases": "camelCase PascalCase SCREAMING_SNAKE snake_case kebab-case iPhone XMLHttpRequest",
    "begin-and-end": "<s>hi</s> a</s>",
    "unknown-token": "the <unk> of <unk>",
    "chatml": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<|endoftext|>",
    "llama3-chat": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
    "phi3-chat": "<|user|>\nhi there<|end|>\n<|assistant|>\n",
    "mistral-chat": "[INST] hi there [/INST] hello",
    "bert-tokens": "[CLS] a [SEP] b [MASK] c",
}


def make_texts(material: Path) -> dict[str, str]:
    """Name -> text; some 300 KB in all, and the same ones every time."""
    texts = dict(_TEXTS)
    for name, (file, start, end) in _SLICES.items():
        data = (material / "corpora" / file).read_bytes()[start:end]
        # "<unk>" in these corpora stands for a rare word; tokens in a text have texts of their own.
        texts[name] = data.decode("utf-8", "ignore").replace("<unk>", "word").strip()
    sources = "".join(path.read_text("utf-8") for path in sorted(_SOURCES.rglob("*.py")))
    texts["python"] = sources[:60_000].replace("<s>", "").replace("</s>", "").strip()
    texts["invalid-utf8"] = b"ok \xff\xfe bad \xc3\x28 \xe2\x82 \xf0\x9f end \x80".decode(
        "utf-8", "replace"
    )
    dice = random.Random(0)
    anything = (chr(dice.randrange(0x20, 0x30000)) for _ in range(4000))
    texts["random-characters"] = normalize("NFC", "".join(c for c in anything if c.isprintable()))
    return texts
