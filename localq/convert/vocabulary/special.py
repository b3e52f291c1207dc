"""Which tokens are special, which are added by themselves, and the chat template.

The rules are those of llama.cpp's `gguf-py/gguf/vocab.py` (class SpecialVocab), which reads
tokenizer.json first, then tokenizer_config.json, then config.json, the first answer standing.
One difference on purpose: where tokenizer_config.json gives a token as an object, localq compares
its content; llama.cpp compares the object itself, finds it different from the template's text,
and so turns BOS off for checkpoints such as Llama 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.steps import objects, steps
from localq.errors import BadFileError
from localq.formats.presence import is_there
from localq.messages import msg

__all__ = ["SpecialTokens", "read_merges", "read_special_tokens"]

_KINDS = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")

_ID_KEYS: Mapping[str, str] = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # spelt so in the GGUF spec
    "pad": "padding_token_id",
    "mask": "mask_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
    "prefix": "prefix_token_id",
    "suffix": "suffix_token_id",
    "middle": "middle_token_id",
}
_ADD_KINDS = ("bos", "eos", "sep")


@dataclass(slots=True)
class SpecialTokens:
    """`ids` and `add` keep the order in which they were found: it is the order in the file."""

    ids: dict[str, int] = field(default_factory=dict)
    add: dict[str, bool] = field(default_factory=dict)
    merges: list[str] = field(default_factory=list)
    chat_template: str | list[Any] | None = None
    lowercase: bool | None = None
    strip_accents: bool | None = None

    def write(self, fields: FieldBuilder) -> None:
        fields.strings("tokenizer.ggml.merges", self.merges)
        for kind, token_id in self.ids.items():
            if kind in _ID_KEYS:
                fields.u32(f"tokenizer.ggml.{_ID_KEYS[kind]}", token_id)
        for kind, value in self.add.items():
            if kind in _ADD_KINDS:
                fields.boolean(f"tokenizer.ggml.add_{kind}_token", value)
        _write_chat_template(self.chat_template, fields)
        if self.lowercase is not None:
            fields.boolean("tokenizer.ggml.normalizer.lowercase", self.lowercase)
        if self.strip_accents is not None:
            fields.boolean("tokenizer.ggml.normalizer.strip_accents", self.strip_accents)


def read_special_tokens(
    files: TokenizerFiles,
    *,
    merges: bool = False,
    n_vocab: int | None = None,
    assumed: Sequence[str] = (),
) -> SpecialTokens:
    """What the checkpoint says of its special tokens; ids of `n_vocab` and above are left out.

    `assumed` are the kinds that llama.cpp adds to such a vocabulary unless told otherwise. Where
    no setting speaks of one, tokenizer.json decides: what its post-processor does not add is not
    added.
    """
    special = SpecialTokens()
    tokenizer = files.tokenizer_json or {}
    config = dict(files.tokenizer_config or {})
    texts = {key: _content(config.get(f"{key}_token")) for key in (*_KINDS, "eot", "eom")}
    kinds = list(_KINDS)

    if tokenizer:
        if merges:
            special.merges = read_merges(files, tokenizer)
        _read_normalizer(tokenizer.get("normalizer"), special)
        texts["bos"] = texts["bos"] or texts["cls"]
        texts["eos"] = texts["eos"] or texts["sep"]
        for processor in steps(tokenizer.get("post_processor")):
            _read_processor(processor, special, texts, kinds, has_config=bool(config))
    if merges and not special.merges:
        special.merges = _merges_txt(files)

    if config:
        special.chat_template = files.chat_template()
        by_content = _added_token_ids(tokenizer)
        for kind in kinds:
            if isinstance(add := config.get(f"add_{kind}_token"), bool):
                special.add.setdefault(kind, add)
            _set_id(special, kind, by_content.get(texts[kind] or ""), n_vocab)
    if tokenizer and not _wraps_as_bert(tokenizer):
        for kind in assumed:
            special.add.setdefault(kind, False)
    for kind in kinds:
        token_id = files.config.get(f"{kind}_token_id")
        if token_id is None and isinstance(text := files.config.get("text_config"), dict):
            token_id = text.get(f"{kind}_token_id")
        _set_id(special, kind, token_id, n_vocab)
    return special


def _wraps_as_bert(tokenizer: Mapping[str, Any]) -> bool:
    """Whether a text gets its ends by a rule that is not read here."""
    processors = steps(tokenizer.get("post_processor"))
    return any(processor.get("type") == "BertProcessing" for processor in processors)


def _content(entry: object) -> str | None:
    if isinstance(entry, dict):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None


def _set_id(special: SpecialTokens, kind: str, token_id: object, n_vocab: int | None) -> None:
    if type(token_id) is int and 0 <= token_id < (n_vocab or 1 << 31):
        special.ids.setdefault(kind, token_id)


def _added_token_ids(tokenizer: Mapping[str, Any]) -> dict[str, object]:
    ids: dict[str, object] = {}
    for token in objects(tokenizer.get("added_tokens")):
        if isinstance(content := token.get("content"), str):
            ids.setdefault(content, token.get("id"))
    return ids


def _read_processor(
    processor: Mapping[str, Any],
    special: SpecialTokens,
    texts: dict[str, str | None],
    kinds: list[str],
    *,
    has_config: bool,
) -> None:
    match processor.get("type"):
        case "ByteLevel":
            special.add.setdefault("bos", False)
            special.add.setdefault("eos", False)
        case "RobertaProcessing":
            special.add |= {"bos": True, "eos": True, "sep": True}
            for kind, fallback in (("cls", "bos"), ("sep", "eos")):
                pair = processor.get(kind)
                given = pair[0] if isinstance(pair, list) and pair else texts[fallback]
                texts[kind] = texts[kind] or _content(given)
        case "TemplateProcessing":
            _read_template(processor, special, texts, kinds, has_config=has_config)


def _read_template(
    processor: Mapping[str, Any],
    special: SpecialTokens,
    texts: dict[str, str | None],
    kinds: list[str],
    *,
    has_config: bool,
) -> None:
    """A leading special token is BOS, a trailing one EOS, one between a pair's parts SEP."""
    single = objects(processor.get("single"))
    first = _special(single[0]) if len(single) > 1 else None
    last = _special(single[-1]) if len(single) > 1 else None
    if first:
        if not has_config:
            texts["bos"] = first
        elif first not in (texts["bos"], texts["cls"]):
            texts["bos"] = texts["bos"] or first
            texts["cls"] = texts["cls"] or first
        special.add["bos"] = first in (texts["bos"], texts["cls"])
    if last:
        if has_config and last != texts["eos"]:
            # The configured end of text is not what ends a sequence: keep it as end of turn.
            spare = next((kind for kind in ("eot", "eom") if kind not in kinds), None)
            if spare:
                kinds.append(spare)
                texts[spare] = texts["eos"]
        texts["eos"] = last
        special.add["eos"] = True
    _read_pair(objects(processor.get("pair")), first, last, special, texts)


def _read_pair(
    pair: Sequence[Mapping[str, Any]],
    first: str | None,
    last: str | None,
    special: SpecialTokens,
    texts: dict[str, str | None],
) -> None:
    if not pair:
        return
    if first and _special(pair[0]) == first:
        pair = pair[1:]
    if last and pair and _special(pair[-1]) == last:
        pair = pair[:-1]
    if len(pair) < 3 or _sequence(pair[0]) != "A" or _sequence(pair[-1]) != "B":
        return
    between = [_special(item) for item in pair[1:-1]]
    separators = (texts["sep"], texts["eos"])
    adds = bool(between[0]) and between[0] in separators and not last
    if len(between) == 2 and between[1] and between[1] in separators:
        adds = True
    special.add["sep"] = adds
    if adds and not texts["sep"]:
        texts["sep"] = texts["eos"]


def _special(item: Mapping[str, Any]) -> str | None:
    token = item.get("SpecialToken")
    return token.get("id") if isinstance(token, dict) and isinstance(token.get("id"), str) else None


def _sequence(item: Mapping[str, Any]) -> object:
    sequence = item.get("Sequence")
    return sequence.get("id") if isinstance(sequence, dict) else None


def _read_normalizer(normalizer: object, special: SpecialTokens) -> None:
    for step in steps(normalizer):
        match step.get("type"):
            case "Lowercase":
                special.lowercase = True
            case "StripAccents":
                special.strip_accents = True
            case "BertNormalizer":
                if isinstance(value := step.get("lowercase"), bool):
                    special.lowercase = value
                if isinstance(value := step.get("strip_accents"), bool):
                    special.strip_accents = value


def read_merges(files: TokenizerFiles, tokenizer: Mapping[str, Any]) -> list[str]:
    """The merges of tokenizer.json, best first, the two parts of each apart by a space."""
    model = tokenizer.get("model")
    merges = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(merges, list):
        return []
    if all(isinstance(merge, str) for merge in merges):
        return merges
    if not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
        for pair in merges
    ):
        raise BadFileError(files.tokenizer_json_path, msg("merges are neither texts nor pairs"))
    # A space inside a part would split it in two; llama.cpp reads its byte-level stand-in.
    return [" ".join(part.replace(" ", "Ġ") for part in pair) for pair in merges]


def _merges_txt(files: TokenizerFiles) -> list[str]:
    path = files.root / "merges.txt"
    if not is_there(path):
        return []
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFileError(path, msg("cannot be read: {error}", error=error)) from None
    pairs = [line.split() for line in lines if line.strip()]
    if lines and lines[0].startswith("#"):
        pairs = pairs[1:]
    return [" ".join(pair) for pair in pairs if len(pair) == 2]


def _write_chat_template(template: str | list[Any] | None, fields: FieldBuilder) -> None:
    if isinstance(template, str):
        fields.string("tokenizer.chat_template", template)
        return
    default: str | None = None
    names: list[str] = []
    for choice in objects(template):
        name, text = choice.get("name"), choice.get("template")
        if not (isinstance(name, str) and name and isinstance(text, str)):
            continue
        if name == "default":
            default = text
            continue
        name = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
        if name not in names:
            names.append(name)
        fields.string(f"tokenizer.chat_template.{name}", text)
    fields.strings("tokenizer.chat_templates", names)
    if default is not None:
        fields.string("tokenizer.chat_template", default)
