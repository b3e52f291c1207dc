"""Mistral's own tokenizer file, tekken.json: ranks of byte sequences, special tokens before them.

Same result as llama.cpp `conversion/base.py`, `_set_vocab_mistral`, but for the chat template,
which there is the name of one that only llama.cpp knows. Source of the format: mistral-common
`tokens/tokenizers/tekken.py`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.tiktoken_ranks import byte_letters
from localq.convert.vocabulary.token import MAX_VOCABULARY, TokenType
from localq.errors import BadFileError
from localq.formats.presence import is_there
from localq.messages import msg

__all__ = ["has_tekken_alone", "read_special_ids", "write_tekken"]

_FILE = "tekken.json"
_EARLY_SPECIAL = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]"),
    *("[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    "[TOOL_CONTENT]",
)
"""Of files up to version 7, which do not name them."""
_KNOWN_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""What llama.cpp's "tekken" splits by."""
_SPECIALS = (("bos", "<s>"), ("eos", "</s>"), ("unknown", "<unk>"), ("padding", "<pad>"))
_MOST_BYTES = 1024
_TURNS = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST]' + message['content'] + '[/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% elif message['role'] == 'system' %}SYSTEM{% endif %}{% endfor %}"
)
_SYSTEM = "{{ '[SYSTEM_PROMPT]' + message['content'] + '[/SYSTEM_PROMPT]' }}"
_EARLY_SYSTEM = "{{ '[INST]' + message['content'] + '[/INST]' }}"


def has_tekken_alone(files: TokenizerFiles) -> bool:
    """Whether tekken.json is the tokenizer: beside a tokenizer.json it is the same once more."""
    return is_there(files.root / _FILE) and not is_there(files.tokenizer_json_path)


def read_special_ids(files: TokenizerFiles) -> Mapping[str, int]:
    """Text -> id of the special tokens that the file, or its version, names."""
    content, config = _content(files)
    return {text: i for i, text in enumerate(_special_texts(files, content, config))}


def write_tekken(files: TokenizerFiles, fields: FieldBuilder, *, size_key: str) -> str | None:
    """Add tokens, types, merges and special tokens to `fields`, and their number as `size_key`; a
    warning where one is due."""
    content, config = _content(files)
    special = _special_texts(files, content, config)
    size = _count(files, config, "default_vocab_size")
    if size <= len(special):
        raise _malformed(files, "default_vocab_size")
    ranks = _ranks(files, content, size - len(special))
    letters = byte_letters()

    def text(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    fields.string("tokenizer.ggml.model", "gpt2")
    fields.string("tokenizer.ggml.pre", "tekken")
    fields.strings(
        "tokenizer.ggml.merges",
        [f"{text(left)} {text(right)}" for left, right in _merges(files, ranks)],
    )
    ids = {name: i for i, name in enumerate(special)}
    for kind, name in _SPECIALS:
        found = ids.get(name, ids.get("</s>") if kind == "padding" else None)
        if found is not None:
            fields.u32(f"tokenizer.ggml.{kind}_token_id", found)
    types = [TokenType.CONTROL] * len(special) + [TokenType.NORMAL] * len(ranks)
    fields.strings("tokenizer.ggml.tokens", [*special, *map(text, ranks)])
    fields.i32s("tokenizer.ggml.scores", [0] * size)
    fields.i32s("tokenizer.ggml.token_type", types)
    fields.u32(size_key, size)
    fields.boolean("tokenizer.ggml.add_bos_token", True)
    fields.boolean("tokenizer.ggml.add_eos_token", False)
    _write_template(files, fields, "[SYSTEM_PROMPT]" in ids and config.get("version") != "v3")
    if config.get("pattern") == _KNOWN_PATTERN:
        return None
    return (
        f"{files.root / _FILE}: llama.cpp has no pre-tokenizer that is known to split text as"
        " this one does; 'tekken' was taken, and some texts may become other tokens"
    )


def _write_template(files: TokenizerFiles, fields: FieldBuilder, system: bool) -> None:
    template = files.chat_template()
    if not isinstance(template, str):
        template = _TURNS.replace("SYSTEM", _SYSTEM if system else _EARLY_SYSTEM)
    fields.string("tokenizer.chat_template", template)


def _content(files: TokenizerFiles) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    content = files.read_json(files.root / _FILE) or {}
    config = content.get("config")
    if not isinstance(config, dict):
        raise _malformed(files, "config")
    return content, config


def _special_texts(
    files: TokenizerFiles, content: Mapping[str, Any], config: Mapping[str, Any]
) -> list[str]:
    """Their texts by id; what the file leaves open has a name made of its number."""
    count = _count(files, config, "default_num_special_tokens")
    named = content.get("special_tokens")
    texts: list[str] = list(_EARLY_SPECIAL)
    if named is not None:
        if not isinstance(named, list):
            raise _malformed(files, "special_tokens")
        texts = []
        for i, token in enumerate(named):
            text = token.get("token_str") if isinstance(token, dict) else None
            if not isinstance(text, str) or not text or token.get("rank") != i:
                raise _malformed(files, "special_tokens")
            texts.append(text)
    if len(texts) > count or len(set(texts)) != len(texts):
        raise _malformed(files, "special_tokens")
    return [*texts, *(f"<SPECIAL_{i}>" for i in range(len(texts), count))]


def _ranks(files: TokenizerFiles, content: Mapping[str, Any], count: int) -> dict[bytes, int]:
    """The byte sequences in the order of their ranks, which must be 0, 1, 2 and so on."""
    vocab = content.get("vocab")
    if not isinstance(vocab, list) or len(vocab) < count:
        raise _malformed(files, "vocab")
    ranks: dict[bytes, int] = {}
    for i, token in enumerate(vocab[:count]):
        encoded = token.get("token_bytes") if isinstance(token, dict) else None
        if not isinstance(encoded, str) or token.get("rank") != i:
            raise _malformed(files, "vocab")
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise _malformed(files, "vocab") from None
        if not 0 < len(data) <= _MOST_BYTES or data in ranks or (i < 256 and data != bytes([i])):
            raise _malformed(files, "vocab")
        ranks[data] = i
    if len(ranks) < 256:
        raise _malformed(files, "vocab")
    return ranks


def _merges(files: TokenizerFiles, ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every way to make a sequence of two others, the lowest ranks first."""
    merges: list[tuple[bytes, bytes]] = []
    for token, rank in ranks.items():
        if rank < 256:
            continue
        ways = [
            (ranks[token[:cut]], ranks[token[cut:]], token[:cut], token[cut:])
            for cut in range(1, len(token))
            if token[:cut] in ranks and token[cut:] in ranks
        ]
        if not ways:
            raise BadFileError(
                files.root / _FILE,
                msg("token {rank} is made of no two others", rank=rank),
                hint=msg("pull the model again"),
            )
        merges += [(left, right) for _, _, left, right in sorted(ways)]
    return merges


def _count(files: TokenizerFiles, config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int or not 0 < value <= MAX_VOCABULARY:
        raise _malformed(files, key)
    return value


def _malformed(files: TokenizerFiles, key: str) -> BadFileError:
    return BadFileError(
        files.root / _FILE,
        msg("its {key} is not as it should be", key=key),
        hint=msg("pull the model again"),
    )
