"""Which files of a repository are fetched."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from localq.errors import HubError, NotFoundError, UnsupportedError
from localq.hub import Digest, RemoteFile, Weights, choose_checkpoint, choose_gguf, gguf_quants
from localq.hub.source import DigestKind
from localq.hub.spec import ModelSpec

NEEDED = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]


def remote(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, 10, Digest(DigestKind.SHA256, "0" * 64)) for path in paths]


def checkpoint(*paths: str) -> list[str]:
    return [file.path for file in choose_checkpoint("org/name", remote(*paths)).files]


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
    with pytest.raises(HubError, match="only some of the 3 parts"):
        checkpoint("model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors")


def test_without_weights_says_what_to_pull_instead() -> None:
    with pytest.raises(UnsupportedError) as caught:
        checkpoint("README.md", "name-Q4_K_M.gguf", "name.Q8_0.gguf", "mmproj-F16.gguf")
    assert caught.value.hint == "localq pull org/name:Q4_K_M"
    with pytest.raises(UnsupportedError, match=r"no \*\.safetensors"):
        checkpoint("README.md")


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
