"""Points in a plane, drawn with characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Point", "scatter"]


@dataclass(frozen=True, slots=True)
class Point:
    label: str
    x: float
    y: float


def scatter(
    points: Sequence[Point], *, width: int, height: int, y_format: str = "{:.4g}"
) -> list[str]:
    """The lines of a plot, at most `width` cells wide: a mark and its label for each point, the
    scale of y on the left. Labels that have no place are left out."""
    if not points:
        return []
    least, most = min(p.y for p in points), max(p.y for p in points)
    scale = [y_format.format(most), y_format.format(least)]
    margin = max(map(len, scale)) + 1
    room = width - margin - 2
    rows = [[" "] * room for _ in range(height)]
    longest = max(len(point.label) for point in points)
    for point in sorted(points, key=lambda point: point.x):
        column = round(_share(point.x, [p.x for p in points]) * max(0, room - longest - 3))
        row = height - 1 - round(_share(point.y, [p.y for p in points]) * (height - 1))
        text = f"● {point.label}"
        end = column + len(text)
        if any(cell != " " for cell in rows[row][column : end + 1]):
            text, end = "●", column + 1
        if column < room:
            rows[row][column:end] = list(text)[: room - column]
    lines = []
    for number, cells in enumerate(rows):
        left = scale[0] if number == 0 else scale[1] if number == height - 1 else ""
        lines.append(f"{left:>{margin}} │{''.join(cells)}".rstrip())
    lines.append(" " * (margin + 1) + "└" + "─" * (room - 1))
    return lines


def _share(value: float, values: Sequence[float]) -> float:
    least, most = min(values), max(values)
    return (value - least) / (most - least) if most > least else 0.0
