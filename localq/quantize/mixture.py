"""Which type each tensor of a file gets: llama.cpp's mixtures.

A file type such as Q4_K_M is a recipe: attention values, the FFN's way down, the embeddings and
the output get more bits than the rest, by rules that look at the layer, the grouping of attention
heads, the number of experts and the architecture. The rules here choose exactly as llama.cpp does
(`src/llama-quant.cpp`), checked against it type by type in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

from localq.errors import UnsupportedError, UsageError
from localq.formats.types import QuantType, TensorType
from localq.messages import msg
from localq.quantize.options import QuantOptions
from localq.quantize.tensor_roles import (
    GLM5_NEXT,
    VALUES,
    ModelTraits,
    Role,
    TensorShape,
    is_quantizable,
    role_of,
)

__all__ = ["choose_types"]

T = TensorType
Q = QuantType


_GLM5_NEXT_EIGHT_BITS = re.compile(r"attn_q_[ab]|nextn\.eh_proj")

_FALLBACKS = {
    T.IQ1_S: T.IQ4_NL,
    T.IQ1_M: T.IQ4_NL,
    T.IQ2_XXS: T.IQ4_NL,
    T.IQ2_XS: T.IQ4_NL,
    T.IQ2_S: T.IQ4_NL,
    T.IQ3_XXS: T.IQ4_NL,
    T.IQ3_S: T.IQ4_NL,
    T.IQ4_XS: T.IQ4_NL,
    T.Q2_0: T.Q4_0,
    T.Q2_K: T.Q4_0,
    T.Q3_K: T.Q4_0,
    T.TQ1_0: T.Q4_0,
    T.TQ2_0: T.Q4_0,
    T.Q4_K: T.Q5_0,
    T.Q5_K: T.Q5_1,
    T.Q6_K: T.Q8_0,
}
"""What takes the place of a type whose blocks are longer than the rows divide into."""

_TINY_IQ = frozenset({Q.IQ2_XXS, Q.IQ2_XS, Q.IQ2_S, Q.IQ2_M, Q.IQ1_S, Q.IQ1_M})
_NEEDS_IMATRIX = frozenset({T.IQ3_XXS, T.IQ2_XXS, T.IQ2_XS, T.IQ2_S, T.IQ1_M, T.IQ1_S})


def choose_types(
    options: QuantOptions,
    tensors: Sequence[TensorShape],
    traits: ModelTraits,
    weighed: Container[str] | None = None,
) -> list[TensorType]:
    """The type of each tensor, given in llama.cpp's order.

    `weighed` holds the tensors an importance matrix speaks of (None: there is no matrix). Raises
    UnsupportedError where llama.cpp would insist on one.
    """
    roles = [role_of(tensor.name) for tensor in tensors]
    rules = _Rules(options, traits, roles, has_imatrix=weighed is not None)
    types = []
    for tensor, role in zip(tensors, roles, strict=True):
        chosen = rules.choose(tensor, role) if is_quantizable(tensor, traits) else tensor.type
        if (
            chosen is not tensor.type
            and _requires_imatrix(role, chosen, options.type)
            and (weighed is None or tensor.name not in weighed)
        ):
            lacking = "an importance matrix" if weighed is None else "it in the importance matrix"
            raise UnsupportedError(
                msg(
                    "{name} needs {lacking}: {name2} would be {name3}",
                    name=options.type.name,
                    lacking=lacking,
                    name2=tensor.name,
                    name3=chosen.name,
                ),
                hint=msg(
                    "make one with localq imatrix and give it with --imatrix, or choose a type"
                    " that needs none, such as iq4_xs, q3_k_m or q2_k"
                ),
            )
        types.append(chosen)
    return types


def _requires_imatrix(role: Role, type_: TensorType, quant: QuantType) -> bool:
    if role is Role.OUTPUT or role is Role.EMBEDDING:
        return False
    return type_ in _NEEDS_IMATRIX or (type_ is T.Q2_K and quant is Q.Q2_K_S)


class _Rules:
    """The state of one walk over a model's tensors: some rules count what they have seen."""

    def __init__(
        self,
        options: QuantOptions,
        traits: ModelTraits,
        roles: Sequence[Role],
        *,
        has_imatrix: bool,
    ) -> None:
        self.options = options
        self.quant = options.type
        self.traits = traits
        self.has_imatrix = has_imatrix
        self.tied = Role.OUTPUT not in roles
        self.falcon = traits.architecture == "falcon"
        self.values_total = sum(role in VALUES for role in roles)
        self.values_seen = 0
        self.seen = {Role.DOWN: 0, Role.GATE: 0, Role.UP: 0}

    def choose(self, tensor: TensorShape, role: Role) -> TensorType:
        options, default = self.options, self.quant.default
        rule = next((r for r in options.rules if re.search(r.pattern, tensor.name)), None)
        # Per-layer embeddings are a table of their own, which a rule may name.
        named = rule is not None and tensor.name != "token_embd.weight"
        if options.embedding_type and role is Role.EMBEDDING and not named:
            return self.unchecked(options.embedding_type, tensor)
        if options.output_type and role is Role.OUTPUT:
            return self.unchecked(options.output_type, tensor)
        if not default.is_quantized:
            return default
        if rule is not None:
            return _fitting(rule.type, tensor.shape[0])
        return _fitting(default if options.pure else self.mixture(tensor, role), tensor.shape[0])

    def unchecked(self, type_: TensorType, tensor: TensorShape) -> TensorType:
        """A type the user insists on: nothing stands in for it where it does not fit."""
        if tensor.shape[0] % type_.block_elements:
            raise UsageError(
                msg(
                    "{name}: rows of {shape} are not whole {name2} blocks",
                    name=tensor.name,
                    shape=tensor.shape[0],
                    name2=type_.name,
                ),
                hint=msg("choose another type for it, such as q8_0"),
            )
        return type_

    def mixture(self, tensor: TensorShape, role: Role) -> TensorType:
        quant, default, architecture = self.quant, self.quant.default, self.traits.architecture
        if architecture == GLM5_NEXT and _GLM5_NEXT_EIGHT_BITS.search(tensor.name):
            return T.Q8_0
        if role is Role.OUTPUT or (self.tied and role is Role.EMBEDDING):
            return self.options.output_type or self.output(tensor.shape[0])
        if quant is Q.MXFP4_MOE:
            experts = len(tensor.shape) > 2 and tensor.shape[2] > 1
            if architecture == "bailingmoe3":  # whose attention has stacks of matrices too
                experts = experts and role in (Role.UP, Role.GATE, Role.DOWN)
            return T.MXFP4 if experts else T.Q8_0
        if role is Role.EMBEDDING:
            return _EMBEDDINGS.get(quant, default)
        if quant in _TINY_IQ:
            return self.tiny_iq(role)
        if role in VALUES:
            return self.values()
        if role is Role.K or role is Role.Q:
            if role is Role.K and self.traits.experts == 8:
                return T.Q8_0
            return {Q.IQ3_XS: T.IQ3_XXS, Q.IQ3_XXS: T.IQ2_S}.get(quant, default)
        if role is Role.DOWN:
            return self.down(self.layer(tensor.name, role))
        if role is Role.ATTENTION_OUTPUT:
            return self.attention_output()
        if role is Role.GATE or role is Role.UP:
            layer, layers = self.layer(tensor.name, role), self.traits.layers
            if quant is Q.IQ3_XS and layers // 8 <= layer < 7 * layers // 8:
                return T.IQ3_XXS
        return default

    def output(self, columns: int) -> TensorType:
        quant, default = self.quant, self.quant.default
        if quant is Q.MXFP4_MOE or self.falcon or columns % default.block_elements:
            return T.Q8_0
        if quant in _TINY_IQ or quant is Q.IQ3_XXS:
            return T.Q5_K
        return T.Q8_0 if default is T.Q8_0 else T.Q6_K

    def tiny_iq(self, role: Role) -> TensorType:
        """The types under three bits."""
        quant, traits, default = self.quant, self.traits, self.quant.default
        wide = quant in (Q.IQ2_S, Q.IQ2_M)
        if role in VALUES:
            self.values_seen += 1
            if traits.gqa >= 4 or traits.experts >= 4:
                return T.Q4_K
            return T.IQ3_S if wide else T.Q2_K
        if role is Role.K and traits.experts == 8:
            return T.Q4_K
        if role is Role.DOWN:
            # Here llama.cpp counts the tensors, not the layers.
            self.seen[role] += 1
            if self.seen[role] - 1 < traits.layers // 8:
                return T.IQ3_S if wide else T.Q2_K
        if role is Role.ATTENTION_OUTPUT:
            if traits.experts == 8:
                return T.Q5_K
            if quant in (Q.IQ1_S, Q.IQ1_M):
                return T.IQ2_XXS
            if wide:
                return T.IQ3_S
        return default

    def values(self) -> TensorType:
        quant, traits = self.quant, self.traits
        seen, chosen, grouped = self.values_seen, quant.default, traits.gqa >= 4
        match quant:
            case Q.Q2_K:
                chosen = T.Q4_K if grouped else T.Q3_K
            case Q.Q2_K_S | Q.IQ3_XS | Q.IQ3_S if grouped:
                chosen = T.Q4_K
            case Q.IQ3_XXS if grouped or not self.has_imatrix:
                chosen = T.Q4_K if grouped else T.IQ3_S
            case Q.IQ3_M:
                chosen = T.Q4_K
            case Q.Q3_K_M:
                chosen = T.Q5_K if seen < 2 else T.Q4_K
            case Q.Q3_K_L:
                chosen = T.Q5_K
            case Q.IQ4_NL | Q.IQ4_XS if grouped:
                chosen = T.Q5_K
            case Q.Q4_K_M | Q.Q5_K_M if _more_bits(seen, self.values_total):
                chosen = T.Q6_K
            case Q.Q4_K_S if seen < 4:
                chosen = T.Q5_K
        if traits.seventy_b and chosen in (T.Q3_K, T.Q4_K):
            chosen = T.Q5_K
        if traits.experts == 8:
            chosen = T.Q8_0
        self.values_seen += 1
        return chosen

    def down(self, layer: int) -> TensorType:
        quant, layers, default = self.quant, self.traits.layers, self.quant.default
        early, more = layer < layers // 8, _more_bits(layer, layers)
        match quant:
            case Q.Q2_K:
                return T.Q3_K
            case Q.Q2_K_S if early:
                return T.Q4_K
            case Q.IQ3_XXS if not self.has_imatrix:
                return T.Q4_K if early else T.Q3_K
            case Q.Q3_K_M:
                if layer < layers // 16:
                    return T.Q5_K
                return T.Q4_K if not self.falcon or more else T.Q3_K
            case Q.IQ3_M if early or (self.traits.experts == 8 and more):
                return T.Q4_K
            case Q.Q3_K_L:
                return T.Q4_K if self.falcon else T.Q5_K
            case Q.Q4_K_M if self.falcon:
                if layer < layers // 16:
                    return T.Q6_K
                return T.Q5_K if more else T.Q4_K
            case Q.Q4_K_M | Q.Q5_K_M if more:
                return T.Q6_K
            case Q.IQ4_NL | Q.IQ4_XS if early and not self.has_imatrix:
                return T.Q5_K
            case Q.Q4_0 | Q.Q5_0 if early and self.has_imatrix:
                return T.Q4_1 if quant is Q.Q4_0 else T.Q5_1
            case Q.Q4_K_S if early and not self.falcon:
                return T.Q5_K
        return default

    def attention_output(self) -> TensorType:
        quant, default = self.quant, self.quant.default
        if self.falcon:
            return T.Q4_K if quant is Q.Q3_K_L else default
        if self.traits.experts == 8:
            return T.Q5_K if quant in _EIGHT_EXPERT_OUTPUT else default
        return _ATTENTION_OUTPUT.get(quant, default)

    def layer(self, name: str, role: Role) -> int:
        """The layer a rule goes by: counted, or read from the name where experts come in turns."""
        count = self.seen[role]
        self.seen[role] += 1
        if self.traits.experts > 1 and (match := re.match(r"blk\.(\d+)\.", name)):
            return int(match[1])
        return count


_EMBEDDINGS = {
    Q.IQ2_XXS: T.Q2_K,
    Q.IQ2_XS: T.Q2_K,
    Q.IQ1_S: T.Q2_K,
    Q.IQ1_M: T.Q2_K,
    Q.IQ2_S: T.IQ3_S,
    Q.IQ2_M: T.IQ3_S,
    Q.IQ3_XXS: T.IQ3_S,
    Q.TQ1_0: T.Q4_K,
    Q.TQ2_0: T.Q4_K,
    Q.Q2_0: T.Q4_K,
}
_ATTENTION_OUTPUT = {
    Q.Q2_K: T.Q3_K,
    Q.IQ3_XXS: T.IQ3_S,
    Q.Q3_K_M: T.Q4_K,
    Q.Q3_K_L: T.Q5_K,
    Q.IQ3_M: T.Q4_K,
}
_EIGHT_EXPERT_OUTPUT = frozenset(
    {
        Q.Q2_K,
        Q.IQ3_XS,
        Q.IQ3_XXS,
        Q.Q3_K_S,
        Q.Q3_K_M,
        Q.IQ4_NL,
        Q.Q4_K_S,
        Q.Q4_K_M,
        Q.IQ3_S,
        Q.IQ3_M,
        Q.IQ4_XS,
    }
)


def _more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _fitting(type_: TensorType, columns: int) -> TensorType:
    """The type, or what llama.cpp falls back to where the rows are not whole blocks of it."""
    if columns % type_.block_elements == 0:
        return type_
    smaller = _FALLBACKS.get(type_, type_)
    if smaller is type_ and type_.block_elements > 32:
        raise UnsupportedError(
            msg(
                "rows of {columns} are not whole {name} blocks, and no other type stands in",
                columns=columns,
                name=type_.name,
            ),
            hint=msg("choose another type, such as q4_0"),
        )
    return T.F16 if columns % smaller.block_elements else smaller
