"""Which files of a repository are fetched."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from localq.errors import HubError, NotFoundError, UnsupportedError, UsageError
from localq.hub import (
    Digest,
    RemoteFile,
    Selection,
    Weights,
    choose_checkpoint,
    choose_gguf,
    choose_mmproj,
    gguf_quants,
)
from localq.hub.source import DigestKind
from localq.hub.spec import ModelSpec

NEEDED = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]


def remote(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, 10, Digest(DigestKind.SHA256, "0" * 64)) for path in paths]


def checkpoint(*paths: str, selection: Selection | None = None) -> list[str]:
    return [file.path for file in choose_checkpoint("org/name", remote(*paths), selection).files]


def gguf(quant: str, paths: Sequence[str]) -> list[str]:
    spec = ModelSpec("org/name", quant=quant)
    return [file.path for file in choose_gguf(spec, remote(*paths)).files]


def test_takes_what_a_checkpoint_needs_and_no_second_format() -> None:
    unwanted = [
        ".gitattributes",
        "flax_model.msgpack",
        "model.onnx",
        "name-Q4_0.gguf",
        "onnx/model.safetensors",
        "original/consolidated.00.pth",
        "pytorch_model.bin",
        "runs/events.out.tfevents.1",
        "tf_model.h5",
    ]
    wanted = [*NEEDED, "LICENSE", "README.md", "chat_template.jinja", "merges.txt", "vocab.json"]
    chosen = checkpoint("model.safetensors", *unwanted, *wanted)
    assert chosen == [*sorted(wanted), "model.safetensors"]


def test_shards_come_with_their_index_after_the_small_files() -> None:
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = "model.safetensors.index.json"
    assert checkpoint(*reversed(shards), index, "config.json") == ["config.json", index, *shards]


def test_one_file_is_preferred_to_shards_and_to_consolidated() -> None:
    assert checkpoint(
        "consolidated.safetensors",
        "model.safetensors",
        "model-00001-of-00001.safetensors",
        "adapter_model.safetensors",
    ) == ["model.safetensors"]


def test_pickles_only_where_there_is_nothing_else() -> None:
    chosen = choose_checkpoint("org/name", remote("pytorch_model.bin", "config.json"))
    assert chosen.weights is Weights.PYTORCH
    assert [file.path for file in chosen.files] == ["config.json", "pytorch_model.bin"]
    assert chosen.size_bytes == 20


def test_a_missing_shard_is_noticed_before_anything_is_fetched() -> None:
    with pytest.raises(HubError, match="1 of the 3 parts of model are missing"):
        checkpoint("model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors")


def test_without_weights_says_what_to_pull_instead() -> None:
    with pytest.raises(UnsupportedError) as caught:
        checkpoint("README.md", "name-Q4_K_M.gguf", "name.Q8_0.gguf", "mmproj-F16.gguf")
    assert caught.value.hint == "localq pull org/name:Q4_K_M"
    with pytest.raises(UnsupportedError, match=r"no \*\.safetensors"):
        checkpoint("README.md")


def test_an_adapter_is_called_one() -> None:
    files = remote("adapter_config.json", "adapter_model.safetensors", "README.md")
    with pytest.raises(UnsupportedError, match="is an adapter for org/base, not a model"):
        choose_checkpoint(
            "org/name", files, read_index=lambda file: {"base_model_name_or_path": "org/base"}
        )


@pytest.mark.parametrize("path", ["../model.safetensors", "/model.safetensors", "..\\config.json"])
def test_hostile_paths_are_chosen_so_that_they_get_refused(path: str) -> None:
    assert path in checkpoint("model-x.safetensors", path)


GGUF_FILES = [
    "name-IQ4_XS.gguf",
    "name-Q4_0.gguf",
    "name-Q4_K_M.gguf",
    "name-Q4_K_S.gguf",
    "name-UD-IQ2_M.gguf",
    "name-IQ2_M.gguf",
    "Q8_0/name-Q8_0-00002-of-00002.gguf",
    "Q8_0/name-Q8_0-00001-of-00002.gguf",
    "mmproj-name-Q4_0.gguf",
    "name.imatrix.gguf",
]


@pytest.mark.parametrize(
    ("quant", "expected"),
    [
        ("Q4_0", ["name-Q4_0.gguf"]),
        ("Q4_K_M", ["name-Q4_K_M.gguf"]),
        ("IQ2_M", ["name-IQ2_M.gguf"]),
        ("UD-IQ2_M", ["name-UD-IQ2_M.gguf"]),
        (
            "Q8_0",
            ["Q8_0/name-Q8_0-00001-of-00002.gguf", "Q8_0/name-Q8_0-00002-of-00002.gguf"],
        ),
    ],
)
def test_finds_the_gguf_of_a_quantization(quant: str, expected: list[str]) -> None:
    assert gguf(quant, GGUF_FILES) == expected


@pytest.mark.parametrize("quant", ["Q4_K", "Q4", "Q4_XS", "Q5_K_M"])
def test_half_a_quantization_is_none(quant: str) -> None:
    with pytest.raises(NotFoundError, match="it has IQ2_M, IQ4_XS, Q4_0") as caught:
        gguf(quant, GGUF_FILES)
    assert caught.value.hint == "localq pull org/name:Q4_K_M"


def test_without_ggufs_the_hint_is_to_make_one() -> None:
    with pytest.raises(NotFoundError) as caught:
        gguf("Q4_0", ["model.safetensors"])
    assert caught.value.hint == "localq pull org/name, then: localq quantize q4_0"


def test_names_the_quantizations_there_are() -> None:
    assert gguf_quants(remote(*GGUF_FILES, "x.f16.gguf", "y-mxfp4.gguf", "no.txt")) == [
        "F16",
        "IQ2_M",
        "IQ4_XS",
        "MXFP4",
        "Q4_0",
        "Q4_K_M",
        "Q4_K_S",
        "Q8_0",
        "UD-IQ2_M",
    ]


def by_file(file: str, *paths: str) -> tuple[str, list[str]]:
    chosen = choose_gguf(ModelSpec("org/name", file=file), remote(*paths))
    return chosen.label, [shard.path for shard in chosen.files]


@pytest.mark.parametrize(
    ("file", "label"),
    [
        ("name-Q4_K_M.gguf", "Q4_K_M"),
        ("name-UD-IQ2_M.gguf", "UD-IQ2_M"),
        ("name-Q4_0.gguf", "Q4_0"),
    ],
)
def test_a_file_is_called_by_its_quantization(file: str, label: str) -> None:
    assert by_file(file, *GGUF_FILES) == (label, [file])


def test_a_part_of_a_split_model_means_all_of_it() -> None:
    shards = [f"Q8_0/name-Q8_0-0000{n}-of-00002.gguf" for n in (1, 2)]
    assert by_file(shards[1], *GGUF_FILES) == ("Q8_0", shards)
    with pytest.raises(HubError, match="only some of the 2 parts"):
        by_file(shards[0], shards[0])


@pytest.mark.parametrize(
    ("file", "label"),
    [
        ("name.gguf", "name"),
        ("long/name-of-another-Q4_0.gguf", "name-of-another-Q4_0"),
        ("a/model.gguf", "a-model"),
        ("b/model.gguf", "b-model"),
    ],
)
def test_a_file_without_a_quantization_of_its_own_is_called_as_it_is(file: str, label: str) -> None:
    others = ["name.gguf", "long/name-of-another-Q4_0.gguf", "a/model.gguf", "b/model.gguf"]
    assert by_file(file, "name-Q4_0.gguf", *others) == (label, [file])


@pytest.mark.parametrize("file", ["no.gguf", "mmproj-name-Q4_0.gguf", "Q4_0.gguf"])
def test_a_file_that_is_not_there_or_no_model(file: str) -> None:
    with pytest.raises((NotFoundError, UsageError)) as caught:
        by_file(file, *GGUF_FILES)
    assert str(caught.value.hint).startswith("localq pull org/name:Q4_K_M")


@pytest.mark.parametrize(
    ("paths", "expected", "type_"),
    [
        (["mmproj-x-Q8_0.gguf", "mmproj-x-f16.gguf", "mmproj-x-bf16.gguf"], 1, "F16"),
        (["mmproj-BF16.gguf", "mmproj-F32.gguf"], 0, "BF16"),
        (["x.mmproj-Q8_0.gguf", "mmproj-F32.gguf"], 1, "F32"),
        (["mmproj-Q5_K_M.gguf", "deep/mmproj-Q8_0.gguf"], 1, "Q8_0"),
        (["sub/mmproj-F16.gguf", "mmproj-F16.gguf"], 1, "F16"),
        (["mmproj-model.gguf"], 0, ""),
    ],
)
def test_the_best_picture_encoder_is_half_precision(
    paths: list[str], expected: int, type_: str
) -> None:
    chosen = choose_mmproj("org/name", remote("x-F16.gguf", "mmproj.txt", *paths))
    assert (chosen.file.path, chosen.type, chosen.of) == (paths[expected], type_, len(paths))


def test_without_a_picture_encoder_says_so() -> None:
    with pytest.raises(NotFoundError, match="no picture encoder"):
        choose_mmproj("org/name", remote("name-Q4_0.gguf"))


EMBEDDER = [
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "2_Dense/model.safetensors",
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "model.safetensors",
]


def test_an_embedder_comes_with_its_modules() -> None:
    unwanted = ["2_Dense/pytorch_model.bin", "onnx/config.json", "openvino/1_Pooling/config.json"]
    assert set(checkpoint(*EMBEDDER, *unwanted)) == set(EMBEDDER)
    without = [path for path in EMBEDDER if path != "2_Dense/model.safetensors"]
    assert "2_Dense/pytorch_model.bin" in checkpoint(*without, *unwanted)
    assert checkpoint("model.safetensors", "1_Pooling/config.json") == ["model.safetensors"]


ALL = [
    ".gitattributes",
    "README.md",
    "config.json",
    "flax_model.msgpack",
    "model.safetensors",
    "name-Q4_0.gguf",
    "onnx/model.onnx",
    "onnx/quantized/model.onnx",
    "pytorch_model.bin",
]


@pytest.mark.parametrize(
    ("selection", "more", "less"),
    [
        (Selection(), [], []),
        (Selection(include=("onnx/*",)), ["onnx/model.onnx", "onnx/quantized/model.onnx"], []),
        (Selection(include=("onnx/",), exclude=("*/quantized/*",)), ["onnx/model.onnx"], []),
        (
            Selection(include=("*.msgpack", "*.bin")),
            ["flax_model.msgpack", "pytorch_model.bin"],
            [],
        ),
        (Selection(exclude=("*.md",)), [], ["README.md"]),
        (
            Selection(everything=True, exclude=("onnx/",)),
            [".gitattributes", "flax_model.msgpack", "pytorch_model.bin"],
            [],
        ),
    ],
)
def test_the_user_may_want_more_or_less(
    selection: Selection, more: list[str], less: list[str]
) -> None:
    needed = {"README.md", "config.json", "model.safetensors"}
    chosen = checkpoint(*ALL, selection=selection)
    assert set(chosen) == (needed | set(more)) - set(less)
    assert chosen[-1] == "model.safetensors"
    assert len(chosen) == len(set(chosen))


@pytest.mark.parametrize("pattern", ["*.safetensors", "config.json", "*"])
def test_what_no_model_can_do_without_cannot_be_left_out(pattern: str) -> None:
    with pytest.raises(UsageError, match="no model without"):
        checkpoint(*ALL, selection=Selection(exclude=(pattern,)))


def test_a_pattern_that_matches_nothing_is_said() -> None:
    with pytest.raises(UsageError, match=r"no more files that match \*\.onnxx") as caught:
        checkpoint(*ALL, selection=Selection(include=("*.onnxx",)))
    assert "--dry-run" in str(caught.value.hint)


def test_a_second_set_of_weights_is_never_part_of_a_model() -> None:
    others = ["model-00001-of-00001.safetensors", "model.fp16.safetensors", "Model.safetensors"]
    everything = Selection(include=("*.safetensors",), everything=True)
    chosen = checkpoint(*ALL, *others, "consolidated.safetensors", selection=everything)
    assert [path for path in chosen if path.endswith(".safetensors")] == [
        "consolidated.safetensors",
        "model.safetensors",
    ]
