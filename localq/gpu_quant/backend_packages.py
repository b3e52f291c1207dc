"""The backends that can be installed: what each needs, and what that takes of the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal

from localq.errors import NotFoundError, UnsupportedError
from localq.gpu_quant.lock_file import Pinned, read_lock
from localq.messages import msg

__all__ = [
    "PACKAGES",
    "Accelerator",
    "BackendPackages",
    "Size",
    "check_python",
    "packages_named",
    "resolve_name",
]

Accelerator = Literal["cpu", "cuda"]
_LOCKS = Path(__file__).parent / "locks"
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes that are downloaded, and bytes on the disk afterwards; `measured` or reckoned from the
    sizes of torch's CUDA packages."""

    download: int
    installed: int
    measured: bool = True


@dataclass(frozen=True)
class BackendPackages:
    """`imports` are the modules that must load afterwards; `built_here` the packages that come as
    sources, and `build_variables` what their builds are told. `pythons`: first and last version."""

    name: str
    about: str
    lock: Path
    imports: tuple[str, ...]
    sizes: Mapping[Accelerator, Size]
    pythons: tuple[tuple[int, int], tuple[int, int]] = ((3, 11), (3, 13))
    built_here: frozenset[str] = frozenset()
    build_variables: Mapping[str, str] = field(default_factory=dict)
    torch: str | None = "torch"
    """The package that comes from an index of its own; None where there is none."""

    @cached_property
    def lock_text(self) -> str:
        return self.lock.read_text(encoding="utf-8")

    @cached_property
    def lock_hash(self) -> str:
        """What tells one set of pins from another."""
        return sha256(self.lock_text.encode()).hexdigest()

    @cached_property
    def pinned(self) -> tuple[Pinned, ...]:
        return read_lock(self.lock_text)

    @property
    def version(self) -> str:
        return next((one.version for one in self.pinned if one.name == self.name), "")


PACKAGES: Mapping[str, BackendPackages] = {
    packages.name: packages
    for packages in (
        BackendPackages(
            "gptqmodel",
            "GPTQ and AWQ; also runs INT4 checkpoints",
            _LOCKS / "gptqmodel.txt",
            imports=("torch", "transformers", "optimum", "gptqmodel"),
            sizes={
                "cpu": Size(350 * _MB, 1300 * _MB),
                "cuda": Size(3200 * _MB, 6800 * _MB, measured=False),
            },
            built_here=frozenset(
                {"defuser", "device-smi", "gptqmodel", "logbar", "pypcre", "tokenicer"}
            ),
            build_variables={"BUILD_CUDA_EXT": "0"},
        ),
        BackendPackages(
            "autoawq",
            "AWQ by the original library, which is not developed any more",
            _LOCKS / "autoawq.txt",
            imports=("torch", "transformers", "awq"),
            sizes={
                "cpu": Size(325 * _MB, 1230 * _MB),
                "cuda": Size(3200 * _MB, 6600 * _MB, measured=False),
            },
            built_here=frozenset({"autoawq"}),
        ),
        BackendPackages(
            "auto-gptq",
            "GPTQ by the original library, which is not developed any more",
            _LOCKS / "auto-gptq.txt",
            imports=("torch", "transformers", "auto_gptq"),
            sizes={"cuda": Size(3200 * _MB, 6600 * _MB, measured=False)},
            pythons=((3, 11), (3, 11)),
        ),
        BackendPackages(
            "llmcompressor",
            "compressed-tensors, the format that vLLM prefers",
            _LOCKS / "llmcompressor.txt",
            imports=("torch", "transformers", "llmcompressor"),
            sizes={
                "cpu": Size(330 * _MB, 1250 * _MB),
                "cuda": Size(3200 * _MB, 6800 * _MB, measured=False),
            },
        ),
    )
}


def packages_named(name: str) -> BackendPackages:
    """The backend of this name; NotFoundError."""
    if name in PACKAGES:
        return PACKAGES[name]
    known = ", ".join(PACKAGES)
    raise NotFoundError(
        msg("there is no backend {name!r}", name=name), hint=msg("one of: {known}", known=known)
    )


def resolve_name(
    name: str, accelerator: Accelerator, python: tuple[int, int]
) -> tuple[BackendPackages, str | None]:
    """What is really used for `name`, and, where that is another, why.

    The package auto-gptq exists for Python 3.11 only and refuses to work without CUDA; gptqmodel,
    its successor, writes the same format.
    """
    wanted = packages_named(name)
    if name != "auto-gptq":
        return wanted, None
    if accelerator != "cuda":
        why = msg("auto-gptq works on CUDA GPUs only: gptqmodel writes the same format instead")
    elif python != (3, 11):
        why = msg("auto-gptq exists for Python 3.11 only: gptqmodel writes the same format instead")
    else:
        return wanted, None
    return PACKAGES["gptqmodel"], why


def check_python(packages: BackendPackages, python: tuple[int, int]) -> None:
    """UnsupportedError where the pinned packages do not exist for this version of Python."""
    first, last = packages.pythons
    if first <= python <= last:
        return
    raise UnsupportedError(
        msg(
            "{name} needs Python {first} to {last}; this is {python}",
            name=packages.name,
            first=".".join(map(str, first)),
            last=".".join(map(str, last)),
            python=".".join(map(str, python)),
        ),
        hint=msg("name another: localq backend install {name} --python PATH", name=packages.name),
    )
