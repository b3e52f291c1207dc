"""The sizes of a GGUF's layers, by what its metadata says."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["NotSaidError", "Sizes"]


class NotSaidError(Exception):
    """The metadata lacks what a shape would follow from."""


class Sizes:
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
        raise NotSaidError(key)

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
            raise NotSaidError("token_type_count")
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
    def key_here(self) -> int:
        """The width of this layer's heads."""
        windows = self._metadata.get(f"{self._architecture}.attention.sliding_window_pattern")
        if not isinstance(windows, list) or self._layer >= len(windows):
            raise NotSaidError("attention.sliding_window_pattern")
        return self.of("attention.key_length_swa") if windows[self._layer] else self.key

    @property
    def layers(self) -> int:
        return self.of("block_count")

    @property
    def layer_input(self) -> int:
        """The width of what each layer gets of a token."""
        return self.of("embedding_length_per_layer_input")

    @property
    def streams(self) -> int:
        return self.of("altup.num_inputs")

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
