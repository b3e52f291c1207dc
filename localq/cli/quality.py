"""What evaluations found, in a line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from localq.messages import listed, msg

if TYPE_CHECKING:
    from localq.quality.cards import QualityCard

__all__ = ["quality_in_words"]


def quality_in_words(card: QualityCard) -> str:
    """What was found, on what, and when."""
    parts = [
        msg(
            "perplexity {value:.4f} ± {error:.4f}",
            value=card.perplexity.value,
            error=card.perplexity.error,
        )
    ]
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
