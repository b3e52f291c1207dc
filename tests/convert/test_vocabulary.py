"""Which vocabulary a checkpoint's files make, kind by kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from localq.convert.fields import FieldBuilder
from localq.convert.vocabulary import pre_tokenizer
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.sentencepiece_json import adds_space_prefix
from localq.convert.vocabulary.special import read_special_tokens
from localq.convert.vocabulary.token import TokenType
from localq.convert.vocabulary.unigram import write_unigram
from localq.errors import BadFileError, LocalqError, NotFoundError, UnsupportedError
from tests.sentencepiece_tokenizer import write_bpe_model, write_unigram_tokenizer
from tests.vocabulary_files import tokenizer_files, vocabulary_fields


def value(fields: FieldBuilder, key: str) -> Any:
    return fields.get(f"tokenizer.ggml.{key}")


def copy(source: Path, target: Path, *names: str) -> Path:
    target.mkdir(exist_ok=True)
    for name in names:
        shutil.copyfile(source / name, target / name)
    return target


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


@pytest.mark.parametrize(
    ("folder", "kind", "pre"),
    [
        ("tokenizers/llama2", "llama", "default"),
        ("tokenizers/mistral-v0.3", "llama", "default"),
        ("tokenizers/phi3", "llama", "default"),
        ("tokenizers/llama3", "gpt2", "llama-bpe"),
        ("tokenizers/gpt2", "gpt2", "gpt-2"),
        ("tokenizers/bert", "bert", "jina-v2-en"),
        ("models/tiny-wiki-llama", "gpt2", "gpt-2"),
    ],
)
def test_kind_is_found_from_the_files(folder: str, kind: str, pre: str, material: Path) -> None:
    fields, warning = vocabulary_fields(tokenizer_files(material / folder))
    assert (value(fields, "model"), value(fields, "pre"), warning) == (kind, pre, None)


def test_without_any_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"neither tokenizer\.model nor tokenizer\.json"):
        write_vocabulary(tokenizer_files(tmp_path), FieldBuilder())
    with pytest.raises(NotFoundError, match=r"no tokenizer\.json"):
        write_byte_level(tokenizer_files(tmp_path), FieldBuilder())


def test_scores_from_merges_are_in_sentencepieces_order(material: Path, tmp_path: Path) -> None:
    """Llama 2 has its tokenizer both as tokenizer.model and as tokenizer.json."""
    root = material / "tokenizers" / "llama2"
    alone = copy(root, tmp_path / "alone", "tokenizer.json", "tokenizer_config.json")
    both, _ = vocabulary_fields(tokenizer_files(root))
    ours, _ = vocabulary_fields(tokenizer_files(alone))
    assert value(ours, "tokens") == value(both, "tokens")
    # Runs of spaces all have the least score in tokenizer.model, single characters need none.
    merged = [i for i, text in enumerate(value(both, "tokens")) if len(text.replace("▁▁", "")) > 1]
    scores = [value(fields, "scores") for fields in (both, ours)]
    order = [sorted(merged[259:], key=lambda i: (-given[i], i)) for given in scores]
    assert order[0] == order[1]
    assert value(ours, "token_type")[1:] == value(both, "token_type")[1:]
    assert [key for key, _ in ours] == [key for key, _ in both]


def test_tiktokens_ranks_are_no_sentencepiece(material: Path, tmp_path: Path) -> None:
    source = material / "models" / "tiny-wiki-llama"
    root = copy(source, tmp_path, "tokenizer.json", "tokenizer_config.json", "config.json")
    (root / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    fields, _ = vocabulary_fields(tokenizer_files(root))
    assert value(fields, "model") == "gpt2"


def test_rows_without_a_token_are_unused(material: Path, tmp_path: Path) -> None:
    for folder in ("tokenizers/mistral-v0.3", "models/tiny-wiki-llama", "tokenizers/bert"):
        source = material / folder
        root = copy(source, tmp_path / source.name, "tokenizer.json", "tokenizer_config.json")
        size = len(value(vocabulary_fields(tokenizer_files(source))[0], "tokens"))
        fields, _ = vocabulary_fields(tokenizer_files(root, {"vocab_size": size + 2}))
        assert len(value(fields, "tokens")) == size + 2
        assert value(fields, "tokens")[-1].endswith(f"[PAD{size + 1}]")
        assert value(fields, "token_type")[-2:] == [TokenType.UNUSED] * 2
        with pytest.raises(BadFileError, match="beyond the model's vocabulary"):
            vocabulary_fields(tokenizer_files(root, {"vocab_size": size - 1}))


def test_mistrals_control_tokens_are_control_tokens(material: Path) -> None:
    fields, _ = vocabulary_fields(tokenizer_files(material / "tokenizers" / "mistral-v0.3"))
    types = dict(zip(value(fields, "tokens"), value(fields, "token_type"), strict=True))
    assert types["[INST]"] == types["<s>"] == TokenType.CONTROL
    assert types["<0x0A>"] == TokenType.BYTE
    assert types["▁the"] == TokenType.NORMAL


def test_phi3s_added_token_that_is_not_special(material: Path) -> None:
    fields, _ = vocabulary_fields(tokenizer_files(material / "tokenizers" / "phi3"))
    types = dict(zip(value(fields, "tokens"), value(fields, "token_type"), strict=True))
    assert types["</s>"] == TokenType.USER_DEFINED
    assert types["<|end|>"] == TokenType.CONTROL


def test_space_prefix_is_the_tokenizers(material: Path, tmp_path: Path) -> None:
    root = copy(
        material / "tokenizers" / "phi3", tmp_path, "tokenizer.json", "tokenizer_config.json"
    )
    assert value(vocabulary_fields(tokenizer_files(root))[0], "add_space_prefix") is None
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    edit(root / "tokenizer.json", normalizer=replace)
    assert value(vocabulary_fields(tokenizer_files(root))[0], "add_space_prefix") is False


def test_space_prefix_where_both_files_are_there(material: Path, tmp_path: Path) -> None:
    source = material / "tokenizers" / "llama2"
    root = copy(source, tmp_path, "tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    assert value(vocabulary_fields(tokenizer_files(root))[0], "add_space_prefix") is None
    edit(root / "tokenizer.json", normalizer=None)
    assert value(vocabulary_fields(tokenizer_files(root))[0], "add_space_prefix") is False


def test_merges_that_llama_cpp_would_make_besides_are_a_warning(
    material: Path, tmp_path: Path
) -> None:
    root = copy(
        material / "tokenizers" / "phi3", tmp_path, "tokenizer.json", "tokenizer_config.json"
    )
    assert vocabulary_fields(tokenizer_files(root))[1] is None
    model = json.loads((root / "tokenizer.json").read_text("utf-8"))["model"]
    model["merges"].remove("▁ t")
    edit(root / "tokenizer.json", model=model)
    warning = vocabulary_fields(tokenizer_files(root))[1]
    assert warning is not None
    assert "no merge '▁ t'" in warning


@pytest.mark.parametrize(
    ("metaspace", "adds"),
    [
        ({"prepend_scheme": "always"}, True),
        ({"prepend_scheme": "first"}, True),
        ({"prepend_scheme": "never"}, False),
        ({"add_prefix_space": False}, False),
        ({"add_prefix_space": True}, True),
        ({}, True),
    ],
)
def test_metaspace_spellings(metaspace: dict[str, Any], adds: bool) -> None:
    step = {"type": "Metaspace", "replacement": "▁"} | metaspace
    assert adds_space_prefix({"pre_tokenizer": step}) is adds
    sequence = {"type": "Sequence", "pretokenizers": [step]}
    assert adds_space_prefix({"pre_tokenizer": sequence}) is adds


def test_words_of_wordpiece_begin_with_a_mark(material: Path) -> None:
    fields, _ = vocabulary_fields(tokenizer_files(material / "tokenizers" / "bert"))
    tokens = value(fields, "tokens")
    assert tokens[101] == "[CLS]"
    assert {"▁the", "ing", "▁ing"} <= set(tokens)
    assert value(fields, "normalizer.lowercase") is True


def test_unigram_fields(material: Path, tmp_path: Path) -> None:
    write_unigram_tokenizer(tmp_path, material / "corpora" / "tinyshakespeare.txt")
    fields = FieldBuilder()
    assert write_unigram(tokenizer_files(tmp_path), fields, token_types=("bert.types", 1)) is None
    keys = [key for key, _ in fields]
    place = keys.index("bert.types")
    assert keys[place - 1 : place + 3 : 2] == [
        "tokenizer.ggml.add_space_prefix",
        "tokenizer.ggml.remove_extra_whitespaces",
    ]
    types = value(fields, "token_type")
    assert types[:4] == [TokenType.CONTROL] * 3 + [TokenType.UNKNOWN]
    assert value(fields, "remove_extra_whitespaces") is True
    assert len(value(fields, "precompiled_charsmap")) > 1000
    assert value(fields, "add_eos_token") is True


def test_a_derived_name_does_not_bring_llama_cpps_bos(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pre_tokenizer, "PUBLISHED_HASHES", {})
    source = material / "tokenizers" / "llama3"
    root = copy(source, tmp_path, "tokenizer.json", "tokenizer_config.json")
    edit(root / "tokenizer.json", post_processor=None)
    fields, warning = vocabulary_fields(tokenizer_files(root))
    assert warning is None
    assert (value(fields, "pre"), value(fields, "add_bos_token")) == ("llama-bpe", False)


def test_an_unknown_pre_tokenizer_is_a_warning(material: Path, tmp_path: Path) -> None:
    source = material / "models" / "tiny-wiki-llama"
    root = copy(source, tmp_path, "tokenizer.json", "tokenizer_config.json", "config.json")
    edit(root / "tokenizer.json", normalizer={"type": "Lowercase"})
    fields, warning = vocabulary_fields(tokenizer_files(root))
    assert value(fields, "pre") == "gpt-2"
    assert warning is not None
    assert "'gpt-2' was taken" in warning


def test_the_same_text_twice_is_refused(material: Path, tmp_path: Path) -> None:
    """llama.cpp would abort when it loads the file."""
    source = material / "models" / "stories260K-hf"
    root = copy(source, tmp_path, "tokenizer.model", "config.json")
    (root / "added_tokens.json").write_text('{"<s>": 300}')
    with pytest.raises(BadFileError, match="tokens 1 and 300 are both '<s>'"):
        vocabulary_fields(tokenizer_files(root))


def test_named_chat_templates(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"legacy": false}')
    (tmp_path / "chat_template.jinja").write_text("main")
    more = tmp_path / "additional_chat_templates"
    more.mkdir()
    (more / "tool_use.jinja").write_text("tools")
    (more / "rag.jinja").write_text("rag")
    fields = FieldBuilder()
    read_special_tokens(tokenizer_files(tmp_path)).write(fields)
    assert fields.get("tokenizer.chat_template") == "main"
    assert fields.get("tokenizer.chat_template.tool_use") == "tools"
    assert fields.get("tokenizer.chat_templates") == ["rag", "tool_use"]


@pytest.mark.parametrize("name", ["tokenizer_config.json", "tokenizer.json", "added_tokens.json"])
def test_text_that_is_no_unicode_is_refused(name: str, material: Path, tmp_path: Path) -> None:
    source = material / "models" / "stories260K-hf"
    root = copy(source, tmp_path, "tokenizer.model", "tokenizer_config.json", "config.json")
    (root / name).write_text(r'{"chat_template": "\ud800", "\udfff": 1}')
    with pytest.raises(LocalqError, match=name.replace(".", r"\.")):
        vocabulary_fields(tokenizer_files(root))


def taken_apart(source: Path, root: Path, **config: Any) -> Path:
    """A tokenizer.json as vocab.json and merges.txt, with a config.json beside them."""
    root.mkdir()
    tokenizer = json.loads((source / "tokenizer.json").read_text("utf-8"))
    settings = json.loads((source / "tokenizer_config.json").read_text("utf-8"))
    added = {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    vocabulary = tokenizer["model"]["vocab"]
    beside = {text: i for text, i in added.items() if text not in vocabulary}
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    (root / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (root / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    (root / "added_tokens.json").write_text(json.dumps(beside), "utf-8")
    (root / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    (root / "config.json").write_text(json.dumps(config), "utf-8")
    return root


@pytest.mark.parametrize("name", ["gpt2", "qwen2.5"])
def test_vocab_json_and_merges_txt_alone(name: str, material: Path, tmp_path: Path) -> None:
    source = material / "tokenizers" / name
    whole, _ = vocabulary_fields(tokenizer_files(source, {}))
    apart, warning = vocabulary_fields(tokenizer_files(taken_apart(source, tmp_path / name)))
    assert warning is None
    assert dict(apart) == dict(whole)


def test_how_a_text_is_split_must_be_known(material: Path, tmp_path: Path) -> None:
    root = taken_apart(material / "tokenizers" / "gpt2", tmp_path / "x", model_type="gpt2")
    edit(root / "tokenizer_config.json", tokenizer_class="OtherTokenizer")
    fields, _ = vocabulary_fields(tokenizer_files(root))
    assert value(fields, "pre") == "gpt-2"
    edit(root / "config.json", model_type="other")
    with pytest.raises(UnsupportedError, match="do not say how") as caught:
        vocabulary_fields(tokenizer_files(root))
    assert "tokenizer.json of the original model" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("vocabulary", "merges"),
    [("[]", "a b"), ('{"a": "b"}', "a b"), ('{"a": -1}', ""), ('{"a": 0}', "a b c"), ("{", "")],
)
def test_vocabularies_that_make_no_sense(tmp_path: Path, vocabulary: str, merges: str) -> None:
    (tmp_path / "vocab.json").write_text(vocabulary)
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(BadFileError):
        vocabulary_fields(tokenizer_files(tmp_path, {"model_type": "gpt2"}))


def test_pieces_that_the_user_defined_keep_their_kind(tmp_path: Path) -> None:
    """As Yi's and MiniCPM's <td>: found in a text before it is cut into other pieces."""
    write_bpe_model(tmp_path / "tokenizer.model", user_defined=("<td>", "▁▁<x>"))
    fields, _ = vocabulary_fields(tokenizer_files(tmp_path))
    tokens, types = value(fields, "tokens"), value(fields, "token_type")
    defined = {t for t, kind in zip(tokens, types, strict=True) if kind == TokenType.USER_DEFINED}
    assert defined == {"<td>", "  <x>"}
