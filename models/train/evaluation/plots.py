"""Plots as SVG text, so that a rerun changes them only where numbers change and nothing has to be installed."""
from __future__ import annotations

from html import escape
from pathlib import Path

BAR, LEFT, WIDTH, RIGHT = 20, 280, 360, 70
COLOURS = ["#2563eb", "#d97706", "#059669", "#7c3aed"]


def _page(width: int, height: int, title: str, body: list[str]) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="white"/><text x="10" y="20" font-size="14">{escape(title)}</text>{"".join(body)}</svg>\n')


def bars(path: Path, title: str, rows: list[dict]) -> None:
    """A bar a row, with its interval."""
    low, high = min(r["low"] for r in rows), max(r["high"] for r in rows)
    low, high = min(low, 0) if low <= 0 else low - (high - low) * 0.1, max(high, 0)
    x = lambda value: LEFT + WIDTH * (value - low) / max(high - low, 1e-9)
    body = []
    for n, r in enumerate(rows):
        y = 34 + n * BAR
        zero = max(low, 0)
        a, b = sorted((x(zero), x(r["mean"])))
        body.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(r["arm"])}</text>'
                    f'<rect x="{a:.1f}" y="{y + 2}" width="{b - a:.1f}" height="{BAR - 6}" fill="{COLOURS[0]}" opacity="0.6"/>'
                    f'<path d="M{x(r["low"]):.1f} {y + 9}H{x(r["high"]):.1f}" stroke="black"/>'
                    f'<text x="{LEFT + WIDTH + 8}" y="{y + 12}">{r["mean"]:.3f}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(LEFT + WIDTH + RIGHT, 44 + len(rows) * BAR, title, body))


def lines(path: Path, title: str, ticks: list[str], series: dict[str, list[dict]]) -> None:
    """A line a series over the same ticks, with intervals."""
    every = [r for rows in series.values() for r in rows]
    low, high = min(r["low"] for r in every), max(r["high"] for r in every)
    x, y = (lambda n: 60 + n * 380 / max(len(ticks) - 1, 1)), (lambda v: 260 - 210 * (v - low) / max(high - low, 1e-9))
    body = [f'<text x="{x(n):.0f}" y="282" text-anchor="middle">{escape(t)}</text>' for n, t in enumerate(ticks)]
    body += [f'<text x="8" y="{y(v) + 4:.0f}">{v:.3f}</text>' for v in (low, (low + high) / 2, high)]
    for n, (name, rows) in enumerate(series.items()):
        points = [(x(i) + 4 * n, r) for i, r in enumerate(rows)]
        path_data = "M" + " L".join(f"{at:.1f} {y(r['mean']):.1f}" for at, r in points)
        body.append(f'<path d="{path_data}" fill="none" stroke="{COLOURS[n]}"/>'
                    + "".join(f'<path d="M{at:.1f} {a:.1f}V{b:.1f}" stroke="{COLOURS[n]}"/>' for at, a, b in ((at, y(r["low"]), y(r["high"])) for at, r in points))
                    + f'<text x="460" y="{60 + 18 * n}" fill="{COLOURS[n]}">{escape(name)}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(600, 300, title, body))
