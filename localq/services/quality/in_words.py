"""What evaluations found, in a line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from localq.messages import listed, msg

if TYPE_CHECKING:
    from localq.quality.cards import QualityCard
    from localq.quality.results import Estimate
    from localq.services.quality.compare import ComparedModel

__all__ = ["estimated", "quality_in_words", "verdict"]


def estimated(value: Estimate, digits: int = 4) -> str:
    """A value and its standard error, both with so many decimals."""
    return f"{value.value:.{digits}f} ± {value.error:.{digits}f}"


def verdict(model: ComparedModel) -> str:
    """What the change of perplexity means."""
    if model.change is None:
        return msg("the base") if model.card else ""
    return msg("practically lossless") if model.card and model.card.is_lossless else ""


def quality_in_words(card: QualityCard) -> str:
    """What was found, on what, and when."""
    parts = [msg("perplexity {value}", value=estimated(card.perplexity))]
    if card.kld and card.same_top:
        parts.append(
            msg(
                "KLD {kld:.5f} and {same:.1f} % same top token against {base}",
                kld=card.kld.value,
                same=100 * card.same_top.value,
                base=card.base,
            )
        )
    parts.append(
        msg(
            "{text}, {chunks} x {n_ctx} tokens, {when}",
            text=card.text.name,
            chunks=card.chunks,
            n_ctx=card.n_ctx,
            when=time.strftime("%Y-%m-%d", time.localtime(card.measured_at)),
        )
    )
    return listed(parts, "; ")
