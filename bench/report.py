"""The figures as one table and as JSON."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Bound:
    """What a figure should reach, all of it: at least this share of its limit, more than `least`, less than `most`."""

    least_ratio: float | None = None
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        wanted = [
            "" if self.least_ratio is None else f"≥ {self.least_ratio:.2f}",
            "" if self.least is None else f"> {self.least:,g}",
            "" if self.most is None else f"< {self.most:g}",
        ]
        return ", ".join(each for each in wanted if each)

    def met(self, value: float, ratio: float | None) -> bool | None:
        """Whether a figure reaches it; None where nothing is promised."""
        reached = [
            *([ratio >= self.least_ratio] if self.least_ratio is not None and ratio is not None else []),
            *([value > self.least] if self.least is not None else []),
            *([value < self.most] if self.most is not None else []),
        ]
        return all(reached) if reached else None


@dataclass(frozen=True)
class Row:
    """One figure, and its limit where there is one. `details` stand in the JSON only."""

    figure: str
    value: float
    unit: str
    limit: float | None = None
    limit_name: str = ""
    bound: Bound = field(default_factory=Bound)
    details: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def ratio(self) -> float | None:
        """Of the limit."""
        return self.value / self.limit if self.limit else None

    @property
    def met(self) -> bool | None:
        """Whether it reaches what it should; None where nothing is promised."""
        return self.bound.met(self.value, self.ratio)


class Report:
    """Figures in the order in which they were measured."""

    def __init__(self, began: datetime, *, quick: bool) -> None:
        self._began = began
        self._quick = quick
        self._rows: list[Row] = []
        self._notes: list[str] = []
        self._machine = machine()

    def add(self, row: Row) -> None:
        """One more figure."""
        self._rows.append(row)

    def note(self, text: str) -> None:
        """What a reader must know."""
        self._notes.append(text)

    def table(self) -> str:
        """For people."""
        head = ["figure", "value", "", "ratio", "wanted", "limit of the same run"]
        lines = [head, *(_cells(row) for row in self._rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        text = ["  ".join(_aligned(cell, widths[n], n) for n, cell in enumerate(line)).rstrip() for line in lines]
        about = ", ".join(f"{name} {value}" for name, value in self._machine.items())
        began = f"{self._began:%Y-%m-%d %H:%M} UTC{', quick' if self._quick else ''}; {about}"
        return "\n".join([began, "", *text, *(["", *self._notes] if self._notes else [])])

    def write(self, path: Path) -> None:
        """For programs."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [asdict(row) | {"ratio": row.ratio, "met": row.met} for row in self._rows]
        document = {
            "began": self._began.isoformat(),
            "quick": self._quick,
            "machine": self._machine,
            "figures": rows,
            "notes": self._notes,
        }
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def machine() -> dict[str, object]:
    """Where this ran, and how busy the machine was before."""
    return {
        "cores": psutil.cpu_count(),
        "CPU": _cpu_model(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "Python": platform.python_version(),
        "load before": f"{psutil.getloadavg()[0]:.1f}",
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _cells(row: Row) -> list[str]:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    verdict = {None: "", True: " met", False: " MISSED"}[row.met]
    limit = f"{_number(row.limit)} {row.limit_name}" if row.limit is not None else ""
    return [row.figure, _number(row.value), row.unit, ratio, f"{row.bound}{verdict}", limit]


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column in {1, 3} else cell.ljust(width)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.1f}"  # noqa: PLR2004 - digits
