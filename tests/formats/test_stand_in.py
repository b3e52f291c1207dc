"""Files that are no model are called what they are."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from localq.cli.main import main
from localq.convert import open_checkpoint
from localq.errors import BadFileError, UnsupportedError
from localq.formats.gguf import Field, TensorLayout, ValueType, encode_header, read_gguf
from localq.formats.gguf_split import read_shards
from localq.formats.json_file import read_json_object
from localq.formats.safetensors import read_safetensors_header
from localq.formats.stand_in import piece
from localq.formats.torch_zip import read_torch_header
from localq.formats.types import TensorType
from localq.hub import choose_gguf, parse_spec
from localq.hub.source import Digest, DigestKind, RemoteFile
from localq.paths import Paths

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4081004224\n"
PAGE = b"<!doctype html>\n<html><head><title>Log in</title></head></html>"
FIELDS = {
    "general.architecture": Field(ValueType.STRING, "llama"),
    "split.count": Field(ValueType.UINT16, 2),
}


def whole(shard: int = 0) -> bytes:
    """One of two GGUF files of a model."""
    fields = FIELDS | {"split.no": Field(ValueType.UINT16, shard)}
    tensors = [TensorLayout(f"t{shard}", TensorType.F32, (10,), 0)]
    return encode_header(fields.items(), tensors) + bytes(40)


def big_endian() -> bytes:
    return b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(40)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (POINTER, "is a Git LFS pointer, which stands for a file of 4,081,004,224 bytes"),
        (PAGE, "is a web page"),
        (b"GGUF" + struct.pack("<III", 1, 0, 0) + bytes(40), r"is GGUF version 1 \(August 2023"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "is GGUF version 4, newer"),
        (b"GGUF" + struct.pack("<IQQ", 0, 0, 0), "claims GGUF version 0"),
        (big_endian(), "is a big-endian GGUF"),
        (b"tjgg" + bytes(40), "is a GGML file from before GGUF"),
        (bytes(1000), "begins with nothing but zeros"),
        (whole(0) + whole(1), "holds several GGUF files, one behind the other"),
        (whole(0).ljust(4096, b"\0") + whole(1), None),
    ],
)
def test_a_gguf_that_is_none(tmp_path: Path, content: bytes, says: str | None) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    if says is None:
        read_gguf(path)
        return
    with pytest.raises(BadFileError, match=rf"model\.gguf( \(byte \d+\))?: {says}") as caught:
        read_shards(path)
    assert caught.value.hint
    assert ("damaged" in caught.value.hint) == ("version 0" in says)


def test_several_files_behind_each_other_are_found_wherever_the_next_begins(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.gguf"
    first = whole(0)
    for padding in range(33):
        path.write_bytes(first + bytes(padding) + whole(1))
        if padding in (0, 24):  # at the last tensor's end, and at the next multiple of 32
            with pytest.raises(BadFileError, match="one behind the other"):
                read_gguf(path)


@pytest.mark.parametrize(
    ("name", "says", "command"),
    [
        ("m.gguf.part1of2", "is piece 1 of 2 of m.gguf", "cat m.gguf.part1of2 m.gguf.part2of2"),
        ("m.gguf.part2of2", "is piece 2 of 2 of m.gguf", "cat m.gguf.part1of2 m.gguf.part2of2"),
        ("m.gguf-split-a", "is a piece of m.gguf", "cat m.gguf-split-* > m.gguf"),
    ],
)
def test_pieces(
    home: Paths,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    says: str,
    command: str,
) -> None:
    data = whole()
    first = name.endswith(("1of2", "-a"))
    path = tmp_path / name
    path.write_bytes(data[: len(data) // 2] if first else data[len(data) // 2 :])
    with pytest.raises(BadFileError, match=says) as caught:
        read_gguf(path)
    assert command in str(caught.value.hint)
    for verb in (["import"], ["run", "-p", "x"], ["quantize", "q4_0"]):
        assert main([*verb, str(path)]) == 1
        assert says in capsys.readouterr().err


def test_what_is_no_piece() -> None:
    assert piece("model-00001-of-00002.gguf") is None
    assert piece("model.gguf") is None
    assert piece("one-split-two.gguf") is None


def test_a_repository_that_has_pieces_only() -> None:
    digest = Digest(DigestKind.SHA256, "0" * 64)
    names = ["big.i1-Q6_K.gguf.part1of2", "big.i1-Q6_K.gguf.part2of2", "big.i1-Q4_K_M.gguf"]
    files = [RemoteFile(name, 100, digest) for name in names]
    with pytest.raises(UnsupportedError, match="has Q6_K in pieces only") as caught:
        choose_gguf(parse_spec("org/big:Q6_K"), files)
    assert "cat big.i1-Q6_K.gguf.part1of2" in str(caught.value.hint)
    assert choose_gguf(parse_spec("org/big:Q4_K_M"), files).label == "Q4_K_M"


@pytest.mark.parametrize(("content", "says"), [(POINTER, "Git LFS pointer"), (PAGE, "web page")])
def test_other_files_of_a_checkpoint(tmp_path: Path, content: bytes, says: str) -> None:
    for name, read in (
        ("model.safetensors", read_safetensors_header),
        ("pytorch_model.bin", read_torch_header),
        ("tokenizer.json", read_json_object),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadFileError, match=rf"{name}: is a {says}"):
            read(tmp_path / name)
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(BadFileError, match=f"is a {says}"):
        open_checkpoint(tmp_path)
