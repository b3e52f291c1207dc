"""For the tests of importance matrices: the bundled model, dense and with experts, as GGUF files,
and what a matrix says in a few numbers."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

import localq
from localq.events import ignore
from localq.formats.gguf import Field, TensorLayout, ValueType, align, encode_header, read_gguf
from localq.formats.types import QuantType, TensorType
from localq.library import Library
from localq.paths import Paths
from localq.services.make.quantize import QuantizeRequest, quantize

__all__ = ["EXPERTS", "summarize", "write_dense", "write_experts"]

EXPERTS = 4
_USED = 2
_DEMO = Path(localq.__file__).parent / "demo" / "stories260K"


def write_dense(folder: Path) -> Path:
    """stories260K as F32."""
    output = folder / "dense.gguf"
    library = Library(Paths.from_environment({"LOCALQ_HOME": str(folder / "home")}))
    request = QuantizeRequest(QuantType.F32, model=str(_DEMO), output=output)
    quantize(library, request, ignore, threading.Event())
    return output


def write_experts(dense: Path) -> Path:
    """The same model with four experts, of which a token uses two: each is the original
    feed-forward part with its inner columns in another order. The router is made of embeddings,
    so that it really chooses."""
    source = read_gguf(dense)
    data = dense.read_bytes()

    def array(name: str) -> npt.NDArray[np.float32]:
        tensor = next(t for t in source.tensors if t.name == name)
        raw = data[tensor.offset : tensor.offset + tensor.nbytes]
        return np.frombuffer(raw, "<f4").reshape(tensor.shape[::-1])

    arrays: dict[str, npt.NDArray[np.float32]] = {}
    router = array("token_embd.weight")[300 : 300 + EXPERTS]
    for tensor in source.tensors:
        weight = array(tensor.name)
        if ".ffn_gate.weight" in tensor.name:
            arrays[tensor.name.replace("ffn_gate", "ffn_gate_inp")] = router
        if any(f".ffn_{part}.weight" in tensor.name for part in ("gate", "up", "down")):
            stacked = np.stack([np.roll(weight, 7 * e, axis=1) for e in range(EXPERTS)])
            arrays[tensor.name.replace(".weight", "_exps.weight")] = stacked
        else:
            arrays[tensor.name] = weight
    fields = dict(source.fields)
    fields["llama.expert_count"] = Field(ValueType.UINT32, EXPERTS)
    fields["llama.expert_used_count"] = Field(ValueType.UINT32, _USED)
    layouts: list[TensorLayout] = []
    body = bytearray()
    for name, weight in arrays.items():
        layouts.append(TensorLayout(name, TensorType.F32, weight.shape[::-1], len(body)))
        body += np.ascontiguousarray(weight, "<f4").tobytes()
        body += bytes(align(len(body)) - len(body))
    output = dense.with_name("experts.gguf")
    output.write_bytes(encode_header(fields.items(), layouts) + body)
    return output


def summarize(imatrix: Path) -> dict[str, list[float]]:
    """For each tensor of the file: the sum of its numbers, and that of each times its place."""
    file = read_gguf(imatrix)
    data = imatrix.read_bytes()
    summary: dict[str, list[float]] = {}
    for tensor in file.tensors:
        raw = data[tensor.offset : tensor.offset + tensor.nbytes]
        values = np.frombuffer(raw, "<f4").astype(np.float64)
        places = np.arange(1, values.size + 1)
        summary[tensor.name] = [float(f"{x:.9g}") for x in (values.sum(), (values * places).sum())]
    return summary
