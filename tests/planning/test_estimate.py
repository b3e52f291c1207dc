"""Predicted memory beside llama.cpp's own numbers, and headers that lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from localq.errors import UnsupportedError
from localq.formats.types import TensorType
from localq.planning.compute_buffers import compute_bytes, output_bytes
from localq.planning.estimate import ENGINE_BYTES, Placement, estimate_memory
from localq.planning.kv_cache import CacheSettings, cache_bytes, type_fits
from localq.planning.model_shape import TensorSpec, read_shape
from tests.memory_truths import (
    TRUTHS,
    Record,
    Setting,
    Truth,
    measure,
    read_truths,
    write_hollow,
)

_FILES = sorted(TRUTHS.glob("*.json"))
_HUNDREDTH = 5243  # llama.cpp prints hundredths of a MiB, and several lines are added up


@pytest.fixture(params=_FILES, ids=lambda path: path.stem)
def record(request: pytest.FixtureRequest) -> Record:
    path = request.param
    assert isinstance(path, Path)
    return read_truths(path)


def _check(record: Record, weights: int, truths: Sequence[Truth]) -> list[float]:
    """Errors of the total, each checked: at most 5 % above the truth and 2 % below it."""
    shape = record.header.shape
    assert shape.weights == pytest.approx(weights, abs=64)  # padding between tensors
    errors = []
    for truth in truths:
        settings, outputs = truth.setting.cache, truth.setting.outputs
        estimate = estimate_memory(shape, settings, n_outputs=outputs)
        assert estimate.kv_cache == pytest.approx(truth.cache, abs=4 * _HUNDREDTH), truth
        rest = output_bytes(shape, settings, n_outputs=outputs) + estimate.overhead
        error = estimate.total / (weights + truth.cache + truth.compute + rest) - 1
        assert -0.02 <= error <= 0.05, truth
        errors.append(error)
    return errors


def test_totals_are_near_what_llama_cpp_takes(record: Record) -> None:
    errors = _check(record, record.weights, record.truths)
    assert len(errors) >= 15


def test_many_shapes_were_measured() -> None:
    records = [read_truths(path) for path in _FILES]
    architectures = {record.header.shape.architecture for record in records}
    assert len(records) >= 45
    assert len(architectures) >= 30
    assert {truth.setting.n_ctx for record in records for truth in record.truths} >= {512, 32768}


def _placed() -> list[Record]:
    return [record for path in _FILES if (record := read_truths(path)).placed]


@pytest.mark.parametrize("record", _placed(), ids=lambda record: record.name)
def test_each_device_gets_what_llama_cpp_puts_there(record: Record) -> None:
    shape = record.header.shape
    for case in record.placed:
        placement = Placement(case.layers, case.n_cpu_moe)
        estimate = estimate_memory(shape, case.setting.cache, placement, use_mmap=False)
        total = 0
        for device, (weights, cache, compute) in zip(estimate.devices, case.memory, strict=True):
            # Some models have one small tensor that each device gets a copy of.
            assert device.weights == pytest.approx(weights, abs=512), (case, device.name)
            assert device.kv_cache == cache, (case, device.name)
            needed = weights + cache + compute
            assert device.total >= 0.98 * needed - (1 << 20), (case, device.name)
            total += needed
        assert estimate.total - estimate.overhead <= 1.05 * total + (32 << 20), case


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "Llama-3.1-70B.Q4_0",
        "SmolLM2-135M-Instruct.Q4_0",
        "Qwen3-30B-A3B.Q4_0",
        "gemma-3-1b-it.Q4_0",
        "deepseek-v2-lite.Q4_0",
        "gemma-2-window-333.Q4_0",
        "grok-16-layers.Q4_0",
        "qwen35-4b.Q4_0",
    ],
)
def test_the_installed_engine_takes_what_was_recorded(name: str, tmp_path: Path) -> None:
    record = read_truths(TRUTHS / f"{name}.json")
    path = tmp_path / "hollow.gguf"
    write_hollow(record.header, path)
    wanted = [
        *(truth.setting for truth in record.truths),
        Setting(1000, 200),
        Setting(12345, 64, flash=False),
        Setting(20000, 512, n_seq=3, n_outputs=3),
    ]
    weights, truths = measure(path, wanted)
    assert len(truths) == len(wanted)
    assert weights == record.weights
    assert truths[: len(record.truths)] == list(record.truths)
    _check(record, weights, truths)


def test_parts_of_an_estimate_add_up() -> None:
    shape = read_truths(TRUTHS / "Llama-3.1-8B.Q4_0.json").header.shape
    estimate = estimate_memory(shape, CacheSettings(4096), Placement((20, 13)))
    assert estimate.total == sum(device.total for device in estimate.devices)
    assert estimate.weights == shape.weights
    assert [device.name for device in estimate.devices] == ["host", "device 0", "device 1"]
    assert estimate.host.overhead >= ENGINE_BYTES


def test_a_tied_output_on_a_device_is_there_twice() -> None:
    shape = read_truths(TRUTHS / "Llama-3.2-1B.Q4_0.json").header.shape
    assert shape.tied
    everything = Placement((shape.n_layer + 1,))
    estimate = estimate_memory(shape, CacheSettings(4096), everything)
    assert estimate.weights == shape.weights + shape.output_bytes
    assert estimate_memory(shape, CacheSettings(4096)).weights == shape.weights


def test_unmapped_embeddings_may_be_there_twice_on_the_host() -> None:
    shape = read_truths(TRUTHS / "gemma3n-e4b.Q4_0.json").header.shape
    mapped = estimate_memory(shape, CacheSettings(4096))
    read = estimate_memory(shape, CacheSettings(4096), use_mmap=False)
    assert mapped.weights == shape.weights
    assert read.weights == shape.weights + shape.output_bytes


def test_cache_types_must_fit_the_heads() -> None:
    eighty = read_truths(TRUTHS / "phi-2.Q4_0.json").header.shape  # 80 numbers a head
    assert not type_fits(eighty, TensorType.Q8_0)
    assert type_fits(eighty, TensorType.F16)
    usual = read_truths(TRUTHS / "Llama-3.1-8B.Q4_0.json").header.shape
    assert type_fits(usual, TensorType.Q4_0)


def _model(**fields: object) -> tuple[dict[str, object], list[TensorSpec]]:
    """A Llama of two layers; `fields` replace its metadata."""
    metadata: dict[str, object] = {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.context_length": 2048,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
    }
    metadata |= {f"llama.{key}": value for key, value in fields.items()}
    tensors = [TensorSpec("token_embd.weight", TensorType.F16, (256, 1000))]
    for layer in range(2):
        tensors.append(TensorSpec(f"blk.{layer}.attn_q.weight", TensorType.Q8_0, (256, 256)))
        tensors.append(TensorSpec(f"blk.{layer}.ffn_up.weight", TensorType.Q8_0, (256, 1024)))
    return metadata, tensors


def test_a_header_needs_no_file() -> None:
    shape = read_shape(*_model())
    assert shape.n_layer == 2
    assert shape.parameters == 256 * 1000 + 2 * (256 * 256 + 256 * 1024)
    # 2 layers x 2 heads x 64 numbers x (keys and values) x 2 bytes x 512 tokens
    assert sum(cache_bytes(shape, CacheSettings(500))) == 2 * 2 * 64 * 2 * 2 * 512


def test_the_vocabulary_counts() -> None:
    metadata, tensors = _model()
    bare = read_shape(metadata, tensors).vocabulary_bytes
    merges: list[object] = ["a b"] * 1000
    full = read_shape({**metadata, "tokenizer.ggml.merges": merges}, tensors).vocabulary_bytes
    assert full > bare > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"block_count": 0},
        {"block_count": 100_000},
        {"block_count": -1},
        {"block_count": "many"},
        {"attention.head_count": [4]},
        {"attention.head_count": [4, -1]},
        {"attention.key_length": 1 << 40},
        {"attention.key_length": 1.5},
        {"attention.sliding_window_pattern": [True]},
        {"nextn_predict_layers": 1000},
        {"full_attention_interval": 0},
        {"expert_used_count": 1 << 30},
    ],
)
def test_nonsense_is_refused_or_bounded(fields: dict[str, object]) -> None:
    metadata, tensors = _model(**fields)
    for architecture in ("llama", "gemma3", "qwen35", "mamba", "nobody-knows"):
        moved = {key.replace("llama.", f"{architecture}."): v for key, v in metadata.items()}
        moved["general.architecture"] = architecture
        try:
            shape = read_shape(moved, tensors)
        except UnsupportedError:
            continue
        assert estimate_memory(shape, CacheSettings(4096)).total > 0
        assert compute_bytes(shape, CacheSettings(4096, flash_attn=False)) > 0


def test_a_refusal_names_the_model_and_is_one_short_line() -> None:
    metadata, tensors = _model(context_length=-5)
    with pytest.raises(UnsupportedError, match=r"^mine: llama\.context_length is '-5', not a size"):
        read_shape(metadata, tensors, name="mine")
    for architecture in ("x" * 100_000, "llama"):
        metadata["general.architecture"] = architecture
        metadata[f"{architecture}.block_count"] = "y" * 100_000
        with pytest.raises(UnsupportedError) as caught:
            read_shape(metadata, tensors)
        assert len(str(caught.value)) < 200


def test_layers_alike_share_one_kind() -> None:
    shape = read_truths(TRUTHS / "Llama-3.1-70B.Q4_0.json").header.shape
    assert len({id(layer.kind) for layer in shape.layers}) == len(shape.kinds) == 1


def test_grok_is_computed_without_flash_attention() -> None:
    shape = read_truths(TRUTHS / "grok-16-layers.Q4_0.json").header.shape
    assert not shape.flash_attn
    asked, without = (CacheSettings(8192, flash_attn=flash) for flash in (True, False))
    assert estimate_memory(shape, asked) == estimate_memory(shape, without)


def test_what_is_no_language_model_is_refused() -> None:
    metadata, tensors = _model()
    with pytest.raises(UnsupportedError, match="not a language model"):
        read_shape(metadata, tensors[1:])
    with pytest.raises(UnsupportedError, match="not a language model"):
        read_shape({}, [])


def test_unknown_tensor_types_are_refused() -> None:
    metadata, tensors = _model()
    with pytest.raises(UnsupportedError, match="type 99"):
        read_shape(metadata, [*tensors, TensorSpec("blk.0.new.weight", 99, (256, 4))])


def test_impossible_tensors_are_refused() -> None:
    metadata, tensors = _model()
    huge = TensorSpec("blk.0.huge.weight", TensorType.F32, (1 << 40, 1 << 40))
    with pytest.raises(UnsupportedError, match="larger than any memory"):
        read_shape(metadata, [*tensors, huge])
