"""What a recipe says: the model to take, what to make of it, and how good that must be.

    [model]
    repo = "HuggingFaceTB/SmolLM2-135M-Instruct"   # the only key that must be there
    revision = "main"

    [[quantize]]                        # or [quantize], where one file is to be made
    type = "q4_0"
    imatrix = "imatrix.gguf"            # from the recipe's folder
    output_type = "q8_0"
    embedding_type = "q8_0"
    pure = false
    tensor_types = { attn_v = "q6_k" }  # of several patterns that match, the first counts

    [calibration]                       # an importance matrix, made for all that has none
    text = "notes.txt"                  # from the recipe's folder, or "wikitext2"
    reader = "q8_0"                     # the type that reads it; without it, one without loss
    chunks = 100

    [checks]                            # of each file that is made; only what is there counts
    text = "wikitext2"
    chunks = 20
    against = "bf16"                    # the type that the divergence is from
    max_perplexity = 12.5
    max_kld = 0.05
    min_agreement = 0.9

    [plan]                              # kept as the settings of each file that is made
    n_ctx = 8192
    type_k = "q8_0"

    [preset]                            # kept under the recipe's name, for `localq chat --preset`
    system = "Answer briefly."
    on_full = "slide"
    sampling = { temperature = 0.7 }

Only `type` must be there in a [quantize]. The recipes that localq carries also describe their model
under [model]; see `KnownModel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from localq.errors import UsageError
from localq.formats.types import QuantType, TensorType
from localq.messages import msg

__all__ = [
    "RECIPE_FILE",
    "WIKITEXT2",
    "Calibration",
    "Checks",
    "KnownModel",
    "PlanRecipe",
    "PresetRecipe",
    "QuantizeRecipe",
    "Recipe",
    "Role",
]

RECIPE_FILE = "localq.toml"
"""What a recipe is called in a folder of the user's."""

WIKITEXT2 = "wikitext2"
"""Stands for WikiText-2's test text instead of a file."""


class Role(StrEnum):
    """What a known model is taken for."""

    GENERAL = "general"
    SMALL = "small"
    CODING = "coding"
    CHINESE = "chinese"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """What is known about a model before asking the Hub."""

    repo: str
    title: str
    architecture: str
    """As its config.json names it."""
    license: str
    """As the Hub writes it: "apache-2.0"."""
    context: int
    """Tokens it was trained to see."""
    languages: tuple[str, ...]
    """ISO 639-1 codes."""
    offered: bool
    """Whether it is proposed to who asks for no certain model."""
    memory_gb: int
    """The memory of the machines that it is meant for."""
    role: Role
    reason: str
    """Why this one and no other, in English."""


@dataclass(frozen=True, slots=True)
class QuantizeRecipe:
    """How the model is to be quantized; the fields are the options of `localq quantize`."""

    type: QuantType
    imatrix: Path | None = None
    output_type: TensorType | None = None
    embedding_type: TensorType | None = None
    pure: bool = False
    tensor_types: tuple[tuple[str, TensorType], ...] = ()


@dataclass(frozen=True, slots=True)
class Calibration:
    """The importance matrix to make. `text` None: WikiText-2; `reader` None: a type that keeps all
    that the checkpoint holds; `chunks` of `n_ctx` tokens are read, None: all."""

    text: Path | None
    reader: QuantType | None = None
    chunks: int | None = None
    n_ctx: int = 512


@dataclass(frozen=True, slots=True)
class Checks:
    """What each file must hold. `text` None: WikiText-2. `against` is the type of the base of
    `max_kld` (nats) and `min_agreement` (share of the tokens, 0 to 1)."""

    text: Path | None
    chunks: int | None = None
    n_ctx: int = 512
    against: QuantType | None = None
    max_perplexity: float | None = None
    max_kld: float | None = None
    min_agreement: float | None = None


@dataclass(frozen=True, slots=True)
class PlanRecipe:
    """How the files are to be loaded; None: the plan decides."""

    n_ctx: int | None = None
    n_gpu_layers: int | None = None
    type_k: str | None = None
    type_v: str | None = None


@dataclass(frozen=True, slots=True)
class PresetRecipe:
    """The fields of a preset, as the file has them; the engine checks `sampling`."""

    content: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe and the file it came from."""

    path: Path
    repo: str
    revision: str | None
    outputs: tuple[QuantizeRecipe, ...] = ()
    calibration: Calibration | None = None
    checks: Checks | None = None
    plan: PlanRecipe | None = None
    preset: PresetRecipe | None = None
    about: KnownModel | None = None

    @property
    def name(self) -> str:
        """What it is called: its file's name, or for a `localq.toml` its folder's."""
        return self.path.absolute().parent.name if self.path.name == RECIPE_FILE else self.path.stem

    @property
    def output(self) -> QuantizeRecipe:
        """The one file that it makes; UsageError where it makes none, or several."""
        if not self.outputs:
            raise UsageError(
                msg("{path} does not say how to quantize", path=self.path),
                hint=msg("name the type: localq quantize q4_k_m"),
            )
        if len(self.outputs) > 1:
            raise UsageError(
                msg("{path} makes {count} files", path=self.path, count=len(self.outputs)),
                hint=msg("localq recipe run {path}", path=self.path),
            )
        return self.outputs[0]
