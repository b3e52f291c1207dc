"""Headers by range from a Hub on the loopback interface: as from the file, in few bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localq.errors import BadFileError, Cancelled, HubError
from localq.events import ignore
from localq.formats.gguf import Field, TensorLayout, ValueType, encode_header, read_gguf
from localq.formats.safetensors import read_safetensors_header
from localq.formats.types import TensorType
from localq.hub.backoff import Backoff, RetryPolicy
from localq.hub.headers import (
    RemoteGGUF,
    RemoteHeader,
    fetch_range,
    read_remote_gguf,
    read_remote_headers,
)
from localq.hub.repository import HubSource
from localq.hub.spec import parse_spec
from localq.paths import Paths
from tests.checkpoints import RawTensor, write_safetensors
from tests.hub_server import Cut, HubServer, Refuse, Slow, only_this_hub
from tests.streams import eventually

FIRST = 128 << 10
POLICY = RetryPolicy(first_delay=0.01)


@pytest.fixture
def hub(home: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server, only_this_hub(monkeypatch, server.url, tmp_path / "hf"):
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    return folder


def resolve(hub: HubServer, folder: Path) -> HubSource:
    hub.add_repo("org/name", folder)
    cancel = threading.Event()
    return HubSource.resolve(parse_spec("org/name"), emit=ignore, cancel=cancel)


def headers(hub: HubServer, folder: Path) -> list[RemoteHeader]:
    source = resolve(hub, folder)
    cancel = threading.Event()
    return read_remote_headers(source, source.files, emit=ignore, cancel=cancel, policy=POLICY)


def gguf_header(hub: HubServer, folder: Path) -> RemoteGGUF:
    source = resolve(hub, folder)
    cancel = threading.Event()
    return read_remote_gguf(source, source.files[0], emit=ignore, cancel=cancel, policy=POLICY)


def sent(hub: HubServer, path: str, count: int) -> bool:
    return eventually(lambda: hub.sent[path] == count)


def write_shard(path: Path, count: int, *, nbytes: int = 400_000) -> None:
    """A shard of `count` tensors, all small but the first."""
    first: RawTensor = ("I8", (nbytes,), bytes(nbytes))
    rest: RawTensor = ("I8", (16,), bytes(16))
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(count)]
    write_safetensors(path, {name: rest if i else first for i, name in enumerate(names)})


def test_a_header_is_that_of_the_file(hub: HubServer, folder: Path) -> None:
    write_shard(folder / "a.safetensors", 5)
    write_shard(folder / "b.safetensors", 50)
    found = headers(hub, folder)
    for header, path in zip(found, sorted(folder.iterdir()), strict=True):
        assert header.tensors == read_safetensors_header(path)
        assert path.read_bytes().startswith(header.beginning)
        assert len(header.beginning) == header.tensors[0].offset
        assert header.fetched_bytes == FIRST
        assert sent(hub, path.name, FIRST)


def test_a_long_header_takes_what_it_takes(hub: HubServer, folder: Path) -> None:
    write_shard(folder / "a.safetensors", 3000)
    (header,) = headers(hub, folder)
    assert header.tensors == read_safetensors_header(folder / "a.safetensors")
    assert FIRST < len(header.beginning) <= header.fetched_bytes < 2 * len(header.beginning)
    assert sent(hub, "a.safetensors", header.fetched_bytes)


def test_a_small_file_is_fetched_whole(hub: HubServer, folder: Path) -> None:
    write_shard(folder / "a.safetensors", 2, nbytes=100)
    (header,) = headers(hub, folder)
    assert header.fetched_bytes == (folder / "a.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors file"),
        (b"1234", "not a safetensors file"),
        ((1 << 40).to_bytes(8, "little") + b"{" * 200_000, "the header claims 1,099,511,627,776"),
        ((99).to_bytes(8, "little") + b"{" * 200, "not valid JSON"),
    ],
)
def test_a_header_that_lies(hub: HubServer, folder: Path, content: bytes, message: str) -> None:
    (folder / "a.safetensors").write_bytes(content)
    with pytest.raises(BadFileError, match=message) as caught:
        headers(hub, folder)
    assert "org/name" in caught.value.message
    assert hub.sent["a.safetensors"] <= FIRST


@pytest.mark.parametrize("ignores_ranges", [False, True])
def test_what_breaks_is_tried_again(hub: HubServer, folder: Path, ignores_ranges: bool) -> None:
    hub.ignores_ranges = ignores_ranges
    write_shard(folder / "a.safetensors", 3000)
    hub.faults += [Refuse("a.safetensors"), Cut("a.safetensors", times=2, after=90_000)]
    (header,) = headers(hub, folder)
    assert header.tensors == read_safetensors_header(folder / "a.safetensors")


def test_a_server_that_stays_broken(hub: HubServer, folder: Path) -> None:
    write_shard(folder / "a.safetensors", 5)
    hub.faults.append(Refuse("a.safetensors", times=99))
    with pytest.raises(HubError, match="503"):
        headers(hub, folder)


def test_cancelled(hub: HubServer, folder: Path) -> None:
    write_shard(folder / "a.safetensors", 5)
    source = resolve(hub, folder)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        read_remote_headers(source, source.files, emit=ignore, cancel=cancel)


def test_a_range_of_a_file(hub: HubServer, folder: Path) -> None:
    content = bytes(range(256)) * 1000
    (folder / "a.bin").write_bytes(content)
    source = resolve(hub, folder)
    backoff = Backoff(POLICY, threading.Event(), ignore)
    for ignores_ranges in (False, True):
        hub.ignores_ranges = ignores_ranges
        for start, end in ((0, 1), (5, 70_000), (100_000, 256_000)):
            assert fetch_range(source, source.files[0], start, end, backoff) == content[start:end]


def write_gguf(path: Path, tokens: int) -> None:
    fields = {
        "general.architecture": Field(ValueType.STRING, "llama"),
        "tokenizer.ggml.tokens": Field(
            ValueType.ARRAY, [f"token number {i}" for i in range(tokens)], ValueType.STRING
        ),
    }
    tensors = [TensorLayout("token_embd.weight", TensorType.F32, (64, 5000), 0)]
    path.write_bytes(encode_header(fields.items(), tensors) + bytes(4 * 64 * 5000))


@pytest.mark.parametrize("tokens", [3, 50_000])
def test_a_gguf_header(hub: HubServer, folder: Path, tokens: int) -> None:
    path = folder / "a.gguf"
    write_gguf(path, tokens)
    found = gguf_header(hub, folder)
    expected = read_gguf(path)
    assert (found.file.fields, found.file.tensors) == (expected.fields, expected.tensors)
    assert found.file.size_bytes == expected.size_bytes
    assert str(found.file.path) == str(Path("org/name/a.gguf"))
    assert sent(hub, "a.gguf", found.fetched_bytes)
    header = expected.tensors[0].offset
    assert found.fetched_bytes <= max(FIRST, 2 * header)


@pytest.mark.parametrize("content", [b"", b"GGML" + bytes(100), b"GGUF\x03\0\0\0" + b"\xff" * 99])
def test_no_gguf(hub: HubServer, folder: Path, content: bytes) -> None:
    (folder / "a.gguf").write_bytes(content)
    with pytest.raises(BadFileError):
        gguf_header(hub, folder)


def test_a_gguf_header_without_end(
    hub: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strings, each of which may be: reading stops at what no header needs."""
    monkeypatch.setattr("localq.hub.headers._MAX_BYTES", 1 << 20)
    length, string_type = (600_000).to_bytes(8, "little"), (8).to_bytes(4, "little")
    key = (1).to_bytes(8, "little") + b"k"
    counts = (1).to_bytes(8, "little") + (3).to_bytes(8, "little")
    strings = (key + string_type + length + bytes(600_000)) * 3
    content = b"GGUF" + (3).to_bytes(4, "little") + counts + strings
    (folder / "a.gguf").write_bytes(content)
    with pytest.raises(BadFileError, match=r"longer than 1\.0 MB"):
        gguf_header(hub, folder)
    assert hub.sent["a.gguf"] <= 1 << 21


class _SetLater(threading.Event):
    """Found to be set at the second look."""

    def __init__(self) -> None:
        super().__init__()
        self._looks = 0

    def is_set(self) -> bool:
        self._looks += 1
        return self._looks > 1


def test_a_slow_header_can_be_cancelled(hub: HubServer, folder: Path) -> None:
    """At the server's speed it would take a day."""
    write_shard(folder / "model.safetensors", 2)
    source = resolve(hub, folder)
    hub.faults.append(Slow("model.safetensors", bytes_per_second=1))
    with pytest.raises(Cancelled):
        fetch_range(source, source.files[0], 0, 100_000, Backoff(POLICY, _SetLater(), ignore))
