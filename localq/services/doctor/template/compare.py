"""What localq writes for a conversation, and what the checkpoint's own tokenizer would have."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from localq.chat_format.choose_template import own_templates, special_token
from localq.chat_format.reference_rendering import (
    ReferenceRefusal,
    as_transformers_takes,
    render_as_transformers,
)
from localq.chat_format.template import ChatTemplate
from localq.engine.client import Engine
from localq.engine.settings import LoadSettings
from localq.errors import Cancelled, UnsupportedError
from localq.library import Library
from localq.messages import Message, msg
from localq.services.doctor.template.conversations import TEXTS, Conversation, conversations
from localq.services.doctor.template.installed_transformers import (
    ask_transformers,
    is_installed,
)
from localq.services.doctor.template.sides import Checkpoint, Vocabulary, find_sides
from localq.services.doctor.template.token_ids import UNEXPLAINED, Difference, TokenIds
from localq.services.doctor.template.vocabulary_file import write_vocabulary_file

__all__ = ["Comparison", "TemplateReport", "compare_templates"]

_SHOWN = 40  # characters


@dataclass(frozen=True, slots=True)
class Comparison:
    template: str
    """Which of the model's templates; "" the one that is used without tools or documents."""
    what: str
    """The conversation, or what else is compared."""
    difference: Message | None = None
    cause: Message | None = None
    """Why it differs, where that is known; many comparisons may have the same cause."""
    advice: Message | None = None
    """Whether the difference matters."""
    note: Message | None = None
    """What is otherwise than one might think, though nothing is wrong."""

    @property
    def what_of_template(self) -> str:
        """`what`, and of which template, where it is not the default."""
        if not self.template:
            return self.what
        return msg("{what} (template {template})", what=self.what, template=self.template)


@dataclass(frozen=True, slots=True)
class TemplateReport:
    model: str
    checkpoint: Path | None
    comparisons: tuple[Comparison, ...]
    not_compared: tuple[Message, ...]

    @property
    def clean(self) -> bool:
        return not any(comparison.difference for comparison in self.comparisons)


@dataclass(frozen=True, slots=True)
class _Rendered:
    template: str
    source: str
    conversation: Conversation
    text: str
    ids: tuple[int, ...]


def compare_templates(
    library: Library, model: str | None, against: str | None, cancel: threading.Event
) -> TemplateReport:
    """Render conversations with each of the model's templates, and compare text and token ids with
    the tokenizer of the checkpoint in the folder `against`, or the one the model was made from, or
    (for a checkpoint) its own. The engine reads the vocabulary alone, not the weights.

    NotFoundError, BadFileError, EngineError, Cancelled.
    """
    vocabulary, checkpoint = find_sides(library, model, against)
    not_compared: list[Message] = []
    if checkpoint is None:
        not_compared.append(msg("token ids: the checkpoint is not here (--against FOLDER)"))
    elif checkpoint.tokenizer is None:
        not_compared.append(msg("token ids: {root} has no tokenizer.json", root=checkpoint.root))
    with tempfile.TemporaryDirectory(prefix="localq-") as folder, Engine() as engine:
        path = Path(folder) / "vocabulary.gguf"
        write_vocabulary_file(path, vocabulary.fields.items(), vocabulary.name, vocabulary.n_tokens)
        engine.load(LoadSettings(path, n_ctx=64, n_threads=1), cancel=cancel)
        rendered: list[_Rendered] = []
        ids = TokenIds(vocabulary.tokens, partial(engine.tokenize, add_special=False))
        compared = [*_compare(vocabulary, checkpoint, ids, engine, cancel, rendered)]
        if checkpoint and rendered:
            compared += _with_transformers(checkpoint, rendered, ids, not_compared)
    if not own_templates(vocabulary.metadata):
        not_compared.insert(0, msg("the model has no chat template"))
    return TemplateReport(
        vocabulary.name,
        checkpoint.root if checkpoint else None,
        tuple(compared),
        tuple(not_compared),
    )


def _compare(
    vocabulary: Vocabulary,
    checkpoint: Checkpoint | None,
    ids: TokenIds,
    engine: Engine,
    cancel: threading.Event,
    rendered: list[_Rendered],
) -> Iterator[Comparison]:
    if checkpoint and checkpoint.tokenizer:
        for number, text in enumerate(TEXTS, 1):
            what = msg("plain text {number}", number=number)
            yield _plain(what, text, checkpoint, ids, engine)
    theirs_by_name = checkpoint.templates if checkpoint else {}
    for name, source in own_templates(vocabulary.metadata).items():
        original = theirs_by_name.get(name)
        if original is not None:
            yield _texts_compared(name, msg("the template itself"), source, original)
        try:
            template = ChatTemplate(
                source,
                special_token(vocabulary.metadata, "bos"),
                special_token(vocabulary.metadata, "eos"),
            )
        except UnsupportedError as error:
            yield Comparison(name, msg("the template itself"), Message.joined(error.message))
            continue
        tokens = checkpoint.special_tokens if checkpoint else _own_tokens(template)
        for conversation in conversations(template):
            if cancel.is_set():
                raise Cancelled("stopped")
            yield _conversation(
                name, template, conversation, tokens, ids, checkpoint, engine, rendered
            )


def _plain(
    what: Message, text: str, checkpoint: Checkpoint, ids: TokenIds, engine: Engine
) -> Comparison:
    """A text as it is, for models that continue texts."""
    ours = engine.tokenize(text)
    theirs = checkpoint.ids(text, add_special_tokens=True)
    if len(theirs) == len(ours) + 1 and theirs[:-1] == ours:
        note = msg("the token that ends a text is left out: a prompt goes on")
        return Comparison("", what, note=note)
    return _ids_compared("", what, ids.difference(text, ours, theirs))


def _conversation(
    name: str,
    template: ChatTemplate,
    conversation: Conversation,
    special_tokens: Mapping[str, str],
    ids: TokenIds,
    checkpoint: Checkpoint | None,
    engine: Engine,
    rendered: list[_Rendered],
) -> Comparison:
    what = conversation.name
    try:
        ours = template.render(
            conversation.messages,
            tools=conversation.tools,
            documents=conversation.documents,
            variables=conversation.variables,
        )
        refusal = None
    except UnsupportedError as error:
        ours, refusal = "", error
    source = template.source
    if refusal and not refusal.message.startswith("the model's chat template refuses"):
        # Whatever it does that is stopped here would not be stopped there.
        return Comparison(name, what, Message.joined(refusal.message))
    try:
        theirs = render_as_transformers(
            source,
            as_transformers_takes(conversation.messages),
            special_tokens,
            tools=conversation.tools,
            documents=conversation.documents,
            variables=conversation.variables,
        )
    except ReferenceRefusal as error:
        if refusal:
            return Comparison(name, what, note=msg("the template takes no such conversation"))
        note = msg("as it is, the template refuses it ({error}): it gets another form", error=error)
        return Comparison(name, what, note=note)
    if refusal:
        return Comparison(name, what, Message.joined(refusal.message))
    if ours != theirs:
        return _texts_compared(name, what, ours, theirs)
    if checkpoint and checkpoint.tokenizer:
        has_bos = bool(template.bos_token) and ours.startswith(template.bos_token)
        read = engine.tokenize(ours, add_special=not has_bos)
        expected = checkpoint.ids(theirs, add_special_tokens=False)
        rendered.append(_Rendered(name, source, conversation, ours, tuple(read)))
        return _ids_compared(name, what, ids.difference(ours, read, expected))
    return Comparison(name, what)


def _with_transformers(
    checkpoint: Checkpoint,
    rendered: Sequence[_Rendered],
    ids: TokenIds,
    not_compared: list[Message],
) -> Iterator[Comparison]:
    if not is_installed():
        not_compared.append(msg("transformers' own result: it is not installed"))
        return
    answers = ask_transformers(checkpoint.root, [(r.source, r.conversation) for r in rendered])
    if isinstance(answers, str):
        not_compared.append(msg("transformers' own result: {reason}", reason=answers))
        return
    for one, answer in zip(rendered, answers, strict=True):
        what = msg("{conversation}, by transformers", conversation=one.conversation.name)
        if answer.error:
            yield Comparison(one.template, what, Message.joined(answer.error))
        elif one.text != answer.text:
            yield _texts_compared(one.template, what, one.text, answer.text)
        else:
            difference = ids.difference(one.text, one.ids, answer.ids)
            yield _ids_compared(one.template, what, difference)


def _own_tokens(template: ChatTemplate) -> dict[str, str]:
    return {"bos_token": template.bos_token, "eos_token": template.eos_token}


def _ids_compared(template: str, what: Message | str, found: Difference | None) -> Comparison:
    if found is None:
        return Comparison(template, what)
    return Comparison(template, what, found.where, cause=found.cause, advice=found.advice)


def _texts_compared(template: str, what: Message | str, ours: str, theirs: str) -> Comparison:
    if ours == theirs:
        return Comparison(template, what)
    pairs = zip(ours, theirs, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))
    where = msg(
        "from character {at:,} on: {ours!r}, in the checkpoint's own {theirs!r}",
        at=at,
        ours=ours[at : at + _SHOWN],
        theirs=theirs[at : at + _SHOWN],
    )
    return Comparison(template, what, where, advice=UNEXPLAINED)
