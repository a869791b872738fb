"""`python -m bench.plot FILE.json [FILE.svg]`: what misses yield and cost at each size of the directory, drawn as SVG.

Both axes are logarithmic. Each line has its name at its end, a colour and a mark; the drawing brings its own ground for
light and dark.
"""

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from amrutam.stack.applications import CHECKOUT
from bench.growth import MANY, SEARCH, SLOTS

DEFAULT = CHECKOUT / "docs/growth.svg"
WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 900, 270, 76, 250, 56, 92
LINES_END, LABEL = WIDTH - RIGHT, 17
_LIGHT = ("#1f6fd1", "#b3261e", "#16794a", "#7a3fc4", "#9a5b00", "#00707d", "#b0267a")
_DARK = ("#6fb0ff", "#ff8a80", "#5fd39a", "#c3a0ff", "#f0b357", "#5fd0de", "#ff8fcb")
_MARKS = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
    "M-4,-4h8v8h-8z",
    "M0,-5l5,9h-10z",
    "M0,-5l5,5l-5,5l-5,-5z",
    "M0,5l5,-9h-10z",
    "M-5,-2h3v-3h4v3h3v4h-3v3h-4v-3h-3z",
    "M-5,-3h10v6h-10z",
)

Points = Sequence[tuple[float, float]]


class Panel(NamedTuple):
    """A drawing with its axes: what is drawn by kind, and lines at what is wanted, by their names."""

    title: str
    unit: str
    lines: Mapping[str, Points]
    wanted: Mapping[str, float]


def panels(document: Mapping[str, Any]) -> list[Panel]:
    """Of a run's figures."""
    about = [(row["details"], row) for row in document["figures"] if "kind" in row["details"]]
    rates = [(d, row["value"]) for d, row in about if d.get("connections") == MANY and "a miss" in row["figure"]]
    buffers = [(d, row["value"]) for d, row in about if "mean" in d]
    wanted = {
        f"wanted: {SEARCH.least:,.0f} searches": SEARCH.least or 0,
        f"wanted: {SLOTS.least:,.0f} lists of slots": SLOTS.least or 0,
    }
    return [
        Panel(f"Answers a second, each a miss, {MANY} connections", "answers a second", _by_kind(rates), wanted),
        Panel("Buffers that PostgreSQL looks at for a miss", "buffers of 8 KiB", _by_kind(buffers), {}),
    ]


def _by_kind(figures: Iterable[tuple[Mapping[str, Any], float]]) -> dict[str, Points]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for details, value in figures:
        lines.setdefault(details["kind"], []).append((details["doctors"], value))
    return {name: sorted(points) for name, points in lines.items()}


def drawn(document: Mapping[str, Any]) -> str:
    """The whole SVG."""
    height = TOP + 2 * (PANEL + GAP) - 20
    parts = [_panel(panel, TOP + number * (PANEL + GAP)) for number, panel in enumerate(panels(document))]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"',
            f' width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="13">',
            "<title>Growth from 1,000 to 100,000 doctors: misses a second, and buffers of a miss</title>",
            f"<style>{_style()}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height}" rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _style() -> str:
    def colours(of_lines: Sequence[str]) -> str:
        return "".join(f".l{n}{{stroke:{c}}}.m{n}{{fill:{c}}}" for n, c in enumerate(of_lines))

    light = ".ground{fill:#fff}text{fill:#24292f}.axis{stroke:#d0d7de}.quiet{fill:#57606a}.wanted{stroke:#57606a}"
    dark = ".ground{fill:#0d1117}text{fill:#e6edf3}.axis{stroke:#30363d}.quiet{fill:#9aa4af}.wanted{stroke:#9aa4af}"
    return (
        f"{light}{colours(_LIGHT)}.line{{fill:none;stroke-width:2}}.lead{{fill:none;opacity:.5}}"
        f"@media (prefers-color-scheme:dark){{{dark}{colours(_DARK)}}}"
    )


class _Scale(NamedTuple):
    """Where values lie on the drawing: both logarithmic, the vertical one upwards."""

    doctors: Sequence[float]
    steps: Sequence[float]
    top: float

    @property
    def bottom(self) -> float:
        return self.top + PANEL

    def x(self, value: float) -> float:
        return LEFT + 24 + (LINES_END - LEFT - 48) * _share(value, self.doctors[0], self.doctors[-1])

    def y(self, value: float) -> float:
        return self.bottom - PANEL * _share(value, self.steps[0], self.steps[-1])


def _panel(panel: Panel, top: float) -> str:
    doctors = sorted({x for points in panel.lines.values() for x, _ in points})
    values = [y for points in panel.lines.values() for _, y in points] + list(panel.wanted.values())
    scale = _Scale(doctors, _steps(min(values), max(values)), top)
    return "\n".join([*_axes(panel, scale), *_lines(panel, scale)])


def _axes(panel: Panel, scale: _Scale) -> Iterator[str]:
    top, bottom = scale.top, scale.bottom
    yield f'<text x="{LEFT}" y="{top - 18}" font-size="15" font-weight="600">{escape(panel.title)}</text>'
    for step in scale.steps:
        y = scale.y(step)
        yield f'<path class="axis" d="M{LEFT},{y:.1f}H{LINES_END}"/>'
        yield f'<text class="quiet" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{step:,.0f}</text>'
    for count in scale.doctors:
        x = scale.x(count)
        yield f'<path class="axis" d="M{x:.1f},{bottom}v5"/>'
        yield f'<text class="quiet" x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{count:,.0f}</text>'
    middle, side = (LEFT + LINES_END) / 2, f"translate(16 {(top + bottom) / 2}) rotate(-90)"
    yield f'<text class="quiet" x="{middle}" y="{bottom + 40}" text-anchor="middle">doctors</text>'
    yield f'<text class="quiet" transform="{side}" text-anchor="middle">{escape(panel.unit)}</text>'


def _lines(panel: Panel, scale: _Scale) -> list[str]:
    parts, ends = list[str](), list[tuple[float, str, int | None]]()
    for name, value in panel.wanted.items():
        y = scale.y(value)
        parts.append(f'<path class="wanted" stroke-dasharray="5 4" fill="none" d="M{LEFT},{y:.1f}H{LINES_END}"/>')
        ends.append((y, name, None))
    for number, (name, points) in enumerate(panel.lines.items()):
        places = [(scale.x(x), scale.y(y)) for x, y in points]
        path = "L".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<path class="line l{number}" d="M{path}"/>')
        parts += [_mark(number, x, y) for x, y in places]
        ends.append((places[-1][1], name, number))
    return parts + _labels(ends, scale.x(scale.doctors[-1]))


def _mark(number: int, x: float, y: float) -> str:
    return f'<path class="m{number}" transform="translate({x:.1f} {y:.1f})" d="{_MARKS[number]}"/>'


def _labels(ends: Sequence[tuple[float, str, int | None]], x: float) -> list[str]:
    """Each name beside its line's end, moved apart where they would lie on one another."""
    parts, ordered = list[str](), sorted(ends, key=lambda end: end[0])
    places = [y for y, _, _ in ordered]
    for _ in range(200):
        for upper in range(len(places) - 1):
            if (short := LABEL - (places[upper + 1] - places[upper])) > 0:
                places[upper] -= short / 2
                places[upper + 1] += short / 2
    for (y, name, number), place in zip(ordered, places, strict=True):
        begin, colour, words = (LINES_END, "wanted", ' class="quiet"') if number is None else (x + 7, f"l{number}", "")
        parts.append(f'<path class="lead {colour}" d="M{begin:.1f},{y:.1f}L{LINES_END + 14},{place:.1f}"/>')
        if number is not None:
            parts.append(_mark(number, LINES_END + 22, place))
        parts.append(f'<text{words} x="{LINES_END + 32}" y="{place + 4:.1f}">{escape(name)}</text>')
    return parts


def _steps(least: float, most: float) -> list[float]:
    """1, 2 and 5 times powers of ten around all values; over three decades the powers alone."""
    wide = most / least > 1_000  # noqa: PLR2004 - three decades
    powers = range(math.floor(math.log10(least)) - 1, math.ceil(math.log10(most)) + 2)
    steps = [factor * 10.0**power for power in powers for factor in ((1,) if wide else (1, 2, 5))]
    first = max(number for number, step in enumerate(steps) if step <= least)
    last = min(number for number, step in enumerate(steps) if step >= most)
    return steps[first : last + 1]


def _share(value: float, least: float, most: float) -> float:
    """Where it lies between the two on a logarithmic scale, from 0 to 1; in the middle when they are the same."""
    return math.log(value / least) / math.log(most / least) if most > least else 0.5


def main(arguments: Sequence[str]) -> int:
    """Exit status 2 when no file is named, or it knows no directory."""
    if not arguments:
        print("Name the JSON of a run: python -m bench.plot .data/bench/….json [FILE.svg]", file=sys.stderr)  # noqa: T201
        return 2
    document = json.loads(Path(arguments[0]).read_text())
    if not any("kind" in row["details"] for row in document["figures"]):
        print(f"{arguments[0]} knows no directory: make bench ONLY=directory measures it", file=sys.stderr)  # noqa: T201
        return 2
    path = Path(arguments[1]) if arguments[1:] else DEFAULT
    path.write_text(drawn(document))
    print(f"Drawn to {path}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
