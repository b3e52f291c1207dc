"""Which model a name means. Pure functions over the entries; nothing here touches the disk.

A name is "org/base" (a checkpoint) or "org/base:QUANT" (a GGUF). Users may leave out the
organisation, the quantization and capitals: the first of these readings that fits any entry wins:
the full name, a name the user gave (an alias, also of the checkpoint before ":QUANT"), without the
organisation, without the quantization, without both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from localq.errors import LibraryError, LocalqError, NotFoundError, UsageError
from localq.formats.types import QuantType
from localq.library.model import Model, ModelFormat
from localq.messages import msg

__all__ = [
    "DEMO",
    "find",
    "find_checkpoint",
    "find_gguf",
    "in_full",
    "looks_like_path",
    "newest",
]

DEMO = "demo/stories260K"
"""What the name "demo" stands for."""

_SHOWN = 6  # of an ambiguous name's meanings; more would not fit one line


def find(models: Sequence[Model], name: str) -> Model:
    """The one model that `name` means. NotFoundError, or LibraryError if it may be several."""
    name = _by_alias(models, name)
    found = _matches(models, name)
    if not found:
        raise _not_found(models, name)
    if len(found) > 1:
        raise _ambiguous(name, found)
    return found[0]


def find_gguf(models: Sequence[Model], name: str | None) -> Model:
    """The GGUF that `name` means, of several quantizations the one used last."""
    ggufs = [model for model in models if model.format.is_runnable]
    checkpoints = _originals(models)
    if name is None:
        if last := newest(ggufs):
            return last
        if checkpoint := newest(checkpoints):
            raise _unquantized(checkpoint, None)
        raise _empty()
    name = _by_alias(models, name)
    found = _matches(ggufs, name)
    if len({_base(model) for model in found}) > 1:
        raise _ambiguous(name, found)
    if last := newest(found):
        return last
    if adapters := _matches([m for m in models if m.format is ModelFormat.ADAPTER], name):
        raise _no_model_alone(adapters[0])
    base, _, quant = name.partition(":")
    made_from = _matches(checkpoints, base)
    if not made_from or (quant and not _is_quant(quant)):
        raise _not_found(models, name)
    if len(made_from) > 1:
        raise _ambiguous(name, made_from)
    raise _unquantized(made_from[0], quant or None)


def find_checkpoint(models: Sequence[Model], name: str | None) -> Model:
    """The checkpoint that `name` means; where it means a GGUF, the one that was made from."""
    if name is None:
        last = newest(model for model in models if model.format is not ModelFormat.ADAPTER)
        if last is None:
            raise _empty()
        return _origin(models, last)
    name = _by_alias(models, name)
    found = _matches(_originals(models), name)
    if not found:
        made = _matches([model for model in models if not model.format.is_original], name)
        if len({_base(model) for model in made}) > 1:
            raise _ambiguous(name, made)
        if last := newest(made):
            return _origin(models, last)
        raise _not_found(models, name)
    if len(found) > 1:
        raise _ambiguous(name, found)
    return found[0]


def in_full(name: str) -> str:
    """`name` in small letters, and "demo" as what it stands for."""
    wanted = name.casefold()
    if wanted == "demo" or wanted.startswith("demo:"):
        return DEMO.casefold() + wanted[len("demo") :]
    return wanted


def newest(models: Iterable[Model]) -> Model | None:
    """The model pulled, made or used last."""
    return max(models, key=lambda m: (m.used_at, m.created_at, m.name), default=None)


def looks_like_path(text: str) -> bool:
    """Whether a name that fits no model was rather meant as a file or folder."""
    return (
        text.startswith((".", "~", "/"))
        or text.endswith(("/", ".gguf", ".safetensors"))
        or text[1:3] == ":/"
        or "\\" in text
        or text.count("/") > 1
    )


def _full(model: Model) -> str:
    return model.name.casefold()


def _short(model: Model) -> str:
    return _full(model).rpartition("/")[2]


def _base(model: Model) -> str:
    return _full(model).partition(":")[0]


def _short_base(model: Model) -> str:
    return _short(model).partition(":")[0]


_READINGS: tuple[Callable[[Model], str], ...] = (_full, _short, _base, _short_base)


def _by_alias(models: Sequence[Model], name: str) -> str:
    """The full name of the model that a user calls `name`; other names as they are."""
    wanted = name.casefold()
    called = {alias.casefold(): model for model in models for alias in model.aliases}
    if not called or any(_full(model) == wanted for model in models):
        return name
    if wanted in called:
        return called[wanted].name
    base, colon, quant = name.partition(":")
    checkpoint = called.get(base.casefold())
    if colon and checkpoint is not None and checkpoint.format.is_original:
        return msg("{name}:{quant}", name=checkpoint.name, quant=quant)
    return name


def _matches(models: Sequence[Model], name: str) -> list[Model]:
    wanted = in_full(name)
    for reading in _READINGS:
        if found := [model for model in models if reading(model) == wanted]:
            return found
    return []


def _originals(models: Sequence[Model]) -> list[Model]:
    return [model for model in models if model.format.is_original]


def _origin(models: Sequence[Model], model: Model) -> Model:
    """The checkpoint `model` was made from: itself, of the same name, or of the same source."""
    if model.format.is_original:
        return model
    checkpoints = _originals(models)
    repo = model.source.repo
    for checkpoint in checkpoints:
        if _full(checkpoint) == _base(model):
            return checkpoint
    if repo is not None and (same := [m for m in checkpoints if m.source.repo == repo]):
        return max(same, key=lambda m: m.used_at)
    raise NotFoundError(
        msg("the checkpoint {name} was made from is not in the library", name=model.name),
        hint=msg("localq pull {repo}", repo=repo) if repo else "localq pull",
    )


def _is_quant(text: str) -> bool:
    try:
        QuantType.parse(text)
    except UsageError:
        return False
    return True


def _empty() -> LocalqError:
    return NotFoundError(msg("the library has no models yet"), hint="localq pull")


def _unquantized(checkpoint: Model, quant: str | None) -> LocalqError:
    what = quant.upper() if quant else msg("GGUF")
    return NotFoundError(
        msg(
            "{name} is a checkpoint; no {what} was made from it yet",
            name=checkpoint.name,
            what=what,
        ),
        hint=msg(
            "localq quantize {quant} {name}", quant=(quant or "q4_0").lower(), name=checkpoint.name
        ),
    )


def _no_model_alone(adapter: Model) -> LocalqError:
    return NotFoundError(
        msg("{name} is an adapter, no model by itself", name=adapter.name),
        hint=msg("add it to its model: localq run MODEL --lora {name}", name=adapter.name),
    )


def _ambiguous(name: str, found: Sequence[Model]) -> LocalqError:
    names = sorted(model.name for model in found)
    listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return LibraryError(
        msg("{name!r} could be any of {listed}", name=name, listed=listed),
        hint=msg("say which, as {names}", names=names[0]),
    )


def _not_found(models: Sequence[Model], name: str) -> LocalqError:
    if not models:
        pulled = (
            "localq pull demo" if name.casefold().partition(":")[0] == "demo" else "localq pull"
        )
        return NotFoundError(
            msg("no model named {name!r}: the library is empty", name=name), hint=pulled
        )
    close = _closest(models, name)
    return NotFoundError(
        msg("no model named {name!r} in the library", name=name),
        hint=msg("did you mean {close}?", close=" or ".join(close))
        if close
        else msg("localq list shows the models here, localq pull gets others"),
    )


def _closest(models: Sequence[Model], name: str) -> list[str]:
    """Up to three full names like `name`, the likest first."""
    from difflib import get_close_matches

    spelled: dict[str, str] = {}
    for model in models:
        for alias in model.aliases:
            spelled.setdefault(alias.casefold(), model.name)
        for reading in _READINGS:
            spelled.setdefault(reading(model), model.name)
    likest = get_close_matches(name.casefold(), spelled, n=6)
    return list(dict.fromkeys(spelled[text] for text in likest))[:3]
