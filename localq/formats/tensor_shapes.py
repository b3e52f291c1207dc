"""The shape that each tensor of a GGUF must have, by what the file's own metadata says.

llama.cpp refuses a model of which one tensor has another shape; here it is known from a header,
before anything is written or loaded. Source: the `create_tensor` calls of llama.cpp
`src/models/*.cpp` (the release inside llama-cpp-python 0.3.36).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["CHECKED_ARCHITECTURES", "WrongShape", "expected_shape", "wrong_shapes"]

Shape = tuple[int, ...]
"""The fastest dimension first, as ggml has it."""


class _NamedShape(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Shape: ...


@dataclass(frozen=True, slots=True)
class WrongShape:
    """A tensor's shape and the one that it should have."""

    name: str
    shape: Shape
    expected: Shape


class _NotSaidError(Exception):
    """The metadata lacks what a shape would follow from."""


class _Sizes:
    """The sizes of one layer."""

    def __init__(self, metadata: Mapping[str, object], layer: int) -> None:
        self._metadata = metadata
        self._architecture = str(metadata.get("general.architecture"))
        self._layer = layer

    def has(self, key: str) -> bool:
        return f"{self._architecture}.{key}" in self._metadata

    def of(self, key: str, *otherwise: int) -> int:
        """A number that may be given for each layer; the first of `otherwise` where none is."""
        value = self._metadata.get(f"{self._architecture}.{key}")
        if isinstance(value, list):
            value = value[self._layer] if self._layer < len(value) else None
        if type(value) is int and value >= 0:
            return value
        if otherwise:
            return otherwise[0]
        raise _NotSaidError(key)

    @property
    def embd(self) -> int:
        return self.of("embedding_length")

    @property
    def vocab(self) -> int:
        tokens = self._metadata.get("tokenizer.ggml.tokens")
        return len(tokens) if isinstance(tokens, list) else self.of("vocab_size")

    @property
    def token_types(self) -> int:
        count = self._metadata.get("tokenizer.ggml.token_type_count")
        if type(count) is not int:
            raise _NotSaidError("token_type_count")
        return count

    @property
    def labels(self) -> int:
        labels = self._metadata.get(f"{self._architecture}.classifier.output_labels")
        return len(labels) if isinstance(labels, list) else 1

    @property
    def heads(self) -> int:
        return self.of("attention.head_count")

    @property
    def kv_heads(self) -> int:
        return self.of("attention.head_count_kv", self.heads)

    @property
    def key(self) -> int:
        """The width of a head's keys."""
        return self.of("attention.key_length", self._even_share())

    @property
    def value(self) -> int:
        return self.of("attention.value_length", self._even_share())

    def _even_share(self) -> int:
        heads = self.heads
        return self.embd // heads if heads else 0

    @property
    def q(self) -> int:
        return self.heads * self.key

    @property
    def k(self) -> int:
        return self.kv_heads * self.key

    @property
    def v(self) -> int:
        return self.kv_heads * self.value

    @property
    def o(self) -> int:
        return self.heads * self.value

    @property
    def ff(self) -> int:
        return self.of("feed_forward_length")

    @property
    def experts(self) -> int:
        return self.of("expert_count")

    @property
    def ff_exp(self) -> int:
        if self.has("expert_feed_forward_length"):
            return self.of("expert_feed_forward_length")
        return self.ff

    @property
    def ff_shexp(self) -> int:
        if self.has("expert_shared_feed_forward_length"):
            return self.of("expert_shared_feed_forward_length")
        return self.ff_exp * self.of("expert_shared_count", 1)

    @property
    def inner(self) -> int:
        """The width of what a state is made of."""
        return self.of("ssm.inner_size")

    @property
    def steps(self) -> int:
        return self.of("ssm.time_step_rank")

    @property
    def convolved(self) -> int:
        """The width of what goes through the convolution: the inner width and two of groups."""
        return self.inner + 2 * self.of("ssm.group_count") * self.of("ssm.state_size")

    @property
    def turned(self) -> int:
        """How many of a head's numbers have a rotary frequency."""
        return self.of("rope.dimension_count", self.key) // 2


_Rule = Callable[[_Sizes], Shape]

_RULES: Mapping[str, _Rule] = {
    "token_embd": lambda s: (s.embd, s.vocab),
    "token_embd_norm": lambda s: (s.embd,),
    "token_types": lambda s: (s.embd, s.token_types),
    "position_embd": lambda s: (s.embd, s.of("context_length")),
    "output": lambda s: (s.embd, s.vocab),
    "output_norm": lambda s: (s.embd,),
    "cls": lambda s: (s.embd, s.embd),
    "cls.output": lambda s: (s.embd, s.labels),
    "rope_freqs": lambda s: (s.turned,),
    "rope_factors_long": lambda s: (s.turned,),
    "rope_factors_short": lambda s: (s.turned,),
    "attn_norm": lambda s: (s.embd,),
    "attn_norm_2": lambda s: (s.embd,),
    "attn_q": lambda s: (s.embd, s.q),
    "attn_k": lambda s: (s.embd, s.k),
    "attn_v": lambda s: (s.embd, s.v),
    "attn_qkv": lambda s: (s.embd, s.q + s.k + s.v),
    "attn_output": lambda s: (s.o, s.embd),
    "attn_q_norm": lambda s: (s.key,),
    "attn_k_norm": lambda s: (s.key,),
    "attn_output_norm": lambda s: (s.embd,),
    "post_attention_norm": lambda s: (s.embd,),
    "layer_output_norm": lambda s: (s.embd,),
    "ffn_norm": lambda s: (s.embd,),
    "post_ffw_norm": lambda s: (s.embd,),
    "ffn_gate": lambda s: (s.embd, s.ff),
    "ffn_up": lambda s: (s.embd, s.ff),
    "ffn_down": lambda s: (s.ff, s.embd),
    "ffn_gate_inp": lambda s: (s.embd, s.experts),
    "ffn_gate_exps": lambda s: (s.embd, s.ff_exp, s.experts),
    "ffn_up_exps": lambda s: (s.embd, s.ff_exp, s.experts),
    "ffn_down_exps": lambda s: (s.ff_exp, s.embd, s.experts),
    "ffn_gate_inp_shexp": lambda s: (s.embd,),
    "ffn_gate_shexp": lambda s: (s.embd, s.ff_shexp),
    "ffn_up_shexp": lambda s: (s.embd, s.ff_shexp),
    "ffn_down_shexp": lambda s: (s.ff_shexp, s.embd),
    "exp_probs_b": lambda s: (s.experts,),
    "attn_sinks": lambda s: (s.heads,),
    "nextn.embed_tokens": lambda s: (s.embd, s.vocab),
    "nextn.shared_head_head": lambda s: (s.embd, s.vocab),
    "nextn.eh_proj": lambda s: (2 * s.embd, s.embd),
    "nextn.enorm": lambda s: (s.embd,),
    "nextn.hnorm": lambda s: (s.embd,),
    "nextn.shared_head_norm": lambda s: (s.embd,),
    "ssm_conv1d": lambda s: (s.of("ssm.conv_kernel"), s.convolved),
    "ssm_out": lambda s: (s.inner, s.embd),
}
"""By the tensor's name without its layer and suffix. A bias is as long as what it is added to."""

_BOTH_IN_ONE: Mapping[str, _Rule] = {"ffn_up": lambda s: (s.embd, 2 * s.ff)}
"""The gate lies in it too."""
_NORM_EACH_HEAD: Mapping[str, _Rule] = {
    "attn_q_norm": lambda s: (s.key, s.heads),
    "attn_k_norm": lambda s: (s.key, s.kv_heads),
}
_NORM_ALL_HEADS: Mapping[str, _Rule] = {
    "attn_q_norm": lambda s: (s.q,),
    "attn_k_norm": lambda s: (s.k,),
}

_GATED_LINEAR: Mapping[str, _Rule] = {
    "attn_q": lambda s: (s.embd, 2 * s.q),
    "attn_qkv": lambda s: (s.embd, s.convolved),
    "attn_gate": lambda s: (s.embd, s.inner),
    "ssm_a": lambda s: (s.steps,),
    "ssm_dt": lambda s: (s.steps,),
    "ssm_alpha": lambda s: (s.embd, s.steps),
    "ssm_beta": lambda s: (s.embd, s.steps),
    "ssm_ba": lambda s: (s.embd, 2 * s.steps),
    "ssm_norm": lambda s: (s.inner // s.steps,),
}
"""A gate lies beside the queries; other layers keep a state by the delta rule."""

_LATENT: Mapping[str, _Rule] = {
    "attn_q": lambda s: (s.embd, s.heads * s.of("attention.key_length_mla")),
    "attn_q_a": lambda s: (s.embd, s.of("attention.q_lora_rank")),
    "attn_q_a_norm": lambda s: (s.of("attention.q_lora_rank"),),
    "attn_q_b": lambda s: (
        s.of("attention.q_lora_rank"),
        s.heads * s.of("attention.key_length_mla"),
    ),
    "attn_kv_a_mqa": lambda s: (s.embd, s.key),
    "attn_kv_a_norm": lambda s: (s.of("attention.kv_lora_rank"),),
    "attn_k_b": lambda s: (
        s.of("attention.key_length_mla") - s.of("rope.dimension_count"),
        s.of("attention.kv_lora_rank"),
        s.heads,
    ),
    "attn_v_b": lambda s: (
        s.of("attention.kv_lora_rank"),
        s.of("attention.value_length_mla"),
        s.heads,
    ),
    "attn_output": lambda s: (s.heads * s.of("attention.value_length_mla"), s.embd),
}
"""Keys and values of all heads come from a few numbers."""
_SHORT_CONVOLUTION: Mapping[str, _Rule] = {
    "shortconv.conv": lambda s: (s.of("shortconv.l_cache"), s.embd),
    "shortconv.in_proj": lambda s: (s.embd, 3 * s.embd),
    "shortconv.out_proj": lambda s: (s.embd, s.embd),
}

_NOTHING_OF_ITS_OWN: Sequence[str] = (
    *("arcee", "glm4moe", "mistral3", "phi2", "seed_oss"),
    *("bert", "bloom", "cohere2", "falcon", "gemma", "gemma2", "gemma3", "gpt2", "gptneox"),
    *(
        "gpt-oss",
        "granite",
        "granitemoe",
        "internlm2",
        "llama",
        "mpt",
        "nomic-bert",
        "olmo",
        "phi2",
    ),
    *("qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe"),
    *("smollm3", "starcoder", "starcoder2"),
)
_RULES_OF: Mapping[str, Mapping[str, _Rule]] = {
    **{name: {} for name in _NOTHING_OF_ITS_OWN},
    "chatglm": _BOTH_IN_ONE,
    "command-r": _NORM_EACH_HEAD,
    "deepseek2": _LATENT,
    "glm4": _BOTH_IN_ONE,
    "lfm2": _SHORT_CONVOLUTION,
    "lfm2moe": _SHORT_CONVOLUTION,
    "minimax-m2": _NORM_ALL_HEADS,
    "olmo2": _NORM_ALL_HEADS,
    "olmoe": _NORM_ALL_HEADS,
    "phi3": _BOTH_IN_ONE,
    "qwen35": _GATED_LINEAR,
    "qwen35moe": _GATED_LINEAR,
    "qwen3next": _GATED_LINEAR,
    "stablelm": _NORM_EACH_HEAD,
}
"""What an architecture has of its own; those not in here are not checked."""

CHECKED_ARCHITECTURES = frozenset(_RULES_OF)

_LAYER = re.compile(r"blk\.(\d{1,4})\.")


def expected_shape(metadata: Mapping[str, object], name: str) -> Shape | None:
    """The shape of the tensor `name`; None where no rule or too little is known of it."""
    own = _RULES_OF.get(str(metadata.get("general.architecture")))
    layer = _LAYER.match(name)
    stem, _, suffix = name[layer.end() if layer else 0 :].rpartition(".")
    if suffix not in ("weight", "bias"):
        stem, suffix = f"{stem}.{suffix}".lstrip("."), ""
    if own is None:
        return None
    rule = own.get(stem) or _RULES.get(stem)
    if rule is None:
        return None
    try:
        shape = rule(_Sizes(metadata, int(layer[1]) if layer else 0))
    except _NotSaidError:
        return None
    return shape[1:] if suffix == "bias" and len(shape) > 1 else shape


def wrong_shapes(
    metadata: Mapping[str, object], tensors: Iterable[_NamedShape]
) -> Iterator[WrongShape]:
    """The tensors that llama.cpp would not take, in their order."""
    for tensor in tensors:
        expected = expected_shape(metadata, tensor.name)
        if expected is not None and _bare(tensor.shape) != _bare(expected):
            yield WrongShape(tensor.name, tensor.shape, expected)


def _bare(shape: Shape) -> Shape:
    """Without the last dimensions that are 1, which mean nothing."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
