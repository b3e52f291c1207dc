"""A byte-level BPE tokenizer that was saved as vocab.json and merges.txt alone.

The two files do not say how a text is split before it is merged; transformers knows that by the
tokenizer's class, and builds the same tokenizer.json from them as stands here
(`convert_slow_tokenizer.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from localq.errors import BadFileError, UnsupportedError
from localq.messages import msg

__all__ = ["SavedTokenizer", "tokenizer_of_files"]

VOCABULARY, MERGES = "vocab.json", "merges.txt"
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT2, _QWEN2, _ROBERTA = "gpt2", "qwen2", "roberta"
_CLASSES: Mapping[str, str] = {
    "GPT2Tokenizer": _GPT2,
    "CodeGenTokenizer": _GPT2,
    "Qwen2Tokenizer": _QWEN2,
    "RobertaTokenizer": _ROBERTA,
}
_MODEL_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("gpt2", "gpt_neo", "gptj", "opt", "codegen", "phi"), _GPT2),
    **dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "qwen3_moe"), _QWEN2),
    "roberta": _ROBERTA,
}
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_SPECIAL_KEYS = ("bos_token", "eos_token", "unk_token", "pad_token", "cls_token", "sep_token")


class SavedTokenizer(Protocol):
    """What `TokenizerFiles` knows of the other files."""

    @property
    def root(self) -> Path: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def tokenizer_config(self) -> dict[str, Any] | None: ...
    @property
    def special_tokens_map(self) -> dict[str, Any] | None: ...
    @property
    def added_tokens_json(self) -> dict[str, Any]: ...
    @property
    def added_tokens(self) -> Mapping[int, Mapping[str, Any]]: ...
    def read_json(self, path: Path) -> dict[str, Any] | None: ...
    def text_of(self, path: Path) -> str | None: ...


def tokenizer_of_files(files: SavedTokenizer) -> dict[str, Any] | None:
    """What tokenizer.json would say; None where the two files are not there.

    UnsupportedError where nothing tells how the tokenizer splits text.
    """
    vocabulary = files.read_json(files.root / VOCABULARY)
    merges = _merges(files, files.root / MERGES)
    if vocabulary is None or merges is None:
        return None
    if not all(type(i) is int and i >= 0 for i in vocabulary.values()):
        raise BadFileError(files.root / VOCABULARY, msg("does not map texts to numbers"))
    kind = _kind(files)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    splitters: dict[str, Any] = byte_level
    if kind == _QWEN2:
        split = {"type": "Split", "pattern": {"Regex": _QWEN2_SPLIT}, "behavior": "Isolated"}
        steps = [split | {"invert": False}, byte_level | {"use_regex": False}]
        splitters = {"type": "Sequence", "pretokenizers": steps}
    return {
        "version": "1.0",
        "added_tokens": [*_added(files, vocabulary)],
        "normalizer": {"type": "NFC"} if kind == _QWEN2 else None,
        "pre_tokenizer": splitters,
        "post_processor": _roberta(vocabulary) if kind == _ROBERTA else byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }


def _kind(files: SavedTokenizer) -> str:
    named = (files.tokenizer_config or {}).get("tokenizer_class")
    name = named.removesuffix("Fast") if isinstance(named, str) else ""
    kind = _CLASSES.get(name) or _MODEL_TYPES.get(str(files.config.get("model_type")))
    if kind is None:
        raise UnsupportedError(
            msg(
                "{root}: has {vocabulary} and {merges} alone, which do not say how its"
                " tokenizer ({name}) splits a text",
                root=files.root,
                vocabulary=VOCABULARY,
                merges=MERGES,
                name=name[:60] or "of no named class",
            ),
            hint=msg("put the tokenizer.json of the original model beside them"),
        )
    return kind


def _merges(files: SavedTokenizer, path: Path) -> list[list[str]] | None:
    text = files.text_of(path)
    if text is None:
        return None
    lines = text.split("\n")
    if lines[0].startswith("#version"):
        lines = lines[1:]
    pairs = [line.split(" ") for line in lines if line.strip()]
    if not all(len(pair) == 2 for pair in pairs):
        raise BadFileError(path, msg("a line of it is not two parts with a space between"))
    return pairs


def _added(files: SavedTokenizer, vocabulary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The tokens that are found before a text is split."""
    settings = {**(files.special_tokens_map or {}), **(files.tokenizer_config or {})}
    special = [settings.get(key) for key in _SPECIAL_KEYS]
    more = settings.get("additional_special_tokens")
    special += more if isinstance(more, list) else []
    texts = set(_plain(special))
    declared = {i: entry["content"] for i, entry in files.added_tokens.items()}
    beside = {i: text for text, i in files.added_tokens_json.items() if type(i) is int}
    inside = {vocabulary[text]: text for text in texts if text in vocabulary}
    for token_id, text in sorted({**inside, **beside, **declared}.items()):
        entry = files.added_tokens.get(token_id, {"special": text in texts})
        known = {key: bool(entry.get(key)) for key in _FLAGS}
        yield {"id": token_id, "content": text, **known}


def _plain(items: list[Any]) -> list[Any]:
    """Texts, and objects that hold one."""
    contents = [item.get("content") if isinstance(item, dict) else item for item in items]
    return [content for content in contents if isinstance(content, str)]


def _roberta(vocabulary: Mapping[str, Any]) -> dict[str, Any]:
    ends = {kind: [text, vocabulary.get(text)] for kind, text in (("sep", "</s>"), ("cls", "<s>"))}
    if any(pair[1] is None for pair in ends.values()):
        return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {"type": "RobertaProcessing", **ends, "trim_offsets": True, "add_prefix_space": False}
