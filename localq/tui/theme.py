"""localq's own look: a dark slate, one blue, one sand; few colours, each with one meaning."""

from __future__ import annotations

from textual.theme import Theme

__all__ = ["NIGHT"]

NIGHT = Theme(
    name="localq",
    primary="#83b6d8",
    secondary="#7d8db0",
    accent="#dcb67a",
    success="#8fc79a",
    warning="#dcb67a",
    error="#e58a88",
    foreground="#d3d9e4",
    background="#14171e",
    surface="#181c25",
    panel="#212733",
    dark=True,
    variables={
        "border": "#5f87a5",
        "border-blurred": "#2e3543",
        "block-cursor-background": "#2b4259",
        "block-cursor-foreground": "#eef2f8",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-background": "#242b38",
        "block-cursor-blurred-foreground": "#d3d9e4",
        "footer-background": "#14171e",
        "footer-description-foreground": "#95a0b4",
        "scrollbar": "#333c4c",
        "scrollbar-hover": "#44506a",
        "scrollbar-background": "#181c25",
        "input-selection-background": "#83b6d8 30%",
    },
)
