"""localq's own looks: a dark slate, a light one, and one of high contrast. Few colours, each with
one meaning, and none that says what no word or mark says too."""

from __future__ import annotations

from textual.theme import Theme

__all__ = ["CONTRAST", "DAY", "NIGHT", "THEMES"]

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

DAY = Theme(
    name="localq-light",
    primary="#1f5f8b",
    secondary="#566691",
    accent="#8a5a00",
    success="#23703a",
    warning="#8a5a00",
    error="#b3261e",
    foreground="#1f2530",
    background="#eef0f4",
    surface="#f8f9fb",
    panel="#e2e6ed",
    dark=False,
    variables={
        "border": "#5f87a5",
        "border-blurred": "#c3cad6",
        "block-cursor-background": "#cfe2f1",
        "block-cursor-foreground": "#10151d",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-background": "#e2e6ed",
        "block-cursor-blurred-foreground": "#1f2530",
        "footer-background": "#eef0f4",
        "footer-description-foreground": "#566074",
        "scrollbar": "#c3cad6",
        "scrollbar-hover": "#a9b3c4",
        "scrollbar-background": "#f8f9fb",
        "input-selection-background": "#1f5f8b 30%",
    },
)

CONTRAST = Theme(
    name="localq-contrast",
    primary="#ffff00",
    secondary="#00ffff",
    accent="#00ffff",
    success="#00ff00",
    warning="#ffff00",
    error="#ff6060",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#202020",
    dark=True,
    variables={
        "border": "#ffffff",
        "border-blurred": "#808080",
        "text-muted": "#ffffff",
        "block-cursor-background": "#ffff00",
        "block-cursor-foreground": "#000000",
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-background": "#404040",
        "block-cursor-blurred-foreground": "#ffffff",
        "footer-background": "#000000",
        "footer-description-foreground": "#ffffff",
    },
)

THEMES = (NIGHT, DAY, CONTRAST)
