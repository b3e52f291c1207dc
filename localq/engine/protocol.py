"""What the engine's process and its client say to each other: one JSON object per line.

A request is `{"id": 3, "op": "generate", ...fields of Generate}`. Every reply carries the id of
its request: any number of `{"id": 3, "reply": "piece", "text": "..."}`, or of `vectors` where texts
are embedded, then exactly one of the other replies. `failed` with id null answers a line that had
no readable id.

Any number of `generate`, `embed` and `rank` requests are done at the same time, and `tokenize`,
`detokenize`, `measure_memory` and `cancel` beside them; the other requests wait until those before
them are done, and those after them wait for them. `load` names the version of all this, and is
refused where the two differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from localq.engine.embedding_requests import Embed, Embedded, Rank, Ranked, Vectors
from localq.engine.memory_report import BufferMemory
from localq.engine.resident import ResidentMemory
from localq.engine.sampling import SamplingParams
from localq.engine.scoring_requests import LoadBeside, ModelScores, Score, Scores
from localq.engine.settings import MAX_CONTEXT, MAX_THREADS, LoadSettings
from localq.errors import UsageError
from localq.json_codec import from_json, shown, to_json
from localq.messages import msg

__all__ = [
    "MAX_LINE",
    "PROTOCOL",
    "BufferMemory",
    "Cancel",
    "Detokenize",
    "Done",
    "Embed",
    "Embedded",
    "Failed",
    "Generate",
    "Generated",
    "Load",
    "LoadBeside",
    "LoadedModel",
    "Logits",
    "Measure",
    "MeasureMemory",
    "Measured",
    "ModelScores",
    "Observe",
    "Part",
    "Pictures",
    "Piece",
    "ProtocolError",
    "Rank",
    "Ranked",
    "Reply",
    "Request",
    "ResidentMemory",
    "SaveActivations",
    "SaveStates",
    "Score",
    "Scores",
    "Shutdown",
    "Stop",
    "TokenLogprob",
    "Text",
    "Tokenize",
    "Tokens",
    "Vectors",
    "decode_reply",
    "decode_request",
    "encode",
]

MAX_LINE = 64 << 20
"""Bytes in a line, its newline included; a longer one is refused."""

PROTOCOL = 5
"""The version of what this module describes."""

Stop: TypeAlias = Literal["eos", "length", "context", "cancelled", "stop"]
"""Why a generation ended: the model ended it, max_tokens, the context is full, the user, or one of
SamplingParams.stop."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What became of LoadSettings."""

    n_ctx: int
    n_ctx_train: int
    """The context the model was trained with; 0 where its file does not say."""
    n_vocab: int
    n_threads: int
    description: str
    """llama.cpp's words, such as "llama 1B Q4_0"."""
    load_seconds: float
    n_threads_batch: int = 0
    n_batch: int = 0
    n_ubatch: int = 0
    n_gpu_layers: int = 0
    """Layers that are on devices, the output included."""
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attn: bool = False
    n_seq_max: int = 1
    build: str = ""
    """The engine's build, such as "llama-cpp-python 0.3.36"."""
    memory: tuple[BufferMemory, ...] = ()
    """What llama.cpp allocated, by kind of memory."""
    resident_bytes: int | None = None
    """Physical memory of the engine's process, mapped files included; None: unknown."""
    anonymous_bytes: int | None = None
    """The part of it that is no file."""


@dataclass(frozen=True, slots=True)
class Load:
    settings: LoadSettings
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Pictures:
    """Files of pictures, each in base64. A text has `mark` where one of them belongs, as often as
    there are pictures; in tokens they stand as `Tokenize` gives them."""

    files: tuple[str, ...] = ()
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Generate:
    """Continue `prompt`: text, tokenised as `Tokenize` does by default, or tokens as they are."""

    prompt: str | tuple[int, ...]
    sampling: SamplingParams
    pictures: Pictures = Pictures()


@dataclass(frozen=True, slots=True)
class Tokenize:
    """Numbers below zero stand for pictures; see `picture_tokens`."""

    text: str
    add_special: bool = True
    parse_special: bool = True
    pictures: Pictures = Pictures()


@dataclass(frozen=True, slots=True)
class Detokenize:
    """The text of tokens, control tokens by their names."""

    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Logits:
    tokens: tuple[int, ...]
    output: Path


@dataclass(frozen=True, slots=True)
class Observe:
    """Read a part of a longer text and sum up what every weight is multiplied with."""

    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SaveActivations:
    """Write what the `Observe` requests since the last `Load` have summed up."""

    output: Path


@dataclass(frozen=True, slots=True)
class SaveStates:
    """Keep what has ended in LoadSettings.state_folder. Nothing is wrong where that fails."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Read `n_prompt` random tokens and, apart from that, generate `n_generate`, with as many
    threads as given (None: as loaded). What the model had read before is forgotten."""

    n_prompt: int
    n_generate: int
    n_threads: int | None = None
    n_threads_batch: int | None = None

    def __post_init__(self) -> None:
        for name, least, most in (
            ("n_prompt", 0, MAX_CONTEXT),
            ("n_generate", 0, MAX_CONTEXT),
            ("n_threads", 1, MAX_THREADS),
            ("n_threads_batch", 1, MAX_THREADS),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(
                    msg(
                        "{name} is {value}; it must be {least} to {most:,}",
                        name=name,
                        value=value,
                        least=least,
                        most=most,
                    )
                )


@dataclass(frozen=True, slots=True)
class MeasureMemory:
    """How much physical memory the engine's process holds now; needs no model."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop request `target`, whether it runs or waits; the other requests are not touched."""

    target: int


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Exit at once, whatever is being done."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    token: int
    logprob: float
    """Natural logarithm of what the model gives the token, before all sampling settings."""
    bytes: tuple[int, ...]
    """What the token adds to the text, which need not be whole characters."""
    top: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens in its place, likeliest first."""


@dataclass(frozen=True, slots=True)
class Piece:
    """More text of a generation: whole characters. It may lag behind the tokens."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Generated:
    prompt_tokens: int
    reused_tokens: int
    """Prompt tokens that were still in memory and did not have to be read again."""
    generated_tokens: int
    prompt_seconds: float
    generate_seconds: float
    stop: Stop
    n_threads: int = 0
    """Threads at the end of it."""
    tokens: tuple[int, ...] = ()
    """What was generated; the token that ended the text is not among it."""
    draft_tokens: int = 0
    """Tokens that were guessed in advance, and how many of the guesses were right."""
    accepted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """`prompt_seconds` for the whole prompt, `token_seconds` for each generated token."""

    prompt_seconds: float
    token_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Done:
    pass


@dataclass(frozen=True, slots=True)
class Failed:
    """The request could not be done; `kind` chooses the exception the client raises."""

    message: str
    hint: str | None = None
    kind: Literal["engine", "storage", "unsupported", "usage", "protocol"] = "engine"


Request: TypeAlias = (
    Load
    | LoadBeside
    | Generate
    | Embed
    | Rank
    | Tokenize
    | Detokenize
    | Logits
    | Observe
    | SaveActivations
    | SaveStates
    | Score
    | Measure
    | MeasureMemory
    | Cancel
    | Shutdown
)
Part: TypeAlias = Piece | Vectors
"""Replies that come before the one that ends a request."""
Reply: TypeAlias = (
    Part
    | LoadedModel
    | Generated
    | Embedded
    | Ranked
    | Measured
    | Scores
    | Tokens
    | Text
    | ResidentMemory
    | Done
    | Failed
)

_REQUESTS: Mapping[str, type[Any]] = {
    "load": Load,
    "load_beside": LoadBeside,
    "generate": Generate,
    "embed": Embed,
    "rank": Rank,
    "tokenize": Tokenize,
    "detokenize": Detokenize,
    "logits": Logits,
    "observe": Observe,
    "save_activations": SaveActivations,
    "save_states": SaveStates,
    "score": Score,
    "measure": Measure,
    "measure_memory": MeasureMemory,
    "cancel": Cancel,
    "shutdown": Shutdown,
}
_REPLIES: Mapping[str, type[Any]] = {
    "piece": Piece,
    "vectors": Vectors,
    "loaded": LoadedModel,
    "generated": Generated,
    "embedded": Embedded,
    "ranked": Ranked,
    "measured": Measured,
    "tokens": Tokens,
    "scores": Scores,
    "text": Text,
    "resident": ResidentMemory,
    "done": Done,
    "failed": Failed,
}
_NAMES: Mapping[type[Any], tuple[str, str]] = {
    **{cls: ("op", name) for name, cls in _REQUESTS.items()},
    **{cls: ("reply", name) for name, cls in _REPLIES.items()},
}


class ProtocolError(Exception):
    """A line that is not what this module describes; `id` is its request, where readable."""

    def __init__(self, message: str, id_: int | None = None) -> None:
        super().__init__(message)
        self.id = id_


def encode(id_: int | None, message: Request | Reply) -> bytes:
    """The line for `message`, newline included."""
    kind, name = _NAMES[type(message)]
    line = json.dumps({"id": id_, kind: name, **to_json(message)}, separators=(",", ":"))
    return line.encode("ascii") + b"\n"


def decode_request(line: bytes) -> tuple[int, Request]:
    """The id and the request of a line; ProtocolError says what is wrong with it."""
    id_, request = _decode(line, "op", _REQUESTS)
    if id_ is None:
        raise ProtocolError("a request without an id")
    return id_, request


def decode_reply(line: bytes) -> tuple[int | None, Reply]:
    """The id and the reply of a line; ProtocolError says what is wrong with it."""
    id_, reply = _decode(line, "reply", _REPLIES)
    return id_, reply


def _decode(line: bytes, kind: str, known: Mapping[str, type[Any]]) -> tuple[int | None, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError(f"not a JSON object: {shown(line)}") from None
    if not isinstance(data, dict):
        raise ProtocolError(f"not a JSON object: {shown(line)}")
    id_ = data.pop("id", None)
    if id_ is not None and type(id_) is not int:
        raise ProtocolError(f"an id must be a whole number, not {shown(id_)}")
    name = data.pop(kind, None)
    cls = known.get(name) if isinstance(name, str) else None
    if cls is None:
        raise ProtocolError(f"unknown {kind} {shown(name)}", id_)
    try:
        return id_, from_json(cls, data)
    except (TypeError, UsageError) as error:
        raise ProtocolError(f"{name}: {error}", id_) from None
