"""What a model's header says about the memory it will take: layers, heads, widths, weights.

Everything comes from a GGUF's metadata and tensor table, which may be a remote file's, or one
that does not exist yet. Sources: llama.cpp `src/llama-model.cpp` (load_hparams, create_memory),
`src/llama-hparams.cpp` and `src/models/*.cpp`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

from localq.errors import UnsupportedError
from localq.messages import msg
from localq.planning.architectures import WITHOUT_FLASH_ATTENTION
from localq.planning.attention_layers import LayerMemory, layer_memories
from localq.planning.header_tensors import TensorLike, TensorSpec, data_bytes
from localq.planning.header_values import HeaderValues
from localq.planning.layer_widths import (
    attention,
    embeddings_of_layers,
    extra_width,
    feed_forward,
)

__all__ = ["LayerKind", "LayerShape", "ModelShape", "TensorLike", "TensorSpec", "read_shape"]

_MAX_LAYERS = 512  # LLAMA_MAX_LAYERS
_BLOCK = re.compile(r"blk\.(\d{1,3})\.(.+)")
_EXPERTS = re.compile(r"ffn_(up|down|gate|gate_up)_(ch|)exps\.")
"""What llama.cpp's --n-cpu-moe keeps in host memory."""


_INPUTS = ("token_embd", "per_layer_token_embd", "position_embd", "token_types")
_OUTPUT_FIRST = frozenset({"gemma3n", "gemma4"})
_TOKEN_BYTES, _MERGE_BYTES = 200, 90
"""Measured: llama.cpp's maps of tokens and merges, over vocabularies of 32,000 to 152,000."""


@dataclass(frozen=True, slots=True)
class LayerKind:
    """What a layer computes with and keeps; a model has one to three kinds.

    Widths are numbers for each token that are in memory at the same time.
    """

    memory: LayerMemory
    heads: int
    query: int
    """Width of all queries."""
    attention: int
    """Width of what attention, or what takes its place, computes with, without the scores."""
    feed_forward: int
    """Width between the parts of the widest feed-forward network, its products included."""
    state: int
    """Numbers of recurrent state that are copied whole, for each text."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One layer, and its weights in bytes."""

    kind: LayerKind
    weights: int
    """Without the experts."""
    experts: int
    """Of the experts that --n-cpu-moe can keep in host memory."""
    largest: int
    """Of its largest tensor, which a device borrows to read prompts where it stays in host
    memory."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    architecture: str
    n_ctx_train: int
    """0 where the file does not say."""
    n_embd: int
    n_vocab: int
    layers: tuple[LayerShape, ...]
    kinds: tuple[LayerKind, ...]
    """Those of the layers, each once."""
    unused_layers: int
    """Layers at the end that predict further tokens: in the file, but not loaded."""
    input_bytes: int
    """Token embeddings, which stay in host memory."""
    output_bytes: int
    """The output's weights; the embeddings once more where the model uses them for both."""
    tied: bool
    """Whether the output uses the embeddings, so that only a device needs a second copy."""
    other_bytes: int
    """Weights of no layer that go where the output goes."""
    n_embd_layers: int
    """Width of embeddings that each layer has of its own, together."""
    tied_twice: bool
    """Whether llama.cpp keeps embeddings that the output uses twice even on the processor, unless
    they are mapped from the file."""
    vocabulary_bytes: int
    """What the engine keeps of the tokenizer."""
    causal: bool
    """False for encoders, which keep nothing of what they read."""
    window: int
    """Tokens that sliding-window layers look back; 0: there are none."""
    parameters: int
    approximate: bool
    """Whether llama.cpp keeps something for this architecture that is not modelled here."""

    @property
    def n_layer(self) -> int:
        return len(self.layers)

    @property
    def flash_attn(self) -> bool:
        """Whether llama.cpp can compute it with flash attention."""
        return self.architecture not in WITHOUT_FLASH_ATTENTION

    @property
    def weights(self) -> int:
        """Bytes of all weights, each counted once."""
        output = 0 if self.tied else self.output_bytes
        layers = sum(layer.weights + layer.experts for layer in self.layers)
        return self.input_bytes + self.other_bytes + output + layers


def read_shape(
    metadata: Mapping[str, object], tensors: Iterable[TensorLike], *, name: str = ""
) -> ModelShape:
    """The shape of a language model; UnsupportedError, which begins with the `name`, where the
    header describes none."""
    try:
        return _read_shape(metadata, tensors)
    except UnsupportedError as error:
        if not name:
            raise
        raise UnsupportedError(
            msg("{name}: {message}", name=name, message=error.message), hint=error.hint
        ) from error


def _read_shape(metadata: Mapping[str, object], tensors: Iterable[TensorLike]) -> ModelShape:
    values = HeaderValues(metadata)
    blocks: dict[int, dict[str, TensorLike]] = {}
    others: dict[str, TensorLike] = {}
    parameters = 0
    for tensor in tensors:
        parameters += prod(tensor.shape)
        if match := _BLOCK.fullmatch(tensor.name):
            blocks.setdefault(int(match[1]), {})[match[2]] = tensor
        else:
            others[tensor.name] = tensor
    n_layer = values.count("block_count", 0)
    embedding = others.get("token_embd.weight")
    if not 1 <= n_layer <= _MAX_LAYERS or embedding is None or len(embedding.shape) < 2:
        architecture = values.architecture[:60]
        raise UnsupportedError(
            msg(
                "not a language model that llama.cpp could run (architecture {architecture})",
                architecture=architecture,
            )
        )
    # Heads that predict several tokens ahead come last; llama.cpp leaves them in the file.
    unused = min(values.count("nextn_predict_layers", 0), n_layer - 1)
    n_layer -= unused
    n_embd = embedding.shape[0]
    kept = layer_memories(values, n_layer, n_embd)
    layers = _shared_kinds(
        _layer(values, index, n_embd, kept.layers[index], blocks.get(index, {}))
        for index in range(n_layer)
    )
    output = others.get("output.weight")
    inputs = sum(data_bytes(others[name]) for name in others if name.startswith(_INPUTS))
    rest = sum(data_bytes(tensor) for tensor in others.values()) - inputs
    head = data_bytes(output if output is not None else embedding)
    return ModelShape(
        architecture=values.architecture,
        n_ctx_train=values.count("context_length", 0),
        n_embd=n_embd,
        n_vocab=embedding.shape[-1],
        layers=layers,
        kinds=tuple(dict.fromkeys(layer.kind for layer in layers)),
        unused_layers=unused,
        input_bytes=inputs,
        output_bytes=head,
        tied=output is None,
        tied_twice=output is None and values.architecture in _OUTPUT_FIRST,
        vocabulary_bytes=_vocabulary_bytes(metadata, embedding.shape[-1]),
        other_bytes=rest if output is None else rest - head,
        n_embd_layers=embeddings_of_layers(values),
        causal=kept.causal,
        window=kept.window,
        parameters=parameters,
        approximate=kept.approximate,
    )


def _layer(
    values: HeaderValues,
    index: int,
    n_embd: int,
    memory: LayerMemory,
    tensors: Mapping[str, TensorLike],
) -> LayerShape:
    sizes = {name: data_bytes(tensor) for name, tensor in tensors.items()}
    experts = sum(size for name, size in sizes.items() if _EXPERTS.match(name))
    heads = values.of_layer("attention.head_count", index, 0)
    query = heads * max(memory.head_key, memory.head_value)
    kind = LayerKind(
        memory=memory,
        heads=heads,
        query=query,
        attention=attention(values, n_embd, heads, memory, tensors),
        feed_forward=4 * n_embd + feed_forward(values, tensors) + extra_width(values, n_embd),
        state=2 * memory.state,
    )
    return LayerShape(kind, sum(sizes.values()) - experts, experts, max(sizes.values(), default=0))


def _shared_kinds(layers: Iterable[LayerShape]) -> tuple[LayerShape, ...]:
    """The layers; those of one kind have the same object for it, which makes plans quicker."""
    kinds: dict[LayerKind, LayerKind] = {}
    return tuple(replace(layer, kind=kinds.setdefault(layer.kind, layer.kind)) for layer in layers)


def _vocabulary_bytes(metadata: Mapping[str, object], n_vocab: int) -> int:
    merges = metadata.get("tokenizer.ggml.merges")
    count = len(merges) if isinstance(merges, list) else 0
    return n_vocab * _TOKEN_BYTES + count * _MERGE_BYTES
