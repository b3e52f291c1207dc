"""A request's replies: one or several, of which each is taken apart while it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from localq.chat_format.message import ChatMessage
from localq.chat_format.reply import ContentText, Event
from localq.engine.client import Generation
from localq.engine.protocol import TokenLogprob
from localq.engine.sampling import SamplingParams
from localq.services.hosting.hosted import HostedModel
from localq.services.serving.chat_prompt import ChatInput, ChatTemplates
from localq.services.serving.fill_in import FillIn, fill_in_tokens
from localq.services.serving.forced_call import ForcedCall
from localq.services.serving.generating import Said, check_tokens, generate_within, sampling_within

__all__ = ["Ended", "Replied", "Step", "TextPrompt", "continue_texts", "reply_to_chat"]

_MAX_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Step:
    """More of reply number `index`."""

    index: int
    events: Sequence[Event]
    logprobs: Sequence[TokenLogprob]


@dataclass(frozen=True, slots=True)
class Ended:
    """Reply number `index` is whole; `message` is all that its steps told."""

    index: int
    generation: Generation
    message: ChatMessage


Replied: TypeAlias = Step | Ended
TextPrompt: TypeAlias = str | Sequence[int] | FillIn
"""A text, tokens as they are, or what stands around a text."""
_Put: TypeAlias = Callable[[Replied], None]


def reply_to_chat(
    model: HostedModel,
    templates: ChatTemplates,
    chat: ChatInput,
    given: Mapping[str, Any],
    *,
    count: int = 1,
    forced: ForcedCall | None = None,
    cancel: threading.Event,
    put: _Put,
) -> None:
    """Let the model answer `count` times. `given` are fields of SamplingParams, None counting as
    not given. `forced`: the reply is a call of a tool. UsageError, UnsupportedError, EngineError.
    """
    prompt = templates.prompt(model, chat)
    marked = {**given, "markers": () if forced else prompt.markers}
    if forced:
        marked["json_schema"] = forced.json_schema
    sampling = sampling_within(model, prompt.tokens, marked)

    def one(index: int, sampling: SamplingParams) -> None:
        parser = forced.parser() if forced else prompt.parser()

        def said(piece: Said) -> None:
            text, logprobs = piece
            events = parser.feed(text) if text else []
            if events or logprobs:
                put(Step(index, events, logprobs))

        done = generate_within(
            model,
            prompt.tokens,
            sampling,
            pictures=prompt.pictures,
            cancel=cancel,
            on_said=said,
        )
        if events := parser.finish():
            put(Step(index, events, ()))
        put(Ended(index, done, parser.message))

    _each(one, sampling, count)


def continue_texts(
    model: HostedModel,
    prompts: Sequence[TextPrompt],
    given: Mapping[str, Any],
    *,
    count: int = 1,
    cancel: threading.Event,
    put: _Put,
) -> None:
    """Let the model go on `count` times with each of the prompts; the replies to the first come
    first. Errors as `reply_to_chat`."""
    read = [_tokens(model, one) for one in prompts]
    settings = [sampling_within(model, tokens, given) for tokens in read]

    def one(index: int, sampling: SamplingParams) -> None:
        def said(piece: Said) -> None:
            text, logprobs = piece
            put(Step(index, [ContentText(text)] if text else [], logprobs))

        tokens = read[index // count]
        done = generate_within(model, tokens, sampling, cancel=cancel, on_said=said)
        put(Ended(index, done, ChatMessage("assistant", done.text)))

    if len(prompts) == count == 1:
        one(0, settings[0])
        return
    _together(
        [
            (lambda i=i: one(i, _seeded(settings[i // count], i % count)))  # type: ignore[misc]
            for i in range(len(prompts) * count)
        ]
    )


def _tokens(model: HostedModel, prompt: TextPrompt) -> list[int]:
    match prompt:
        case str():
            return model.tokenize(prompt)
        case FillIn():
            return fill_in_tokens(model, prompt)
    check_tokens(model, prompt)
    return list(prompt)


def _each(one: Callable[[int, SamplingParams], None], sampling: SamplingParams, count: int) -> None:
    if count == 1:
        one(0, sampling)
        return
    _together([(lambda i=i: one(i, _seeded(sampling, i))) for i in range(count)])  # type: ignore[misc]


def _together(jobs: Sequence[Callable[[], None]]) -> None:
    """All at the same time; the first error comes out once all have ended."""
    with ThreadPoolExecutor(len(jobs), "replies") as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()


def _seeded(sampling: SamplingParams, number: int) -> SamplingParams:
    """Replies of one request differ, but are the same the next time."""
    if sampling.seed is None or not number:
        return sampling
    return replace(sampling, seed=(sampling.seed + number) % _MAX_SEED)
