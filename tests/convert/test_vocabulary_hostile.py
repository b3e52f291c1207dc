"""Damaged and malicious tokenizer files end in a LocalqError, soon, and never in anything else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localq.convert.vocabulary import pre_tokenizer
from localq.errors import BadFileError, LocalqError
from localq.formats.gguf import encode_header
from tests.sentencepiece_tokenizer import write_unigram_tokenizer
from tests.vocabulary_files import tokenizer_files, vocabulary_fields

_SECONDS = 10.0
"""Of processors, as clocks tell of the machine's other work too."""

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["BPE", "Unigram", "WordPiece", "Split", "Metaspace", "ByteLevel", "▁", "##"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


@contextmanager
def soon() -> Iterator[None]:
    start = process_time()
    with suppress(LocalqError):
        yield
    assert process_time() - start < _SECONDS


def convert(root: Path, config: dict[str, Any] | None = None) -> None:
    """Everything that localq does with a tokenizer, the bytes of the header included."""
    encode_header(vocabulary_fields(tokenizer_files(root, config))[0], [])


@pytest.fixture(scope="module")
def folders(material: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small tokenizer of every kind: the large ones, cut down to their first tokens."""
    root = tmp_path_factory.mktemp("tokenizers")
    folders = {kind: root / kind for kind in ("bytes", "sentencepiece", "json", "words", "unigram")}
    for folder in folders.values():
        folder.mkdir()
    copy(material / "models" / "tiny-wiki-llama", folders["bytes"])
    copy(material / "models" / "stories260K-hf", folders["sentencepiece"])
    copy(material / "tokenizers" / "phi3", folders["json"])
    copy(material / "tokenizers" / "bert", folders["words"])
    write_unigram_tokenizer(folders["unigram"], material / "corpora" / "tinyshakespeare.txt")
    for kind in ("bytes", "json", "words"):
        cut_down(folders[kind] / "tokenizer.json")
    for folder in folders.values():
        convert(folder, {})
    return folders


def copy(source: Path, target: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model"):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def cut_down(path: Path) -> None:
    described = json.loads(path.read_text("utf-8"))
    model = described["model"]
    model["vocab"] = {text: i for text, i in model["vocab"].items() if i < 400}
    if "merges" in model:
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        known = model["vocab"]
        model["merges"] = [pair for pair in pairs if {*pair, "".join(pair)} <= known.keys()]
    described["added_tokens"] = [token for token in described["added_tokens"] if token["id"] < 400]
    path.write_text(json.dumps(described), "utf-8")
    config = path.with_name("tokenizer_config.json")
    fields = json.loads(config.read_text("utf-8"))
    fields["added_tokens_decoder"] = {
        i: token for i, token in fields.get("added_tokens_decoder", {}).items() if int(i) < 400
    }
    config.write_text(json.dumps(fields), "utf-8")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON document, of long lists and objects only the first few."""
    yield path
    if isinstance(value, dict):
        for key in list(value)[:40]:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(min(len(value), 4)):
            yield from places(value[i], (*path, i))


def damage(draw: st.DataObject, document: Any) -> Any:
    """The document with some of its values replaced, taken out or doubled."""
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.sampled_from(sorted(places(document), key=repr)))
        if not place:
            return draw.draw(values)
        parent = document
        for key in place[:-1]:
            parent = parent[key]
        match draw.draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "replace":
                parent[place[-1]] = draw.draw(values)
            case "remove":
                del parent[place[-1]]
            case "add" if isinstance(parent, dict):
                parent[draw.draw(st.text(max_size=8))] = parent[place[-1]]
            case _:
                parent.append(draw.draw(values))
    return document


fuzz = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("kind", ["bytes", "json", "words", "unigram"])
@fuzz
@given(draw=st.data())
def test_damaged_tokenizer_json(
    kind: str, folders: dict[str, Path], tmp_path: Path, draw: st.DataObject
) -> None:
    copy(folders[kind], tmp_path)
    path = tmp_path / "tokenizer.json"
    document = damage(draw, json.loads(path.read_text("utf-8")))
    path.write_text(json.dumps(document), "utf-8")
    with soon():
        convert(tmp_path, draw.draw(st.just({}) | st.fixed_dictionaries({"vocab_size": values})))


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece", "json", "words", "unigram"])
@fuzz
@given(draw=st.data())
def test_damaged_config_and_added_tokens(
    kind: str, folders: dict[str, Path], tmp_path: Path, draw: st.DataObject
) -> None:
    copy(folders[kind], tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(damage(draw, json.loads(path.read_text("utf-8")))), "utf-8")
    added = draw.draw(st.dictionaries(st.text(max_size=4), values, max_size=3) | values)
    (tmp_path / "added_tokens.json").write_text(json.dumps(added), "utf-8")
    config = draw.draw(
        st.dictionaries(st.sampled_from(["bos_token_id", "eos_token_id", "text_config"]), values)
    )
    with soon():
        convert(tmp_path, config)


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece", "json", "words", "unigram"])
@fuzz
@given(draw=st.data())
def test_damaged_bytes(
    kind: str, folders: dict[str, Path], tmp_path: Path, draw: st.DataObject
) -> None:
    copy(folders[kind], tmp_path)
    name = draw.draw(st.sampled_from(sorted(path.name for path in tmp_path.iterdir())))
    data = bytearray((tmp_path / name).read_bytes())
    for _ in range(draw.draw(st.integers(1, 4))):
        place = draw.draw(st.integers(0, len(data)))
        data[place : place + draw.draw(st.integers(0, 8))] = draw.draw(st.binary(max_size=8))
    (tmp_path / name).write_bytes(data[: draw.draw(st.integers(0, len(data)) | st.none())])
    with soon():
        convert(tmp_path, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"model": {"type": "BPE", "vocab": {}, "merges": []}}',
        '{"model": null}',
        '{"model": {"type": "Unigram", "vocab": [["a", 1e999]], "unk_id": 5}}',
        '{"model": {"type": "WordPiece"}}',
        '{"normalizer":' * 5000,
        '{"pre_tokenizer":' + '{"type":"Sequence","pretokenizers":[' * 300 + "]}" * 300 + "}",
        '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 4294967295}, "merges": []}}',
    ],
)
def test_nonsense(text: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with soon():
        convert(tmp_path, {})


def test_an_endless_normalizer_nest_beside_tokenizer_model(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    copy(folders["sentencepiece"], tmp_path)
    nest = '{"type":"Sequence","normalizers":[' * 400 + "]}" * 400
    (tmp_path / "tokenizer.json").write_text('{"normalizer":' + nest + "}")
    with soon():
        convert(tmp_path, {})


def test_a_charsmap_that_lies_about_its_length(folders: dict[str, Path], tmp_path: Path) -> None:
    copy(folders["unigram"], tmp_path)
    path = tmp_path / "tokenizer.json"
    document = json.loads(path.read_text("utf-8"))
    document["normalizer"]["normalizers"][0]["precompiled_charsmap"] = "/////w=="
    path.write_text(json.dumps(document))
    with pytest.raises(BadFileError, match=r"tokenizer\.json: "):
        convert(tmp_path, {})


@pytest.mark.parametrize("regex", [r"(a+)+$", r"(\s+)+$", r"(?=(a+)+b)(\w+)\2c", "(", r"\p{Nope}"])
def test_regular_expressions_that_explode(
    regex: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pre_tokenizer, "_PROBE_SECONDS", 1.0)
    copy(folders["bytes"], tmp_path)
    path = tmp_path / "tokenizer.json"
    document = json.loads(path.read_text("utf-8"))
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    document["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [split, document["pre_tokenizer"]],
    }
    path.write_text(json.dumps(document))
    with soon():
        convert(tmp_path, {})


@pytest.mark.parametrize("part", ["pre_tokenizer", "normalizer", "post_processor", "decoder"])
@pytest.mark.parametrize("kind", [[], {}, None, 7, "Nonsense"])
def test_steps_of_no_known_type(
    part: str, kind: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    copy(folders["bytes"], tmp_path)
    path = tmp_path / "tokenizer.json"
    document = json.loads(path.read_text("utf-8")) | {part: {"type": kind}}
    path.write_text(json.dumps(document))
    with pytest.raises(BadFileError, match=r"tokenizer\.json: not a usable tokenizer"):
        convert(tmp_path, {})


def test_a_piece_of_tokenizer_model_that_is_no_text(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    copy(folders["sentencepiece"], tmp_path)
    path = tmp_path / "tokenizer.model"
    path.write_bytes(path.read_bytes().replace(b"<unk>", b"<\x80nk>"))
    with pytest.raises(BadFileError, match=r"tokenizer\.model: "):
        convert(tmp_path, {})
