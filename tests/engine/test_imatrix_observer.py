"""What is summed up of ggml's tensors, seen with tensors made by hand."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from localq.engine import ggml as ggml_module
from localq.engine.activations import ObservationError, Observer, load_sums
from localq.engine.ggml import Ggml, GgmlTensor, UnknownLayout

Array = npt.NDArray[Any]
F32, F16, I32 = 0, 1, 26
NAME = "blk.3.ffn_up.weight"


def libraries() -> Path:
    spec = find_spec("llama_cpp")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent / "lib"


@pytest.fixture(scope="module")
def ggml() -> Ggml:
    return Ggml(libraries())


def tensor(array: Array, name: str = "") -> GgmlTensor:
    """The array, slowest dimension first, as a tensor over the same memory."""
    array = array.reshape((1,) * (4 - array.ndim) + array.shape)
    result = GgmlTensor()
    result.type = {"f": F32, "i": I32, "e": F16}[array.dtype.char]
    result.ne[:] = list(array.shape[::-1])
    result.nb[:] = list(array.strides[::-1])
    result.data = array.ctypes.data
    result.name = name.encode()
    return result


def product(op: int, *sources: GgmlTensor) -> GgmlTensor:
    result = GgmlTensor()
    result.op = op
    for index, source in enumerate(sources):
        result.src[index] = ctypes.pointer(source)
    return result


def see(observer: Observer, seen: GgmlTensor) -> bool:
    """What llama.cpp does with each step of a computation."""
    address = ctypes.addressof(seen)
    return observer(address, True, None) and observer(address, False, None)


def rows(*shape: int, seed: int = 1) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_the_installed_release_has_the_layout_described_here(ggml: Ggml) -> None:
    assert 0 < ggml.MUL_MAT < ggml.MUL_MAT_ID


def test_a_release_that_moved_a_field_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = list(GgmlTensor._fields_)
    moved = type("Moved", (ctypes.Structure,), {"_fields_": [*fields[:2], fields[3], fields[2]]})
    swapped = type("Swapped", (moved,), {"_fields_": fields[4:]})
    monkeypatch.setattr(ggml_module, "GgmlTensor", swapped)
    with pytest.raises(UnknownLayout):
        Ggml(libraries())


def test_squares_are_summed_up_over_rows_and_calls(ggml: Ggml) -> None:
    observer = Observer(ggml)
    weight = tensor(np.zeros((8, 5), np.float32), NAME)
    first, second = rows(20, 5), rows(16, 5, seed=2)
    for inputs in (first, second):
        assert see(observer, product(ggml.MUL_MAT, weight, tensor(inputs)))
    sums = observer.sums[NAME]
    expected = (np.concatenate([first, second]).astype(np.float64) ** 2).sum(axis=0)
    np.testing.assert_allclose(sums.values, expected, rtol=1e-6)
    assert sums.counts.tolist() == [36]


def test_rows_may_lie_apart_in_memory(ggml: Ggml) -> None:
    observer = Observer(ggml)
    everything = rows(16, 4, 6)
    inputs = everything.transpose(1, 0, 2)[1:3, :, :5]
    weight = tensor(np.zeros((8, 5), np.float32), NAME)
    assert see(observer, product(ggml.MUL_MAT, weight, tensor(inputs)))
    expected = (inputs.astype(np.float64) ** 2).sum(axis=(0, 1))
    np.testing.assert_allclose(observer.sums[NAME].values, expected, rtol=1e-6)
    assert observer.sums[NAME].counts.tolist() == [32]


def test_each_matrix_of_a_weight_meets_its_own_inputs(ggml: Ggml) -> None:
    observer = Observer(ggml)
    inputs = rows(4, 16, 5)
    weight = tensor(np.zeros((2, 8, 5), np.float32), NAME)
    assert see(observer, product(ggml.MUL_MAT, weight, tensor(inputs)))
    squares = inputs.astype(np.float64) ** 2
    expected = [squares[0::2].sum(axis=(0, 1)), squares[1::2].sum(axis=(0, 1))]
    np.testing.assert_allclose(observer.sums[NAME].values.reshape(2, 5), expected, rtol=1e-6)
    assert observer.sums[NAME].counts.tolist() == [32]


@pytest.mark.parametrize("own_inputs", [False, True])
def test_experts_get_the_tokens_that_chose_them(ggml: Ggml, own_inputs: bool) -> None:
    observer = Observer(ggml)
    chosen = np.array([[0, 2, 9], [2, 3, 9], [3, 0, 9]], np.int32)[:, :2]  # of a longer ranking
    inputs = rows(3, 2 if own_inputs else 1, 5)
    weight = tensor(np.zeros((4, 8, 5), np.float32), NAME)
    seen = product(ggml.MUL_MAT_ID, weight, tensor(inputs), tensor(chosen))
    assert see(observer, seen)
    expected = np.zeros((4, 5))
    for token, experts in enumerate(chosen):
        for choice, expert in enumerate(experts):
            expected[expert] += inputs[token, choice % inputs.shape[1]].astype(np.float64) ** 2
    np.testing.assert_allclose(observer.sums[NAME].values.reshape(4, 5), expected, rtol=1e-6)
    assert observer.sums[NAME].counts.tolist() == [2, 0, 2, 2]


def test_an_expert_that_does_not_exist(ggml: Ggml) -> None:
    observer = Observer(ggml)
    weight = tensor(np.zeros((4, 8, 5), np.float32), NAME)
    chosen = tensor(np.full((3, 2), 4, np.int32))
    assert not see(observer, product(ggml.MUL_MAT_ID, weight, tensor(rows(3, 1, 5)), chosen))
    with pytest.raises(ObservationError, match="experts in an order"):
        observer.check()


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("CUDA0#blk.0.attn_k.weight#0", "blk.0.attn_k.weight"),
        ("CUDA0#blk.0.attn_k.weight", "blk.0.attn_k.weight"),
        ("output.weight", None),
        ("cache_k_l0 (view)", None),
    ],
)
def test_weights_of_layers_are_known_by_their_names(
    ggml: Ggml, name: str, entry: str | None
) -> None:
    observer = Observer(ggml)
    weight = tensor(np.zeros((8, 5), np.float32), name)
    see(observer, product(ggml.MUL_MAT, weight, tensor(rows(16, 5))))
    assert list(observer.sums) == ([entry] if entry else [])


def test_other_products_are_passed_over(ggml: Ggml) -> None:
    observer = Observer(ggml)
    weight = tensor(np.zeros((8, 5), np.float32), NAME)
    short, half = tensor(rows(15, 5)), tensor(rows(16, 5).astype(np.float16))
    assert not see(observer, product(ggml.MUL_MAT, weight, short))
    assert not see(observer, product(ggml.MUL_MAT, weight, half))
    assert not see(observer, product(ggml.MUL_MAT + 5, weight, tensor(rows(16, 5))))
    assert not observer.sums
    observer.check()


def test_what_is_not_finite_ends_the_computation(ggml: Ggml) -> None:
    observer = Observer(ggml)
    inputs = rows(16, 5)
    inputs[3, 3] = np.nan
    weight = tensor(np.zeros((8, 5), np.float32), NAME)
    seen = product(ggml.MUL_MAT, weight, tensor(inputs))
    assert not see(observer, seen)
    with pytest.raises(ObservationError, match="NaN or infinity"):
        observer.check()
    assert not observer(ctypes.addressof(seen), True, None)


def test_a_weight_of_two_shapes(ggml: Ggml) -> None:
    observer = Observer(ggml)
    weight = tensor(np.zeros((8, 5), np.float32), NAME)
    assert see(observer, product(ggml.MUL_MAT, weight, tensor(rows(16, 5))))
    assert not see(observer, product(ggml.MUL_MAT, weight, tensor(rows(16, 6))))
    with pytest.raises(ObservationError, match="two shapes"):
        observer.check()


def test_inputs_on_a_device_are_copied(ggml: Ggml, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = rows(16, 5)
    far = tensor(inputs)
    far.buffer, far.data = 1, None

    def get(address: int, target: Any, offset: int, size: int) -> None:
        ctypes.memmove(ctypes.byref(target, offset), inputs.ctypes.data, size)

    def away(buffer: int) -> bool:
        return False

    monkeypatch.setattr(ggml, "_on_host", away)
    monkeypatch.setattr(ggml, "_get", get)
    observer = Observer(ggml)
    weight = tensor(np.zeros((8, 5), np.float32), NAME)
    assert see(observer, product(ggml.MUL_MAT, weight, far))
    expected = (inputs.astype(np.float64) ** 2).sum(axis=0)
    np.testing.assert_allclose(observer.sums[NAME].values, expected, rtol=1e-6)


def test_sums_survive_the_way_through_a_file(ggml: Ggml, tmp_path: Path) -> None:
    observer = Observer(ggml)
    weight = tensor(np.zeros((8, 5), np.float32), NAME)
    see(observer, product(ggml.MUL_MAT, weight, tensor(rows(16, 5))))
    file = BytesIO()
    observer.save(file)
    path = tmp_path / "sums"
    path.write_bytes(file.getvalue())
    loaded = load_sums(path)
    assert list(loaded) == [NAME]
    assert np.array_equal(loaded[NAME].values, observer.sums[NAME].values)
    assert loaded[NAME].counts.tolist() == [16]
