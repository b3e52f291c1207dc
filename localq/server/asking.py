"""From a request that is understood to its replies: its turn, its model, its thread."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from localq.engine.protocol import TokenLogprob
from localq.server.context import ServerContext
from localq.server.exchange import Exchange
from localq.server.running import Running
from localq.services.hosting.hosted import HostedModel
from localq.services.serving.chat_prompt import ChatInput
from localq.services.serving.forced_call import ForcedCall
from localq.services.serving.replying import Ended, Replied, reply_to_chat
from localq.services.serving.served_models import ServedModel

__all__ = ["Work", "ask", "chat_work", "compute", "replies", "whole_replies"]

Work = Callable[[HostedModel, threading.Event, Callable[[Replied], None]], None]
"""What is asked of the model; in a thread of its own."""

R = TypeVar("R")
Logprobs = dict[int, list[TokenLogprob]]
"""By the index of the reply."""

_LONG = 3600.0


def chat_work(
    context: ServerContext,
    chat: ChatInput,
    sampling: Mapping[str, Any],
    *,
    count: int = 1,
    forced: ForcedCall | None = None,
) -> Work:
    """Replies to a conversation, as `reply_to_chat` makes them."""

    def work(model: HostedModel, cancel: threading.Event, put: Callable[[Replied], None]) -> None:
        reply_to_chat(
            model,
            context.templates,
            chat,
            sampling,
            count=count,
            forced=forced,
            cancel=cancel,
            put=put,
        )

    return work


@asynccontextmanager
async def ask(
    context: ServerContext, exchange: Exchange, served: ServedModel, work: Work
) -> AsyncIterator[Running[Replied]]:
    """The work, once it is this request's turn; whatever of it still runs when the block is left
    is cancelled."""
    exchange.noted.model = served.id

    def run(put: Callable[[Replied], None], cancel: threading.Event) -> None:
        with context.models.acquire(served, cancel) as model:
            work(model, cancel, put)

    async with (
        context.gates.enter(served.target),
        Running(context.executor, run) as running,
    ):
        yield running


async def compute(
    context: ServerContext,
    exchange: Exchange,
    served: ServedModel,
    work: Callable[[HostedModel, threading.Event], R],
) -> R:
    """What `work` gives, once it is this request's turn; the model need not write text."""
    exchange.noted.model = served.id

    def run(put: Callable[[R], None], cancel: threading.Event) -> None:
        with context.models.acquire(served, cancel, any_kind=True) as model:
            put(work(model, cancel))

    async with (
        context.gates.enter(served.target),
        Running(context.executor, run) as running,
    ):
        found: list[R] = []
        while (batch := await running.next(_LONG)) is not None:
            found += batch
        return found[0]


async def replies(
    context: ServerContext, exchange: Exchange, running: Running[Replied]
) -> AsyncIterator[Replied]:
    """What comes of it, counted."""
    while (batch := await running.next(_LONG)) is not None:
        for one in batch:
            if isinstance(one, Ended):
                _count(context, exchange, one)
            yield one


async def whole_replies(
    context: ServerContext, exchange: Exchange, running: Running[Replied]
) -> tuple[dict[int, Ended], Logprobs]:
    """All of it, by the indices of the replies."""
    ended: dict[int, Ended] = {}
    logprobs: Logprobs = {}
    async for one in replies(context, exchange, running):
        if isinstance(one, Ended):
            ended[one.index] = one
        else:
            logprobs.setdefault(one.index, []).extend(one.logprobs)
    return ended, logprobs


def _count(context: ServerContext, exchange: Exchange, ended: Ended) -> None:
    done, noted, metrics = ended.generation, exchange.noted, context.metrics
    noted.prompt_tokens += done.prompt_tokens
    noted.reused_tokens += done.reused_tokens
    noted.generated_tokens += done.generated_tokens
    metrics.requests_total += 1
    metrics.prompt_tokens_total += done.prompt_tokens
    metrics.prompt_tokens_read_total += done.prompt_tokens - done.reused_tokens
    metrics.prompt_seconds_total += done.prompt_seconds
    metrics.tokens_predicted_total += done.generated_tokens
    metrics.tokens_predicted_seconds_total += done.generate_seconds
