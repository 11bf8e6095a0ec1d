"""What the measurements say: tables, scaling exponents, ratios, and everything as plain numbers for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from cgdft.validation.speed.peers import OURS, Row

#: Exponents are taken from this size upwards, below which times are those of fixed costs.
SCALING_FROM = 4096
TITLES = {"qeq": "Charge equilibration from a cold start: charges, energy, forces", "fixed": "Fixed charges: energy, forces"}


def exponent(rows: Sequence[Row], test: str, code: str) -> float | None:
    """b of time = a N^b by least squares in logarithms, over the salt from 4096 atoms; None with fewer than two sizes."""
    points = [
        (math.log(row.atoms), math.log(row.cpu_s))
        for row in rows
        if (row.test, row.code, row.system) == (test, code, "salt") and row.cpu_s and row.atoms >= SCALING_FROM
    ]
    if len({x for x, _ in points}) < 2:
        return None
    x0, y0 = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - x0) * (y - y0) for x, y in points) / sum((x - x0) ** 2 for x, _ in points)


def ratio(rows: Sequence[Row], row: Row) -> float | None:
    """CPU time of this row over that of cgdft on the same task in the same run."""
    for ours in rows:
        same = (ours.test, ours.system, ours.atoms) == (row.test, row.system, row.atoms)
        if same and ours.code == OURS.name and ours.cpu_s and row.cpu_s:
            return row.cpu_s / ours.cpu_s
    return None


def as_dict(rows: Sequence[Row], threads: int) -> dict[str, Any]:
    """Every figure, for JSON."""
    pairs = dict.fromkeys((row.test, row.code) for row in rows)
    return {
        "threads": threads,
        "units": {"cpu_s": "s", "wall_s": "s", "memory_mb": "MB above the imports", "charge_error": "e, largest"}
        | {"force_error": "relative, root of mean squares", "ratio": "CPU time over that of cgdft"},
        "rows": [{**row.figures(), "ratio": ratio(rows, row)} for row in rows],
        "exponents": [{"test": test, "code": code, "exponent": exponent(rows, test, code)} for test, code in pairs],
    }


def show(rows: Sequence[Row], threads: int, console: Console) -> None:
    """Print the tables, the exponents and the reasons for what is missing."""
    for test, title in TITLES.items():
        chosen = [row for row in rows if row.test == test and not row.skipped]
        if not chosen:
            continue
        table = Table(title=f"{title}; {threads} thread{'s' * (threads > 1)}", title_justify="left")
        for name in ("system", "atoms", "code", "CPU s", "x cgdft", "MB", "kB/atom", "iter."):
            table.add_column(name, justify="left" if name in ("system", "code") else "right", no_wrap=True)
        for name in (["charges, e"] if test == "qeq" else []) + ["forces", "stress"]:
            table.add_column(name, justify="right", no_wrap=True)
        last = None
        for row in chosen:
            if last is not None and last != (row.system, row.atoms):
                table.add_section()
            last = (row.system, row.atoms)
            per_atom = None if row.memory_mb is None else 1024 * row.memory_mb / row.atoms
            cells = [row.system, str(row.atoms), row.code, _number(row.cpu_s)]
            cells += [_number(ratio(rows, row)), _number(row.memory_mb), _number(per_atom)]
            cells += ["-" if row.iterations is None else str(row.iterations)]
            cells += [_number(row.charge_error, 2)] if test == "qeq" else []
            cells += [_number(row.force_error, 2), "yes" if row.stress else "no"]
            table.add_row(*cells)
        console.print(table)
        console.print("CPU time also as a multiple of cgdft's; memory above the imports; errors of forces are relative.")
        slopes = {code: exponent(rows, test, code) for code in dict.fromkeys(row.code for row in chosen)}
        known = ", ".join(f"{code} {value:.2f}" for code, value in slopes.items() if value is not None)
        if known:
            console.print(f"Exponents of CPU time from {SCALING_FROM} atoms of salt: {known}")
        for code in slopes:
            row = next(row for row in chosen if row.code == code)
            console.print(f"  {code} {row.version}: {row.settings}", markup=False, highlight=False)
    for row in rows:
        if row.skipped:
            console.print(
                f"skipped: {row.code}, {row.test}, {row.system} of {row.atoms}: {row.skipped}", markup=False, highlight=False
            )


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
