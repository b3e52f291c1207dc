"""/proc/cpuinfo, which every architecture writes in its own way, and the instruction sets in it.

Names of instruction sets are those of llama.cpp's own report (`ggml-cpu.cpp`), so that the two can
be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["CpuInfo", "instruction_sets", "parse_cpuinfo"]

# The kernel's flag -> llama.cpp's name; several flags for one name are all needed.
_X86: Mapping[str, frozenset[str]] = {
    "SSE3": frozenset({"pni"}),
    "SSSE3": frozenset({"ssse3"}),
    "AVX": frozenset({"avx"}),
    "AVX2": frozenset({"avx2"}),
    "AVX_VNNI": frozenset({"avx_vnni"}),
    "F16C": frozenset({"f16c"}),
    "FMA": frozenset({"fma"}),
    "BMI2": frozenset({"bmi2"}),
    "AVX512": frozenset({"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"}),
    "AVX512_VBMI": frozenset({"avx512vbmi"}),
    "AVX512_VNNI": frozenset({"avx512_vnni"}),
    "AVX512_BF16": frozenset({"avx512_bf16"}),
    "AMX_INT8": frozenset({"amx_tile", "amx_int8"}),
}
_ARM: Mapping[str, frozenset[str]] = {
    "NEON": frozenset({"asimd"}),
    "ARM_FMA": frozenset({"asimd"}),
    "FP16_VA": frozenset({"fphp", "asimdhp"}),
    "DOTPROD": frozenset({"asimddp"}),
    "MATMUL_INT8": frozenset({"i8mm"}),
    "SVE": frozenset({"sve"}),
    "SME": frozenset({"sme"}),
    "SME2": frozenset({"sme2"}),
}
_ARM_32: Mapping[str, frozenset[str]] = {
    "NEON": frozenset({"neon"}),
    "ARM_FMA": frozenset({"vfpv4"}),
}
# "CPU implementer", "CPU part" (MIDR_EL1): the cores in today's boards and servers.
_ARM_CORES: Mapping[tuple[int, int], str] = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720",
    (0x41, 0xD82): "Cortex-X4",
    (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD85): "Cortex-X925",
    (0x41, 0xD87): "Cortex-A725",
    (0xC0, 0xAC3): "Ampere-1",
}
_ARM_VENDORS = {0x41: "ARM", 0x51: "Qualcomm", 0x61: "Apple", 0xC0: "Ampere"}
_MAX_BLOCKS = 1 << 13
_MAX_MODELS = 4


@dataclass(frozen=True, slots=True)
class CpuInfo:
    """What the file says of all processors together."""

    model: str | None = None
    vendor: str | None = None
    flags: frozenset[str] = frozenset()
    """Those every processor has: llama.cpp's threads may run on any."""
    processors: frozenset[int] = frozenset()
    sockets: int | None = None
    cores: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """For each processor those of its core, itself too; empty where that is not told."""


def parse_cpuinfo(text: str | None) -> CpuInfo:
    """Whatever can be recognised in the file."""
    blocks = [_block(block) for block in (text or "").split("\n\n")[:_MAX_BLOCKS]]
    everywhere = [block for block in blocks if "processor" in block]
    if not everywhere:
        return CpuInfo()
    flags = [
        frozenset(words.split())
        for block in everywhere
        if (words := block.get("flags") or block.get("Features"))
    ]
    sockets = {block["physical id"] for block in everywhere if "physical id" in block}
    cores: dict[tuple[str | None, str | None], set[int]] = {}
    for block in everywhere:
        if (number := _integer(block.get("processor"))) is not None:
            core = cores.setdefault((block.get("physical id"), block.get("core id")), set())
            core.add(number)
    told = not any(None in key for key in cores)
    return CpuInfo(
        model=_model(everywhere, blocks),
        vendor=_vendor(everywhere[0]),
        flags=frozenset.intersection(*flags) if flags else frozenset(),
        processors=frozenset[int]().union(*cores.values()),
        sockets=len(sockets) or None,
        cores={n: frozenset(core) for core in cores.values() for n in core} if told else {},
    )


def instruction_sets(flags: frozenset[str], architecture: str) -> tuple[str, ...]:
    """Those that llama.cpp has code for, by its names, in its order."""
    if architecture in ("x86_64", "i686", "AMD64"):
        known = _X86
    elif architecture in ("aarch64", "arm64"):
        known = _ARM
    elif architecture.startswith("arm"):
        known = _ARM_32
    else:
        known = {}
    return tuple(name for name, needed in known.items() if needed <= flags)


def _block(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _model(processors: list[dict[str, str]], blocks: Iterable[dict[str, str]]) -> str | None:
    for field_ in ("model name", "cpu", "uarch"):  # x86, POWER, RISC-V
        if told := processors[0].get(field_):
            return told
    # The fastest cores of an ARM come last, and are the ones to name first.
    parts: list[str] = []
    for block in reversed(processors):
        key = (_hexadecimal(block.get("CPU implementer")), _hexadecimal(block.get("CPU part")))
        name = _ARM_CORES.get(key) if None not in key else None  # type: ignore[arg-type]
        if name and name not in parts[:_MAX_MODELS]:
            parts.append(name)
    if parts:
        return " + ".join(parts[:_MAX_MODELS])
    return next((block["Hardware"] for block in blocks if block.get("Hardware")), None)


def _vendor(block: dict[str, str]) -> str | None:
    if name := block.get("vendor_id"):
        return name
    implementer = _hexadecimal(block.get("CPU implementer"))
    return _ARM_VENDORS.get(implementer) if implementer is not None else None


def _integer(text: str | None) -> int | None:
    fits = text is not None and len(text) <= 6 and text.isascii() and text.isdecimal()
    return int(text) if text is not None and fits else None


def _hexadecimal(text: str | None) -> int | None:
    try:
        return int(text, 16) if text is not None and len(text) <= 10 else None
    except ValueError:
        return None
