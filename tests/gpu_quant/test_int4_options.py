"""What goes together and what does not; what it would take; on which machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from localq.errors import LocalqError, StorageError, UnsupportedError, UsageError
from localq.gpu_quant.estimate import estimate, weight_shapes
from localq.gpu_quant.gate import check_room, choose_device, warnings
from localq.gpu_quant.options import Int4Options, Method
from localq.hardware.profile import Accelerator
from localq.services.int4.request import Int4Request

GIB = 1 << 30


@pytest.mark.parametrize(
    ("method", "changes", "says"),
    [
        (Method.AWQ, {"bits": 8}, "4 bits only"),
        (Method.AWQ, {"group_size": 256}, "groups are of 32, 64 or 128"),
        (Method.AWQ, {"group_size": -1}, "groups are of"),
        (Method.AWQ, {"desc_act": True}, "is for GPTQ"),
        (Method.GPTQ, {"bits": 5}, "2, 3, 4 or 8"),
        (Method.GPTQ, {"group_size": 100}, "groups are of"),
        (Method.GPTQ, {"group_size": 0}, "groups are of"),
        (Method.GPTQ, {"damp_percent": 0.0}, "between 0 and 1"),
        (Method.GPTQ, {"damp_percent": float("nan")}, "between 0 and 1"),
        (Method.GPTQ, {"keep": ("(",)}, "--keep"),
    ],
)
def test_combinations_that_are_refused(
    method: Method, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        Int4Options(method, **changes)  # type: ignore[arg-type]


def test_eight_bits_of_awq_are_answered_with_gptq() -> None:
    with pytest.raises(UsageError) as caught:
        Int4Options(Method.AWQ, bits=8)
    assert caught.value.hint == "localq quantize gptq --bits 8"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"calib_samples": 0}, "--calib-samples"),
        ({"calib_length": 4}, "--calib-length"),
        ({"shard_bytes": 10}, "--shard-size"),
    ],
)
def test_requests_that_are_refused(changes: dict[str, int], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Int4Request(Method.GPTQ, **changes).options()  # type: ignore[arg-type]


def test_names() -> None:
    assert Int4Options(Method.GPTQ).label == "GPTQ-INT4"
    assert Int4Options(Method.GPTQ, bits=3, group_size=-1).label == "GPTQ-INT3-ROWS"
    assert Int4Options(Method.AWQ, group_size=64, keep=("x",)).label == "AWQ-INT4-G64-MIXED"


def llama(
    layers: int, hidden: int, inner: int, vocabulary: int
) -> list[tuple[str, tuple[int, ...]]]:
    tensors: list[tuple[str, tuple[int, ...]]] = [
        ("model.embed_tokens.weight", (vocabulary, hidden))
    ]
    for i in range(layers):
        at = f"model.layers.{i}"
        tensors += [(f"{at}.self_attn.{n}_proj.weight", (hidden, hidden)) for n in "qkvo"]
        tensors += [(f"{at}.mlp.{n}_proj.weight", (inner, hidden)) for n in ("gate", "up")]
        tensors += [(f"{at}.mlp.down_proj.weight", (hidden, inner))]
        tensors += [(f"{at}.input_layernorm.weight", (hidden,))]
    return tensors


def test_the_estimate_of_a_seven_billion_model() -> None:
    options = Int4Options(Method.GPTQ)
    shapes = weight_shapes(llama(32, 4096, 11008, 32000), options)
    assert shapes.layers == 32
    assert shapes.quantized_parameters == 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    needs = estimate(shapes, options, samples=512, length=512, device="cuda", cores=8)
    # What is published of such checkpoints: 3.9 GB, of which 0.26 GB are the embeddings.
    assert 3.5e9 < needs.output_bytes < 4.0e9
    assert needs.vram_bytes < 12 * GIB < needs.ram_bytes
    awq = Int4Options(Method.AWQ, symmetric=False)
    slow = estimate(shapes, awq, samples=128, length=512, device="cpu", cores=8)
    assert slow.vram_bytes == 0
    assert warnings(slow, awq, "cpu")
    assert not warnings(needs, options, "cuda")
    for other in (Int4Options(Method.GPTQ, bits=3), Int4Options(Method.GPTQ, symmetric=False)):
        assert "vLLM" in warnings(needs, other, "cuda")[0]


def test_kept_modules_are_not_counted() -> None:
    plain = Int4Options(Method.GPTQ)
    mixed = Int4Options(Method.GPTQ, keep=("self_attn",))
    tensors = llama(2, 256, 512, 1000)
    less = weight_shapes(tensors, mixed).quantized_parameters
    assert weight_shapes(tensors, plain).quantized_parameters - less == 2 * 4 * 256**2


def gpu(capability: tuple[int, int] | None, vendor: str = "NVIDIA", free: int = 8) -> Accelerator:
    return Accelerator(
        f"{vendor} card", vendor, "test", free_bytes=free * GIB, compute_capability=capability
    )


def test_the_gate() -> None:
    options = Int4Options(Method.GPTQ)
    assert choose_device("cpu", [gpu((8, 0))], options, "m") == ("cpu", None)
    device, chosen = choose_device("auto", [gpu((7, 5)), gpu((8, 9), free=24)], options, "m")
    assert device == "cuda"
    assert chosen is not None
    assert chosen.compute_capability == (8, 9)
    for found, says in (([], "here is no GPU"), ([gpu((7, 0))], r"NVIDIA card \(7.0\)")):
        with pytest.raises(UnsupportedError, match=says) as caught:
            choose_device("auto", found, options, "m")
        assert "localq quantize q4_k_m m" in str(caught.value.hint)
        assert "--device cpu" in str(caught.value.hint)
    with pytest.raises(UnsupportedError):
        choose_device("cuda", [gpu(None, vendor="AMD")], options, "m")


def test_the_room() -> None:
    options = Int4Options(Method.GPTQ)
    shapes = weight_shapes(llama(32, 4096, 11008, 32000), options)
    needs = estimate(shapes, options, samples=512, length=512, device="cuda", cores=8)
    card = gpu((8, 0), free=2)

    def check(ram: int, disk: int, device: Accelerator | None) -> None:
        check_room(
            needs,
            gpu=device,
            available_ram=ram * GIB,
            free_disk=disk * GIB,
            options=options,
            name="m",
        )

    check(64, 100, None)
    with pytest.raises(StorageError, match="of disk"):
        check(64, 1, None)
    with pytest.raises(LocalqError, match="of memory"):
        check(1, 100, None)
    with pytest.raises(LocalqError, match="of GPU memory"):
        check(64, 100, card)


def test_the_estimate_is_near_what_came_out(material: Path) -> None:
    from localq.convert import open_checkpoint

    options = Int4Options(Method.GPTQ)
    tensors = open_checkpoint(material / "models" / "tiny-wiki-llama").tensors
    shapes = weight_shapes(((n, t.info.shape) for n, t in tensors.items()), options)
    needs = estimate(shapes, options, samples=32, length=256, device="cpu", cores=2)
    assert needs.output_bytes == pytest.approx(6_304_824, rel=0.01)  # gptqmodel 7.6.0 wrote that
    assert needs.ram_bytes > 614_273_024  # and took so much
