"""One text that a hosted model continues, within what its context has room for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from localq.engine.client import Generation
from localq.engine.protocol import Pictures, TokenLogprob
from localq.engine.sampling import SamplingParams
from localq.engine.sampling_defaults import sampling_for
from localq.errors import UsageError
from localq.messages import msg
from localq.services.hosting.hosted import HostedModel

__all__ = ["ContextExceeded", "Said", "check_tokens", "generate_within", "sampling_within"]

Said = tuple[str, tuple[TokenLogprob, ...]]
"""More text, and what is known of tokens; one may lag behind the other."""


class ContextExceeded(UsageError):
    """The prompt alone fills the context."""


def sampling_within(
    model: HostedModel, tokens: Sequence[int], given: Mapping[str, Any]
) -> SamplingParams:
    """Settings for a reply: what is given and not None, else what the model's makers recommend.
    Without `max_tokens` it may be as long as the context. ContextExceeded, UsageError."""
    n_ctx = model.loaded.n_ctx
    room = n_ctx - len(tokens)
    if room < 1:
        raise ContextExceeded(
            msg(
                "the prompt is {tokens:,} tokens long, and the context has room for {n_ctx:,}",
                tokens=len(tokens),
                n_ctx=n_ctx,
            ),
            hint=msg("a shorter prompt, or localq serve --ctx N"),
        )
    most = given.get("max_tokens")
    return sampling_for(
        model.metadata, {**given, "max_tokens": room if most is None else min(most, room)}
    )


def check_tokens(model: HostedModel, tokens: Sequence[int]) -> None:
    """UsageError for a token that the model's vocabulary does not have."""
    n_vocab = model.loaded.n_vocab
    if wrong := [token for token in tokens if not 0 <= token < n_vocab]:
        raise UsageError(
            msg(
                "there is no token {token}: the vocabulary has {n_vocab:,}",
                token=wrong[0],
                n_vocab=n_vocab,
            )
        )


def generate_within(
    model: HostedModel,
    tokens: Sequence[int],
    sampling: SamplingParams,
    *,
    pictures: Pictures | None = None,
    cancel: threading.Event,
    on_said: Callable[[Said], None],
) -> Generation:
    """As `HostedModel.generate`; text and log probabilities of a step come together."""
    waiting: list[TokenLogprob] = []

    def text(piece: str) -> None:
        on_said((piece, tuple(waiting)))
        waiting.clear()

    done = model.generate(
        tokens,
        sampling,
        pictures=pictures,
        cancel=cancel,
        on_text=text,
        on_logprobs=waiting.extend if sampling.logprobs is not None else None,
    )
    if waiting:
        on_said(("", tuple(waiting)))
    return done
