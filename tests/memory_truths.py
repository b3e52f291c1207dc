"""What llama.cpp took for models of many shapes, from `tests/data/memory/<model>.json`.

Those files hold a model's header, without its vocabulary, and llama.cpp's own numbers for it in
many settings; `tests/reference/make_memory.py` made them. No weight exists here: llama.cpp can
lay out a model without allocating it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

from localq.formats.gguf import Field, GGUFFile, TensorLayout, ValueType, align, encode_header
from localq.formats.types import TensorType
from localq.planning.kv_cache import CacheSettings
from localq.planning.model_shape import ModelShape, TensorSpec, read_shape
from tests.mixtures import fold, unfold

__all__ = [
    "TRUTHS",
    "Header",
    "Placed",
    "Setting",
    "Truth",
    "measure",
    "read_truths",
    "write_hollow",
]

TRUTHS = Path(__file__).parent / "data" / "memory"


@dataclass(frozen=True)
class Header:
    """A GGUF's architecture and tensors; the vocabulary is only counted."""

    fields: Mapping[str, Field]
    tensors: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, file: GGUFFile) -> Header:
        kept = {
            key: field
            for key, field in file.fields.items()
            if key == "general.architecture" or key.startswith(f"{file.architecture}.")
        }
        vocabulary = next(t.shape[-1] for t in file.tensors if t.name == "token_embd.weight")
        kept[f"{file.architecture}.vocab_size"] = Field(ValueType.UINT32, vocabulary)
        kept["tokenizer.ggml.model"] = Field(ValueType.STRING, "none")
        return cls(kept, tuple(TensorSpec(t.name, t.type, t.shape) for t in file.tensors))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Header:
        fields = {
            key: Field(ValueType[type_], value, ValueType[item] if item else None)
            for key, (type_, value, item) in data["metadata"].items()
        }
        tensors = tuple(
            TensorSpec(name, TensorType.from_id(type_) or type_, tuple(shape))
            for name, (type_, *shape) in unfold(data["tensors"]).items()
        )
        return cls(fields, tensors)

    def to_json(self) -> dict[str, Any]:
        return {
            "metadata": {
                key: [f.type.name, f.value, f.item_type.name if f.item_type else None]
                for key, f in self.fields.items()
            },
            "tensors": fold({t.name: (_type_id(t), *t.shape) for t in self.tensors}),
        }

    @property
    def shape(self) -> ModelShape:
        return read_shape({key: field.value for key, field in self.fields.items()}, self.tensors)


@dataclass(frozen=True)
class Setting:
    """How a context was made; keys are kept as `kv`, and so are values but where `values` says
    otherwise."""

    n_ctx: int
    n_ubatch: int
    kv: str = "f16"
    flash: bool = True
    n_seq: int = 1
    n_outputs: int = 1
    """0: of all tokens of a batch."""
    values: str = ""

    @property
    def cache(self) -> CacheSettings:
        keys, values = (TensorType.parse(name) for name in (self.kv, self.values or self.kv))
        return CacheSettings(self.n_ctx, self.n_ubatch, self.n_seq, keys, values, self.flash)

    @property
    def outputs(self) -> int:
        return self.n_outputs or min(self.n_ubatch, self.n_ctx)


@dataclass(frozen=True)
class Truth:
    """Bytes, by llama.cpp's report to within 0.01 MiB."""

    setting: Setting
    cache: int
    compute: int


@dataclass(frozen=True)
class Placed:
    """Bytes of weights, cache and compute on the host and on each device, measured through
    llama.cpp's RPC backend with as many servers as there are `layers`."""

    setting: Setting
    layers: tuple[int, ...]
    n_cpu_moe: int
    memory: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Record:
    name: str
    header: Header
    weights: int
    truths: tuple[Truth, ...]
    placed: tuple[Placed, ...]


def read_truths(path: Path) -> Record:
    data = json.loads(path.read_text(encoding="utf-8"))
    truths = tuple(
        Truth(Setting(*setting), cache, compute) for *setting, cache, compute in data["truths"]
    )
    placed = tuple(
        Placed(
            Setting(**entry["setting"]),
            tuple(entry["layers"]),
            entry["n_cpu_moe"],
            tuple((w, k, c) for w, k, c in entry["memory"]),
        )
        for entry in data.get("placed", [])
    )
    return Record(data["model"], Header.from_json(data), data["weights"], truths, placed)


def write_hollow(header: Header, path: Path) -> None:
    """A GGUF of which all but the header is a hole: it takes no room on the disk."""
    layouts = []
    end = 0
    for tensor in header.tensors:
        assert isinstance(tensor.type, TensorType)
        layouts.append(TensorLayout(tensor.name, tensor.type, tensor.shape, end))
        end = align(end + tensor.type.row_bytes(tensor.shape[0]) * prod(tensor.shape[1:]))
    with path.open("wb") as file:
        start = file.write(encode_header(header.fields.items(), layouts))
        file.truncate(start + end)


def measure(path: Path, settings: Iterable[Setting]) -> tuple[int, list[Truth]]:
    """The bytes of weights, and the truth for each setting the engine takes: it may refuse some,
    and end its process over others."""
    wanted: Sequence[Setting] = [*settings]
    done = subprocess.run(
        [sys.executable, "-m", "tests.memory_probe", str(path)],
        input="".join(json.dumps(asdict(setting)) + "\n" for setting in wanted),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    weights, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    truths = [
        Truth(wanted[line["index"]], line["cache"], line["compute"])
        for line in lines
        if "cache" in line
    ]
    return weights["weights"], truths


def _type_id(tensor: TensorSpec) -> int:
    return tensor.type.ggml_id if isinstance(tensor.type, TensorType) else tensor.type
