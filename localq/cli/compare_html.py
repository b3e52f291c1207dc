"""A comparison as one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from localq.display import byte_size, printable
from localq.messages import language, msg, translate
from localq.services.quality.in_words import estimated, verdict

if TYPE_CHECKING:
    from localq.services.quality.compare import ComparedModel, ModelComparison

__all__ = ["report"]

_WIDTH, _HEIGHT, _MARGIN = 680, 320, 70
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
svg { width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: #333 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616 }
  th, td { border-color: #444 } svg text { fill: #ccc } }
"""


def report(found: ModelComparison) -> str:
    """The file's text."""
    title = translate(msg("Models compared"))
    measured = [model for model in found.models if model.card]
    parts = [
        f"<h1>{_text(title)}</h1>",
        f"<p>{_text(found.machine)}</p>",
        f"<h2>{_said(msg('Size, memory and speed'))}</h2>",
        _table(
            [msg("model"), msg("type"), msg("size"), msg("memory"), msg("reads"), msg("writes")],
            (
                (
                    model.model,
                    model.quant,
                    byte_size(model.size_bytes),
                    "" if model.memory_bytes is None else byte_size(model.memory_bytes),
                    _number(model.prompt_speed, "{:.1f} tok/s"),
                    _number(model.generate_speed, "{:.1f} tok/s"),
                )
                for model in found.models
            ),
        ),
        _plot(
            msg("Tokens written per second"),
            [m for m in found.models if m.generate_speed],
            lambda m: m.generate_speed or 0.0,
        ),
        f"<h2>{_said(msg('Quality'))}</h2>",
        _table(
            [
                *(msg("model"), msg("perplexity"), msg("change"), msg("KL divergence")),
                *(msg("same top"), msg("verdict")),
            ],
            (_quality(model) for model in found.models),
        ),
    ]
    if measured:
        card = measured[0].card
        assert card
        said = msg(
            "measured on {text}, {chunks} chunks of {n_ctx} tokens",
            text=card.text.name,
            chunks=card.chunks,
            n_ctx=card.n_ctx,
        )
        parts.append(f"<p>{_said(said)}</p>")
    parts.append(
        _plot(
            msg("Perplexity (lower is better)"),
            measured,
            lambda m: m.card.perplexity.value if m.card else 0.0,
        )
    )
    return (
        f'<!doctype html><html lang="{language().replace("_", "-")}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _quality(model: ComparedModel) -> tuple[str, ...]:
    card = model.card
    if card is None:
        return (model.model, "", "", "", "", translate(msg("not measured")))
    return (
        model.model,
        estimated(card.perplexity),
        _number(model.change, "{:+.2%}"),
        _number(card.kld.value if card.kld else None, "{:.5f}"),
        _number(card.same_top.value if card.same_top else None, "{:.1%}"),
        translate(verdict(model)),
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_said(heading)}</th>" for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _plot(
    title: str, models: Sequence[ComparedModel], value: Callable[[ComparedModel], float]
) -> str:
    """Values against sizes; nothing where there is nothing to see."""
    if len(models) < 2:
        return ""
    values = [value(model) for model in models]
    room = (max(values) - min(values)) * 0.1 or 1.0
    low, high = min(values) - room, max(values) + room
    largest = max(model.size_bytes for model in models) * 1.15
    right, bottom = _WIDTH - 10, _HEIGHT - 40

    def place(model: ComparedModel) -> tuple[float, float]:
        x = _MARGIN + model.size_bytes / largest * (right - _MARGIN)
        y = bottom - (value(model) - low) / (high - low) * (bottom - 10)
        return x, y

    marks = [
        f'<line x1="{_MARGIN}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="#999"/>',
        f'<line x1="{_MARGIN}" y1="10" x2="{_MARGIN}" y2="{bottom}" stroke="#999"/>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - 10)
        shown = f"{low + share * (high - low):.4g}"
        marks.append(f'<text x="{_MARGIN - 6}" y="{y + 4:.0f}" text-anchor="end">{shown}</text>')
        x = _MARGIN + share * (right - _MARGIN)
        size = byte_size(share * largest)
        anchor = "end" if share == 1 else "middle"
        marks.append(f'<text x="{x:.0f}" y="{bottom + 20}" text-anchor="{anchor}">{size}</text>')
    for model in models:
        x, y = place(model)
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#2a6fdb"><title>'
            f"{_text(model.model)}: {value(model):.6g}</title></circle>"
            f'<text x="{x + 8:.1f}" y="{y - 6:.1f}">{_text(model.quant)}</text>'
        )
    drawn = "".join(marks)
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{_said(title)}"'
    return f"<h3>{_said(title)}</h3><svg {box}>{drawn}</svg>"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _said(message: str) -> str:
    return _text(translate(message))


def _text(text: str) -> str:
    return escape(printable(text))
