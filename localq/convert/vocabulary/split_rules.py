"""How each of llama.cpp's pre-tokenizers splits text, as rules of the tokenizers library.

Facts from llama.cpp's `src/llama-vocab.cpp` (class llm_tokenizer_bpe; the release inside
llama-cpp-python 0.3.36). Each rule splits the pieces that the one before left. A rule is a regular
expression in Oniguruma's spelling whose matches become pieces, as does what lies between them.
Where llama.cpp replaces a published expression by one that C++ can run (upper and lower case of
letters beyond ASCII, possessive quantifiers), the published one stands here: a tokenizer.json is
compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GPT2", "SPLIT_RULES", "SplitRules"]


@dataclass(frozen=True, slots=True)
class SplitRules:
    """`names` are values of `tokenizer.ggml.pre` that split by these rules.

    Under the name `whole` llama.cpp takes a piece that is a token as it is, whatever the merges
    make of it (`ignore_merges` in tokenizer.json); under the name `merged` it never does. "" means
    that there is no such name. Other names for the same rules are left out: they differ in how
    text is put together again or in tokens that the metadata names anyway. (bailingmoe's rules are
    written differently from qwen2's, but can match nothing else.)
    """

    merged: str
    whole: str
    rules: tuple[str, ...]


# What several expressions are made of.
_ANY_CASE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CAPITALIZED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+"
_ALL_CAPITALS = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_CASED = rf"{_CAPITALIZED}{_ANY_CASE}?|{_ALL_CAPITALS}{_ANY_CASE}?"
_CASED_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_HAN_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_HAN_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_HAN_CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_HAN_UPPER}*{_HAN_LOWER}+{_ANY_CASE}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_HAN_UPPER}+{_HAN_LOWER}*{_ANY_CASE}?"
)
_DIGITS_FROM_THE_RIGHT = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"
_ASCII_SIGN_AND_WORD = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
_MARKED_WORD = rf"{_ASCII_SIGN_AND_WORD}|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"

# Characters by their numbers: many look alike, some cannot be seen.
_CJK = r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+"
_KANJI_AND_KANA = r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+"
_ASIAN_SCRIPTS_AND_SIGNS = (
    r"[\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}"
    r"\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}]"
    r"+|[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+"
)
_UNSPACED_SCRIPTS = (
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{8C48}-\x{FAFF}\x{3040}-\x{309F}\x{30A0}-\x{30FF}"
    r"\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF}\x{0E40}-\x{0E7F}\x{0E80}-\x{0EFF}\x{1780}-\x{17FF}"
    r"\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+"
)
_NOT_SENTENCE_SIGNS = r" ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{0964}\x{06D4}\x{060C})]+"
_CASED_LETTERS = (
    r"\s?[A-Za-z\x{00B5}\x{00C0}-\x{00D6}\x{00D8}-\x{00F6}\x{00F8}-\x{01BA}\x{01BC}-\x{01BF}"
    r"\x{01C4}-\x{0293}\x{0295}-\x{02AF}\x{0370}-\x{0373}\x{0376}\x{0377}\x{037B}-\x{037D}"
    r"\x{037F}\x{0386}\x{0388}-\x{038A}\x{038C}\x{038E}-\x{03A1}\x{03A3}-\x{03F5}"
    r"\x{03F7}-\x{0481}\x{048A}-\x{052F}\x{0531}-\x{0556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}"
    r"\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}"
    r"\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}"
    r"\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}"
    r"\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}"
    r"\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}"
    r"\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}"
    r"\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}"
    r"\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}"
    r"\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}"
    r"\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}"
    r"\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}"
    r"\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+"
)
_WESTERN_AND_WIDE_SIGNS = (
    r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+"
)

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What the ByteLevel step of a tokenizer.json does by itself."""

SPLIT_RULES = (
    SplitRules("gpt-2", "", (GPT2,)),
    SplitRules("smollm", "", (r"\p{N}", GPT2)),
    SplitRules(
        "smaug-bpe", "llama-bpe", (rf"{_ANY_CASE}|{_WORD}|\p{{N}}{{1,3}}|{_SYMBOLS}|{_SPACES}",)
    ),
    SplitRules("qwen2", "", (rf"{_ANY_CASE}|{_WORD}|\p{{N}}|{_SYMBOLS}|{_SPACES}",)),
    SplitRules(
        "qwen35",
        "",
        (
            rf"{_ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
            rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}",
        ),
    ),
    SplitRules("ufakzeka", "", (rf"{_WORD}|\p{{N}}|{_SYMBOLS}|{_SPACES}",)),
    SplitRules(
        "laguna",
        "",
        (r"[^\n]+|[\n]+", rf"{_ANY_CASE}|{_WORD}|\p{{N}}|{_SYMBOLS}|{_SPACES}"),
    ),
    SplitRules(
        "",
        "minicpm5",
        (r"\p{N}{1,3}", rf"{_ANY_CASE}|{_WORD}|\p{{N}}+|{_SYMBOLS}|{_SPACES}"),
    ),
    SplitRules(
        "jais-2",
        "",
        (
            rf"{_ANY_CASE}|{_WORD}|\p{{N}}{{1,3}}|{_SYMBOLS}|\s*[\r\n]+|\s{{512}}(?!\S)"
            r"|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)"
            r"|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}",
        ),
    ),
    SplitRules(
        "seed-coder",
        "",
        (rf"{_ANY_CASE}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}",),
    ),
    SplitRules(
        "exaone-moe",
        "",
        (
            rf"{_ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        ),
    ),
    SplitRules(
        "", "tekken", (rf"{_CAPITALIZED}|{_ALL_CAPITALS}|\p{{N}}|{_CASED_SYMBOLS}|{_SPACES}",)
    ),
    SplitRules(
        "gpt-4o",
        "granite-embed-multi-97m",
        (rf"{_CASED}|\p{{N}}{{1,3}}|{_CASED_SYMBOLS}|{_SPACES}",),
    ),
    SplitRules(
        "tiny_aya",
        "",
        (
            r"\d{1,3}(?=(?:\d{3})*\b)",
            rf"{_CASED}|\p{{N}}{{1,3}}|{_CASED_SYMBOLS}|{_SPACES}",
        ),
    ),
    SplitRules(
        "",
        "youtu",
        (_ASIAN_SCRIPTS_AND_SIGNS, rf"{_CASED}|\p{{N}}|{_CASED_SYMBOLS}|{_SPACES}"),
    ),
    SplitRules(
        "kimi-k2",
        "",
        (rf"[\p{{Han}}]+|{_HAN_CASED}|\p{{N}}{{1,3}}|{_SYMBOLS}|{_SPACES}",),
    ),
    SplitRules(
        "deepseek-v3",
        "",
        (
            r"\p{N}{1,3}",
            _KANJI_AND_KANA,
            rf"{_MARKED_WORD}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
        ),
    ),
    SplitRules(
        "spark2_5",
        "",
        (
            r"\p{N}{1,3}",
            _KANJI_AND_KANA,
            rf"{_MARKED_WORD}| ?[\p{{P}}\p{{S}}]+|[\r\n]|\s+(?!\S)|\s+",
            r"\p{N}",
        ),
    ),
    SplitRules(
        "afmoe",
        "",
        (
            _DIGITS_FROM_THE_RIGHT,
            _UNSPACED_SCRIPTS,
            rf"{_MARKED_WORD}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
        ),
    ),
    SplitRules("deepseek-coder", "", (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}")),
    SplitRules(
        "deepseek-llm",
        "",
        (
            r"[\r\n]",
            _CASED_LETTERS,
            _WESTERN_AND_WIDE_SIGNS,
            r"\s+$",
            _CJK,
            r"\p{N}+",
        ),
    ),
    SplitRules("falcon", "", (r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]")),
    SplitRules("default", "", (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")),
    SplitRules("bloom", "", (_NOT_SENTENCE_SIGNS,)),
    SplitRules("viking", "", (_NOT_SENTENCE_SIGNS, r"\p{N}")),
    SplitRules("superbpe", "", (r"\p{N}+", r"(?=(\d{3})+(?!\d))")),
    SplitRules(
        "chameleon",
        "",
        (
            r"<sentinel:[0-9]+>",
            r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            r"([\t\n]|    |  )",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            GPT2,
        ),
    ),
)
