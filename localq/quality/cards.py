"""What was found of each file's quality, kept in the database."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localq.database import Database
from localq.database.rows import insert
from localq.quality.results import Estimate, EvaluatedModel, EvaluatedText, Evaluation

__all__ = ["QualityCard", "QualityCards", "cards_of"]

_LOSSLESS = 0.01
_COLUMNS = (
    "path, file_bytes, file_mtime_ns, model, quant, size_bytes, text_name, text_sha256,"
    " text_bytes, n_ctx, chunks, tokens, whole_text, perplexity, perplexity_error, base, kld,"
    " kld_error, same_top, same_top_error, ratio, ratio_error, engine, machine, measured_at"
)


@dataclass(frozen=True, slots=True)
class QualityCard:
    """One evaluation of one file: what was found, where and when. What is of the divergence from
    `base` is None where there was no base. `measured_at` is in seconds since 1970."""

    model: str
    path: Path
    quant: str
    size_bytes: int
    text: EvaluatedText
    n_ctx: int
    chunks: int
    tokens: int
    whole_text: bool
    perplexity: Estimate
    base: str | None
    kld: Estimate | None
    """Mean Kullback-Leibler divergence, in nats."""
    same_top: Estimate | None
    ratio: Estimate | None
    """Of the perplexity to the base's."""
    engine: str
    machine: str
    measured_at: float

    @property
    def is_lossless(self) -> bool:
        """Whether the change of perplexity, its standard error added, is below 1 %, either way."""
        ratio = self.ratio
        return ratio is not None and abs(ratio.value - 1) + ratio.error < _LOSSLESS

    def is_comparable(self, other: QualityCard) -> bool:
        """Whether both are of the same part of the same text, read in the same way."""
        return (self.text.sha256, self.n_ctx, self.chunks) == (
            other.text.sha256,
            other.n_ctx,
            other.chunks,
        )


def cards_of(found: Evaluation) -> tuple[QualityCard, ...]:
    """A card for each model of an evaluation."""
    return tuple(_card(model, found) for model in found.models)


class QualityCards:
    """The table of `localq.database.migrations.m7_quality`. A file that was changed since it was
    measured has no cards."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, cards: Iterable[QualityCard]) -> None:
        """Keep cards, each in place of the one of the same file, text and base."""
        with self._database.write() as db:
            for card in cards:
                with suppress(OSError):  # the file is gone meanwhile
                    insert(db, "quality_cards", _row(card), replace=True)

    def of(self, path: Path) -> tuple[QualityCard, ...]:
        """Those of the file at `path`, latest first."""
        return self._cards("WHERE path = ?", os.fsencode(path.absolute()))

    def latest(self) -> dict[Path, QualityCard]:
        """The latest card of every file; those that say how far it is from another go first."""
        found: dict[Path, QualityCard] = {}
        for card in self._cards(""):
            known = found.get(card.path)
            if known is None or (known.kld is None and card.kld is not None):
                found[card.path] = card
        return found

    def _cards(self, condition: str, *values: object) -> tuple[QualityCard, ...]:
        with self._database.read() as db:
            if db is None:
                return ()
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM quality_cards {condition} ORDER BY measured_at DESC",
                values,
            ).fetchall()
        return tuple(card for row in rows if (card := _from_row(row)))


def _card(model: EvaluatedModel, found: Evaluation) -> QualityCard:
    one = model.divergence
    return QualityCard(
        model=model.model,
        path=model.path.absolute(),
        quant=model.quant,
        size_bytes=model.size_bytes,
        text=found.text,
        n_ctx=found.n_ctx,
        chunks=model.chunks,
        tokens=model.tokens,
        whole_text=model.whole_text,
        perplexity=model.perplexity,
        base=one.base if one else None,
        kld=one.kld if one else None,
        same_top=one.same_top if one else None,
        ratio=one.ratio if one else None,
        engine=found.engine,
        machine=found.machine,
        measured_at=found.measured_at,
    )


def _row(card: QualityCard) -> Mapping[str, object]:
    status = card.path.stat()
    return {
        "path": os.fsencode(card.path),
        "file_bytes": status.st_size,
        "file_mtime_ns": status.st_mtime_ns,
        "model": _utf8(card.model),
        "quant": card.quant,
        "size_bytes": card.size_bytes,
        "text_name": _utf8(card.text.name),
        "text_sha256": card.text.sha256,
        "text_bytes": card.text.size_bytes,
        "n_ctx": card.n_ctx,
        "chunks": card.chunks,
        "tokens": card.tokens,
        "whole_text": card.whole_text,
        "perplexity": card.perplexity.value,
        "perplexity_error": card.perplexity.error,
        "base": _utf8(card.base or ""),
        **_pair("kld", card.kld),
        **_pair("same_top", card.same_top),
        **_pair("ratio", card.ratio),
        "engine": card.engine,
        "machine": card.machine,
        "measured_at": card.measured_at,
    }


def _utf8(name: str) -> str:
    """A file's name may be any bytes; the database's texts may not."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _pair(name: str, estimate: Estimate | None) -> Mapping[str, float | None]:
    if estimate is None:
        return {name: None, f"{name}_error": None}
    return {name: estimate.value, f"{name}_error": estimate.error}


def _from_row(row: sqlite3.Row | tuple[Any, ...]) -> QualityCard | None:
    """None where the file is another now, or is gone."""
    path, file_bytes, mtime_ns, model, quant, size_bytes, text_name, text_sha256 = row[:8]
    text_bytes, n_ctx, chunks, tokens, whole_text, perplexity, perplexity_error, base = row[8:16]
    kld, kld_error, same_top, same_top_error, ratio, ratio_error = row[16:22]
    engine, machine, measured_at = row[22:]
    try:
        status = os.stat(path)  # noqa: PTH116 - a list of many files is read at once
    except (OSError, ValueError):
        return None
    if (status.st_size, status.st_mtime_ns) != (file_bytes, mtime_ns):
        return None
    return QualityCard(
        model,
        Path(os.fsdecode(path)),
        quant,
        size_bytes,
        EvaluatedText(text_name, text_sha256, text_bytes),
        n_ctx,
        chunks,
        tokens,
        bool(whole_text),
        Estimate(perplexity, perplexity_error),
        base or None,
        None if kld is None else Estimate(kld, kld_error),
        None if same_top is None else Estimate(same_top, same_top_error),
        None if ratio is None else Estimate(ratio, ratio_error),
        engine,
        machine,
        measured_at,
    )
