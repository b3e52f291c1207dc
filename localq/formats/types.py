"""ggml tensor types and llama.cpp file types.

A `TensorType` says how one tensor's elements are stored; a `QuantType` names a whole file, whose
tensors may be of several types (`Q4_K_M` is a recipe, not a storage format). Numbers and block
sizes: llama.cpp `ggml/include/ggml.h`, `ggml/src/ggml-common.h` and `include/llama.h`.
"""

from __future__ import annotations

from enum import Enum

from localq.formats.type_names import unknown_type
from localq.messages import msg

__all__ = ["QuantType", "TensorType"]


class TensorType(Enum):
    """A ggml type: its number in GGUF files, elements per block, bytes per block."""

    F32 = (0, 1, 4)
    F16 = (1, 1, 2)
    Q4_0 = (2, 32, 18)
    Q4_1 = (3, 32, 20)
    Q5_0 = (6, 32, 22)
    Q5_1 = (7, 32, 24)
    Q8_0 = (8, 32, 34)
    Q8_1 = (9, 32, 36)
    Q2_K = (10, 256, 84)
    Q3_K = (11, 256, 110)
    Q4_K = (12, 256, 144)
    Q5_K = (13, 256, 176)
    Q6_K = (14, 256, 210)
    Q8_K = (15, 256, 292)
    IQ2_XXS = (16, 256, 66)
    IQ2_XS = (17, 256, 74)
    IQ3_XXS = (18, 256, 98)
    IQ1_S = (19, 256, 50)
    IQ4_NL = (20, 32, 18)
    IQ3_S = (21, 256, 110)
    IQ2_S = (22, 256, 82)
    IQ4_XS = (23, 256, 136)
    I8 = (24, 1, 1)
    I16 = (25, 1, 2)
    I32 = (26, 1, 4)
    I64 = (27, 1, 8)
    F64 = (28, 1, 8)
    IQ1_M = (29, 256, 56)
    BF16 = (30, 1, 2)
    TQ1_0 = (34, 256, 54)
    TQ2_0 = (35, 256, 66)
    MXFP4 = (39, 32, 17)
    NVFP4 = (40, 64, 36)
    Q1_0 = (41, 128, 18)
    Q2_0 = (42, 64, 18)

    def __init__(self, ggml_id: int, block_elements: int, block_bytes: int) -> None:
        self.ggml_id = ggml_id
        self.block_elements = block_elements
        self.block_bytes = block_bytes

    @classmethod
    def parse(cls, text: str) -> TensorType:
        """The type a user wrote, in any case; UsageError names those that look alike."""
        try:
            return cls[text.strip().upper()]
        except KeyError:
            raise unknown_type(text, cls.__members__, what=msg("tensor type")) from None

    @property
    def is_quantized(self) -> bool:
        return self.block_elements > 1

    def row_bytes(self, elements: int) -> int:
        """Bytes of a row of `elements`, which must be whole blocks."""
        if elements % self.block_elements:
            raise ValueError(f"{elements} elements are not whole {self.name} blocks")
        return elements // self.block_elements * self.block_bytes

    @classmethod
    def from_id(cls, ggml_id: int) -> TensorType | None:
        """The type with this number, or None: a newer llama.cpp may know more."""
        return _BY_ID.get(ggml_id)


_BY_ID = {t.ggml_id: t for t in TensorType}


class QuantType(Enum):
    """A llama.cpp file type: its `general.file_type` number and the type most tensors get."""

    F32 = (0, TensorType.F32)
    F16 = (1, TensorType.F16)
    Q4_0 = (2, TensorType.Q4_0)
    Q4_1 = (3, TensorType.Q4_1)
    Q8_0 = (7, TensorType.Q8_0)
    Q5_0 = (8, TensorType.Q5_0)
    Q5_1 = (9, TensorType.Q5_1)
    Q2_K = (10, TensorType.Q2_K)
    Q3_K_S = (11, TensorType.Q3_K)
    Q3_K_M = (12, TensorType.Q3_K)
    Q3_K_L = (13, TensorType.Q3_K)
    Q4_K_S = (14, TensorType.Q4_K)
    Q4_K_M = (15, TensorType.Q4_K)
    Q5_K_S = (16, TensorType.Q5_K)
    Q5_K_M = (17, TensorType.Q5_K)
    Q6_K = (18, TensorType.Q6_K)
    IQ2_XXS = (19, TensorType.IQ2_XXS)
    IQ2_XS = (20, TensorType.IQ2_XS)
    Q2_K_S = (21, TensorType.Q2_K)
    IQ3_XS = (22, TensorType.IQ3_S)
    IQ3_XXS = (23, TensorType.IQ3_XXS)
    IQ1_S = (24, TensorType.IQ1_S)
    IQ4_NL = (25, TensorType.IQ4_NL)
    IQ3_S = (26, TensorType.IQ3_S)
    IQ3_M = (27, TensorType.IQ3_S)
    IQ2_S = (28, TensorType.IQ2_XS)
    IQ2_M = (29, TensorType.IQ2_S)
    IQ4_XS = (30, TensorType.IQ4_XS)
    IQ1_M = (31, TensorType.IQ1_M)
    BF16 = (32, TensorType.BF16)
    TQ1_0 = (36, TensorType.TQ1_0)
    TQ2_0 = (37, TensorType.TQ2_0)
    MXFP4_MOE = (38, TensorType.MXFP4)
    Q1_0 = (40, TensorType.Q1_0)
    Q2_0 = (41, TensorType.Q2_0)

    def __init__(self, file_type: int, default: TensorType) -> None:
        self.file_type = file_type
        self.default = default

    @classmethod
    def parse(cls, text: str) -> QuantType:
        """The type a user wrote, in any case; UsageError names those that look alike."""
        name = text.strip().upper().replace("-", "_")
        try:
            return cls[_ALIASES.get(name, name)]
        except KeyError:
            raise unknown_type(
                text,
                cls.__members__,
                what=msg("quantization type"),
                more=msg("; localq fit MODEL --all lists every type"),
            ) from None

    @classmethod
    def from_file_type(cls, file_type: int) -> QuantType | None:
        """The type whose `general.file_type` is this number."""
        return next((t for t in cls if t.file_type == file_type), None)


_ALIASES = {
    "Q3_K": "Q3_K_M",
    "Q4_K": "Q4_K_M",
    "Q5_K": "Q5_K_M",
    "FP16": "F16",
    "FP32": "F32",
    "MXFP4": "MXFP4_MOE",
}
