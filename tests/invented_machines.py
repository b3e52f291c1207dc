"""Machines and models that nobody has, for planners to get right all the same."""

from __future__ import annotations

from hypothesis import strategies as st

from localq.hardware.profile import CpuProfile, Device, DeviceKind, HardwareProfile, Memory, System
from localq.planning.attention_layers import LayerMemory
from localq.planning.model_shape import LayerKind, LayerShape, ModelShape
from localq.planning.offload_plan import PlanOptions

__all__ = ["GIB", "machine", "machines", "models", "pairs", "plan_options"]

GIB = 1 << 30
_MIB = 1 << 20
_TYPES = ("f16", "q8_0", "q4_0", "f32")


def machine(
    ram: int,
    *gpus: int,
    unified: bool = False,
    kind: DeviceKind = "gpu",
    free: float = 0.9,
    threads: int = 8,
) -> HardwareProfile:
    """A machine of so much memory, and devices of so much; bytes, of which a part is free."""
    devices = tuple(
        Device(f"GPU{number}", "a card", "CUDA", kind, size, int(size * free), unified)
        for number, size in enumerate(gpus)
    )
    cpu = CpuProfile(threads, threads, performance_cores=threads, allowed_cpus=2 * threads)
    return HardwareProfile(System("linux"), cpu, Memory(ram, int(ram * free)), devices)


@st.composite
def machines(draw: st.DrawFn, around: int = 8 * GIB) -> HardwareProfile:
    """Machines whose memory is of the size of `around`, or anything else."""
    sizes = st.floats(0.02, 5).map(lambda part: int(part * around)) | st.integers(0, 100 * GIB)
    devices = []
    for number in range(draw(st.sampled_from([0, 1, 1, 2, 3, 5]))):
        total = draw(st.integers(0, 9).flatmap(lambda n: sizes if n else st.none()))
        free = draw(st.none() | st.integers(0, total)) if total is not None else None
        devices.append(
            Device(
                f"D{number}",
                "a card",
                draw(st.sampled_from(["CUDA", "CUDA", "Vulkan", "RPC", "Metal"])),
                draw(st.sampled_from(["gpu", "gpu", "gpu", "igpu", "cpu", "accel"])),
                total,
                total if free is None else free,
                draw(st.sampled_from([False, False, True])),
            )
        )
    threads = draw(st.integers(1, 128))
    cpu = CpuProfile(threads, draw(st.integers(1, 128)))
    memory = None
    if draw(st.integers(0, 9)):
        total = max(64 * _MIB, draw(sizes))
        memory = Memory(total, draw(st.just(total) | st.integers(0, total)))
    return HardwareProfile(System("linux"), cpu, memory, tuple(devices))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[HardwareProfile, ModelShape]:
    """A model, and a machine that may or may not be large enough for it."""
    shape = draw(models())
    return draw(machines(around=shape.weights + GIB)), shape


_widths = st.sampled_from([0, 64, 576, 1024, 4096])


@st.composite
def _kinds(draw: st.DrawFn, n_embd: int) -> LayerKind:
    keeps = draw(st.integers(0, 4)) > 0
    memory = LayerMemory(
        key=draw(_widths) if keeps else 0,
        value=draw(_widths) if keeps else 0,
        sliding=draw(st.booleans()),
        state=0 if keeps else draw(st.integers(0, 1 << 20)),
        head_key=draw(st.sampled_from([64, 80, 128])),
        head_value=64,
        index=0,
        latent=0,
    )
    heads = draw(st.integers(0, 128))
    inner = draw(st.integers(1, 60_000))
    return LayerKind(memory, heads, heads * 64, 5 * n_embd + heads * 64, 4 * n_embd + inner, 0)


@st.composite
def models(draw: st.DrawFn) -> ModelShape:
    n_layer = draw(st.integers(1, 130))
    n_embd = draw(st.integers(1, 128)) * 64
    kinds = draw(st.lists(_kinds(n_embd), min_size=1, max_size=3, unique=True))
    moe = draw(st.booleans())
    size = draw(st.integers(1, 1000 * _MIB) | st.integers(_MIB, 200 * _MIB))
    experts = draw(st.integers(1, 3000 * _MIB)) if moe else 0
    dense = draw(st.integers(0, n_layer))  # first layers without experts
    layers = tuple(
        LayerShape(
            kinds[index % len(kinds)],
            size + index * 1000,
            experts if index >= dense else 0,
            max(size // 4, experts // 3 if index >= dense else 0),
        )
        for index in range(n_layer)
    )
    n_vocab = draw(st.integers(100, 300_000))
    tied = draw(st.booleans())
    embedding = n_vocab * n_embd
    return ModelShape(
        architecture="invented",
        n_ctx_train=draw(st.sampled_from([0, 100, 512, 4000, 4096, 8192, 131_072])),
        n_embd=n_embd,
        n_vocab=n_vocab,
        layers=layers,
        kinds=tuple(dict.fromkeys(layer.kind for layer in layers)),
        unused_layers=draw(st.sampled_from([0, 0, 1])),
        input_bytes=embedding,
        output_bytes=embedding,
        tied=tied,
        tied_twice=tied and draw(st.booleans()),
        vocabulary_bytes=200 * n_vocab,
        other_bytes=4 * n_embd,
        n_embd_layers=0,
        causal=draw(st.integers(0, 9)) > 0,
        window=draw(st.sampled_from([0, 512, 4096])),
        parameters=max(1, (size + experts) * n_layer),
        approximate=False,
    )


def plan_options() -> st.SearchStrategy[PlanOptions]:
    type_ = st.none() | st.sampled_from(_TYPES)
    return st.builds(
        PlanOptions,
        n_ctx=st.none() | st.integers(16, 200_000),
        n_gpu_layers=st.none() | st.integers(-1, 200),
        n_cpu_moe=st.none() | st.integers(0, 200),
        n_threads=st.none() | st.integers(1, 64),
        n_threads_batch=st.none() | st.integers(1, 64),
        type_k=type_,
        type_v=type_,
        n_batch=st.none() | st.integers(1, 4096),
        n_ubatch=st.none() | st.integers(1, 4096),
        use_mmap=st.none() | st.booleans(),
        use_mlock=st.none() | st.booleans(),
        flash_attn=st.none() | st.sampled_from(["auto", "on", "off"]),
    )
