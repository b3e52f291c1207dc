"""A model's details as pages to read. Pure functions of what the services returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from localq.display import age, byte_size, printable, printable_lines
from localq.messages import translate
from localq.tui.text import elide, tr

if TYPE_CHECKING:
    from localq.library.model import Model
    from localq.services.library.inspect import ModelDetails
    from localq.services.machine.plan import PlannedModel

__all__ = ["known", "memory", "metadata", "other_context", "overview", "template", "tensors"]

_REVISION_DIGITS = 8
_TENSOR_TYPES_SHOWN = 3
_TENSORS_SHOWN = 2000
_VALUE_CHARACTERS = 400
_BAR = 30
_LEAST_CONTEXT = 256

Lines = list[tuple[str, str]]


def known(model: Model) -> RenderableType:
    """What the catalogue knows: shown at once, while the file is still being read."""
    return _grid([*_basics(model), *_source(model), ("", tr("Reading…"))])


def overview(details: ModelDetails, siblings: Sequence[Model], now: float) -> RenderableType:
    """`now` in unix seconds; `siblings` share the model's base name."""
    model, values = details.model, details.metadata
    context = _context(values)
    unknown = tr("not stated")
    found = _basics(model)
    found.append((tr("Context"), tr("{context:,} tokens", context=context) if context else unknown))
    found.append((tr("Tensors"), _tensor_types([tensor.type for tensor in details.tensors])))
    if model.format.is_file:
        has_template = bool(values.get("tokenizer.chat_template"))
        licence = values.get("general.license")
        found.append((tr("Chat template"), tr("yes") if has_template else tr("no")))
        found.append((tr("Licence"), printable(licence) if isinstance(licence, str) else unknown))
    if details.cards:
        from localq.services.quality.in_words import quality_in_words

        found.append((tr("Quality"), translate(quality_in_words(details.cards[0]))))
    found += _labels(model)
    found += _source(model)
    found.append((tr("Added"), age(model.created_at, now)))
    found.append((tr("Path"), printable(str(model.path))))
    others = [other.quant for other in siblings if other.name != model.name]
    if others:
        found.append((tr("Also here as"), ", ".join(map(printable, others))))
    return _grid(found)


def tensors(details: ModelDetails) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold", ratio=1)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    for tensor in details.tensors[:_TENSORS_SHOWN]:
        shape = "×".join(map(str, tensor.shape))
        table.add_row(
            Text(printable(tensor.name)), Text(printable(tensor.type)), Text(shape, "dim")
        )
    if (more := len(details.tensors) - _TENSORS_SHOWN) > 0:
        table.add_row(Text(tr("… and {more:,} more", more=more), "dim"))
    return table


def template(details: ModelDetails) -> RenderableType:
    found = details.metadata.get("tokenizer.chat_template")
    if not isinstance(found, str) or not found:
        return Text(tr("This file brings no chat template."), "dim")
    return Text(printable_lines(found), overflow="fold")


def metadata(details: ModelDetails) -> RenderableType:
    lines = []
    for key, value in details.metadata.items():
        if key == "tokenizer.chat_template":
            continue
        shown = value if isinstance(value, str) else repr(value)
        lines.append((printable(key), elide(printable(shown), _VALUE_CHARACTERS)))
    return _grid(lines)


def other_context(planned: PlannedModel, n_ctx: int | None, by: int) -> int:
    """Twice the context that is shown, or half of it; within what the model was trained with."""
    now = n_ctx or planned.plan.n_ctx
    power = now.bit_length() - 1
    wanted = 1 << (power + by) if by > 0 or now == 1 << power else 1 << power
    most = max(planned.shape.n_ctx_train or wanted, _LEAST_CONTEXT)
    return min(max(wanted, _LEAST_CONTEXT), most)


def memory(planned: PlannedModel, n_ctx: int | None) -> Text:
    """What loading takes on each device, with this context; as bars of what may be used there.
    What matters most stands first, for those who see a few lines only."""
    plan = planned.plan
    text = Text(overflow="fold")
    text.append(tr("{tokens:,} tokens of context", tokens=plan.n_ctx), "bold")
    text.append("" if n_ctx else tr("  as planned"))
    if plan.problem:
        text.append(f"\n✗ {printable(plan.problem)}\n", "bold")
        for suggestion in plan.suggestions:
            text.append(f"→ {printable(suggestion)}\n", "dim")
    else:
        text.append("\n✓ " + tr("It fits.") + "\n")
    for device, budget in zip(plan.estimate.devices, plan.budgets, strict=False):
        name = tr("memory") if device.name == "host" else printable(device.name)
        of = f" / {byte_size(budget.usable)}" if budget.usable is not None else ""
        text.append(f"{name}  {byte_size(device.total)}{of}\n")
        parts = (device.weights, device.kv_cache, device.compute + device.overhead)
        text.append_text(_stacked(parts, budget.usable))
        sizes = (f"{mark} {byte_size(size)}" for mark, size in zip("█▓░", parts, strict=True))
        text.append("\n" + "  ".join(sizes) + "\n", "dim")
    labels = (tr("weights"), tr("context"), tr("working room"))
    legend = "  ".join(f"{mark} {label}" for mark, label in zip("█▓░", labels, strict=True))
    text.append(f"\n{legend}\n", "dim")
    return text.append(tr("- and + change it") + "\n", "dim")


def _stacked(parts: Sequence[int], usable: int | None) -> Text:
    whole = max(usable or 0, sum(parts), 1)
    text = Text()
    used = 0
    for mark, size in zip("█▓░", parts, strict=True):
        cells = round(size / whole * _BAR)
        if size and not cells:
            cells = 1
        cells = min(cells, _BAR - used)
        used += cells
        text.append(mark * cells)
    text.append("·" * (_BAR - used), "dim")
    if usable is not None and sum(parts) > usable:
        text.append(" " + tr("too much"), "bold")
    return text


def _basics(model: Model) -> Lines:
    return [
        (tr("Architecture"), printable(model.architecture)),
        (tr("Parameters"), f"{model.parameters:,}"),
        (tr("Size"), byte_size(model.size_bytes)),
    ]


def _labels(model: Model) -> Lines:
    labels = [
        (tr("Other names"), ", ".join(map(printable, model.aliases))),
        (tr("Tags"), ", ".join(map(printable, model.tags))),
        (tr("Note"), printable(model.note)),
    ]
    return [(label, value) for label, value in labels if value]


def _source(model: Model) -> Lines:
    if model.source.repo is None:
        return [(tr("Source"), tr("a folder of this machine"))]
    repo = printable(model.source.repo)
    if model.source.revision:
        repo += f" @ {printable(model.source.revision)[:_REVISION_DIGITS]}"
    return [(tr("Source"), repo)]


def _context(values: Mapping[str, object]) -> int | None:
    architecture = values.get("general.architecture")
    in_gguf = values.get(f"{architecture}.context_length")
    length = in_gguf or values.get("max_position_embeddings")
    return length if isinstance(length, int) else None


def _tensor_types(types: Sequence[str]) -> str:
    counts = Counter(types).most_common()
    shown = [f"{count} {printable(name)}" for name, count in counts[:_TENSOR_TYPES_SHOWN]]
    if len(counts) > _TENSOR_TYPES_SHOWN:
        shown.append("…")
    return ", ".join(shown) or tr("not stated")


def _grid(lines: Sequence[tuple[str, str]]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in lines:
        table.add_row(Text(label, style="dim"), Text(value))
    return table
