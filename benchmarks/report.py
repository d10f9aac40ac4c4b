"""What came of it: a table to read, JSON to keep, and a graph."""

import json
import os
import platform
import statistics
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs

from .peers import OURS, PEERS, RAW
from .rounds import Figures
from .shows import RATIO, Row, Size

PACKAGES = (
    "routera-async",
    "aiohttp",
    "attrs",
    "cattrs",
    "orjson",
    "tenacity",
    "uvloop",
    "httpx",
    "openai",
    "stripe",
    "hubspot-api-client",
    "slack_sdk",
    "opentelemetry-api",
    "aiosalesforce",
    "cyclopts",
    "rich",
)
"""Whose versions say what was measured."""


def facts(size: Size) -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": [round(each, 1) for each in os.getloadavg()],
        "platform": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": dict(_versions()),
        "size": attrs.asdict(size),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "?")


def _versions() -> Iterator[tuple[str, str | None]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, None


def table(rows: Iterable[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| show | | median | min | max | bound | holds |",
        "| ---: | --- | ---: | ---: | ---: | ---: | --- |",
        *(_line(row) for row in rows),
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    bound = str(row.bound or "")
    if row.skipped:
        return f"| {row.show} | {row.label} | | | | {bound} | not measured: {row.skipped} |"
    values = (row.median, min(row.figures), max(row.figures))
    shown = " | ".join(_shown(value, row.unit) for value in values)
    verdict = {True: "yes", False: "**no**", None: ""}[row.holds]
    return f"| {row.show} | {row.label} | {shown} | {bound} | {verdict} |"


def _shown(value: float, unit: str) -> str:
    if unit == RATIO:
        return f"{value:.2f}"
    return f"{value:,.0f} {unit}".strip() if value >= 10 or value == 0 else f"{value:.1f} {unit}"  # noqa: PLR2004


def costs(figures: Figures) -> str:
    """Return what was measured of each, in µs of CPU a call, as Markdown."""
    lines = ["| µs of CPU a call | median | min | max |", "| --- | ---: | ---: | ---: |"]
    for name, values in figures.items():
        lines.append(
            f"| {name} | {statistics.median(values):,.0f} | {min(values):,.0f} "
            f"| {max(values):,.0f} |"
        )
    return "\n".join(lines)


def notes() -> str:
    """Return what each peer does more and less than ours."""
    return "\n".join(
        f"- {peer.name}: more: {peer.more or 'nothing'}; less: {peer.less}."
        for peer in PEERS
        if peer.name != OURS
    )


def save(
    folder: Path, told: dict[str, Any], rows: Sequence[Row], figures: Figures, name: str
) -> list[Path]:
    """Write the JSON and the graph; return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"facts": told, "rows": [_kept(row) for row in rows], "cpu_us": figures}
    written = [folder / f"{name}.json"]
    written[0].write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if figures.get(RAW):
        written.append(folder / f"{name}.svg")
        written[1].write_text(graph(figures, told), "utf-8")
    return written


def _kept(row: Row) -> dict[str, Any]:
    kept = attrs.asdict(row, recurse=False)
    kept |= {"bound": row.bound and str(row.bound), "holds": row.holds}
    return kept | ({} if row.skipped else {"median": row.median})


WIDTH, LEFT, BAR, GAP, TOP = 760, 190, 18, 8, 64


def graph(figures: Figures, told: dict[str, Any]) -> str:
    """Return bars, in SVG: a POST's CPU by everyone, in multiples of the barest."""
    raw = figures[RAW]
    bars = {
        peer.name: [a / b for a, b in zip(figures[peer.name], raw, strict=True)]
        for peer in PEERS
        if figures.get(peer.name)
    }
    ranked = sorted(bars.items(), key=lambda item: statistics.median(item[1]))
    scale = (WIDTH - LEFT - 70) / max(max(values) for values in bars.values())
    height = TOP + len(ranked) * (BAR + GAP) + 16
    said = f"{told['python']}, {told['cpu']}, {told['date'][:10]}; bars: median, lines: min to max"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f"<title>{TITLE}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="16" y="26" font-size="16" font-weight="600">{TITLE}</text>',
        f'<text x="16" y="46" fill="#555" font-size="12">{escape(said)}</text>',
        *(_bar(TOP + at * (BAR + GAP), *each, scale) for at, each in enumerate(ranked)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


TITLE = "Client CPU of one POST, as a multiple of aiohttp + orjson"


FONT = 'font-family="system-ui, sans-serif" font-size="13"'


def _bar(top: float, name: str, values: list[float], scale: float) -> str:
    median, low, high = statistics.median(values), min(values), max(values)
    middle = top + BAR / 2
    colour = "#1f6feb" if name == OURS else "#9aa4b2"
    name_at, value_at = LEFT - 10, LEFT + high * scale + 8
    size = f'width="{median * scale:.1f}" height="{BAR}"'
    line = f"M{LEFT + low * scale:.1f} {middle:.0f}H{LEFT + high * scale:.1f}"
    parts = [
        f'<text x="{name_at}" y="{middle + 4:.0f}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{LEFT}" y="{top:.0f}" {size} fill="{colour}"/>',
        f'<path d="{line}" stroke="#222" stroke-width="1.5"/>',
        f'<text x="{value_at:.1f}" y="{middle + 4:.0f}">{median:.2f}</text>',
    ]
    return "\n".join(parts)
