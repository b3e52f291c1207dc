"""What a model multiplies its weights with, summed up while it reads.

For every weight matrix of a layer the squares of its inputs are summed up column by column, in the
order and precision of llama-imatrix (llama.cpp `tools/imatrix/imatrix.cpp`), so that the sums are
the same to the last bit. Importing this imports numpy: the engine's process does so when asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from localq.engine.ggml import Ggml, GgmlTensor, UnknownLayout
from localq.engine.llama_context import LlamaContext
from localq.engine.llama_model import LlamaError

__all__ = ["ActivationSums", "Observation", "ObservationError", "Observer", "load_sums"]

Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]

_F32, _I32 = 0, 26
_LEAST_ROWS = 16
"""Smaller products are not of the text: they belong to attention and the like."""


class ObservationError(LlamaError):
    """What the model computes cannot be summed up; the message says why."""


@dataclass(frozen=True, slots=True)
class ActivationSums:
    """Of one weight tensor. `values` are the sums of squares, matrices (experts) one after the
    other; `counts` the number of rows in each, or in all together where every row meets all."""

    values: Floats
    counts: Counts


@dataclass(slots=True)
class Observer:
    """llama.cpp's evaluation callback: sees every matrix product of a computation.

    Exceptions cannot pass through C: the first one is kept in `error`, and ends the computation.
    """

    ggml: Ggml
    sums: dict[str, ActivationSums] = field(default_factory=dict)
    error: Exception | None = None

    def __call__(self, address: int, ask: bool, _: object) -> bool:
        if self.error is not None:
            return False
        try:
            tensor = GgmlTensor.from_address(address)
            if ask:
                return self.wants(tensor)
            self.add(tensor)
        except Exception as error:
            self.error = error
            return False
        return True

    def wants(self, product: GgmlTensor) -> bool:
        """Whether the product's inputs are to be summed up."""
        if product.op == self.ggml.MUL_MAT_ID:
            return True
        if product.op != self.ggml.MUL_MAT:
            return False
        inputs = product.src[1].contents
        if inputs.ne[1] < _LEAST_ROWS or inputs.type != _F32:
            return False
        return _weight_name(product).startswith("blk.")

    def add(self, product: GgmlTensor) -> None:
        """Sum up the inputs of a product that has been computed."""
        weight, inputs = product.src[0].contents, product.src[1].contents
        name = _weight_name(product)
        rows = _array(self.ggml, inputs, np.float32)
        if product.op == self.ggml.MUL_MAT_ID:
            touched = self._add_experts(name, weight, rows, product.src[2].contents)
        else:
            touched = self._add_all(name, weight, rows)
        if not all(np.isfinite(values).all() for values in touched):
            raise ObservationError(f"{name} met NaN or infinity: the model is damaged")

    def _add_all(self, name: str, weight: GgmlTensor, rows: Floats) -> list[Floats]:
        matrices = int(weight.ne[2]) * int(weight.ne[3])
        columns = rows.shape[3]
        entry = self._entry(name, columns * matrices, 1)
        sums = entry.values.reshape(matrices, columns)
        for outer, inner in np.ndindex(*rows.shape[:2]):
            matrix = outer % weight.ne[3] * weight.ne[2] + inner % weight.ne[2]
            _add_squares(sums[matrix], rows[outer, inner])
        entry.counts[0] += rows.size // columns // matrices
        return [entry.values]

    def _add_experts(
        self, name: str, weight: GgmlTensor, rows: Floats, chosen: GgmlTensor
    ) -> list[Floats]:
        experts = int(weight.ne[2])
        _, tokens, choices, columns = rows.shape
        # [token, choice] -> [choice, token]: the order in which the sums are made
        ids = _array(self.ggml, chosen, np.int32)[0, 0].T
        if rows.shape[0] != 1 or ids.shape[1] != tokens or ids.min() < 0 or ids.max() >= experts:
            raise ObservationError(f"{name} has experts in an order that localq does not know")
        entry = self._entry(name, columns * experts, experts)
        sums = entry.values.reshape(experts, columns)
        touched = np.unique(ids)
        for expert in touched:
            choice, token = np.nonzero(ids == expert)
            _add_squares(sums[expert], rows[0, token, choice % choices])
            entry.counts[expert] += token.size
        return [sums[expert] for expert in touched]

    def _entry(self, name: str, size: int, counts: int) -> ActivationSums:
        entry = self.sums.get(name)
        if entry is None:
            entry = ActivationSums(np.zeros(size, np.float32), np.zeros(counts, np.int64))
            self.sums[name] = entry
        if (entry.values.size, entry.counts.size) != (size, counts):
            raise ObservationError(f"{name} is used in two shapes")
        return entry

    def check(self) -> None:
        """Raise what went wrong during the computation, if anything did."""
        if self.error is not None:
            raise self.error

    def save(self, file: BinaryIO) -> None:
        """Write the sums for `load_sums`."""
        arrays = {f"{n}:{part}": a for n, s in self.sums.items() for part, a in _parts(s)}
        np.savez(file, **arrays)  # type: ignore[arg-type] # its other parameters have other names


class Observation:
    """A model, and what it has been seen to do. LlamaError where llama.cpp's tensors cannot be
    read; `api` is the module `llama_cpp.llama_cpp`."""

    def __init__(self, api: Any, context: LlamaContext) -> None:
        try:
            ggml = Ggml(Path(api._lib._name).parent)
        except (OSError, AttributeError, UnknownLayout) as error:
            raise LlamaError(
                f"activations cannot be observed: {error}", unsupported=True
            ) from error
        self._observer = Observer(ggml)
        self._context = context
        context.observe(self._observer)

    def read(self, tokens: Sequence[int], cancelled: Callable[[], bool]) -> None:
        """Let the model read a part of a text. Raises Interrupted as soon as `cancelled()`."""
        self._context.read_chunk(tokens, cancelled)
        self._observer.check()

    def save(self, output: Path) -> None:
        """Write the sums for `load_sums`. OSError."""
        with output.open("wb") as file:
            self._observer.save(file)


def load_sums(path: Path) -> dict[str, ActivationSums]:
    """The sums in a file that the engine wrote."""
    with np.load(path, allow_pickle=False) as archive:
        names = [key.removesuffix(":values") for key in archive.files if key.endswith(":values")]
        return {
            name: ActivationSums(archive[f"{name}:values"], archive[f"{name}:counts"])
            for name in names
        }


def _parts(sums: ActivationSums) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    yield "values", sums.values
    yield "counts", sums.counts


def _add_squares(sums: Floats, rows: Floats) -> None:
    """Add one row after the other: the order decides about the last bits."""
    squares = np.empty((len(rows) + 1, sums.size), np.float32)
    squares[0] = sums
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(rows, rows, out=squares[1:])
        np.add.reduce(squares, axis=0, out=sums)


def _array(ggml: Ggml, tensor: GgmlTensor, dtype: type[Any]) -> npt.NDArray[Any]:
    """The tensor as an array, slowest dimension first. It may lie in memory in any order."""
    expected = {np.float32: _F32, np.int32: _I32}[dtype]
    if tensor.type != expected:
        raise ObservationError(f"{tensor.name!r} is of ggml type {tensor.type}, not {expected}")
    return np.ndarray(
        shape=tuple(tensor.ne)[::-1],
        dtype=dtype,
        buffer=ggml.bytes_of(tensor),
        strides=tuple(tensor.nb)[::-1],
    )


def _weight_name(product: GgmlTensor) -> str:
    """The weight's name without what a device put around it: "CUDA0#blk.0.attn_q.weight#0"."""
    name: bytes = product.src[0].contents.name
    parts = name.split(b"#")
    return (parts[1] if len(parts) > 1 else name).decode("utf-8", "replace")
