"""Errors of each architecture as bars, and binding curves beside the frames they were learnt from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from cgdft.validation.seeds import bars

#: Pair -> distance (angstrom), energy (eV) and whether it was trained on, of the reference's frames.
Known = dict[str, list[tuple[float, float, bool]]]
#: Of a figure's row.
IN_A_ROW = 4
DECADE = 10.0


def values(row: Sequence[Mapping[str, Any]], column: str) -> list[float]:
    """Errors of all seeds of an architecture; none where it has no such quantity."""
    return [one["errors"][column] for one in row if one["errors"].get(column) is not None]


def panels(columns: Mapping[str, str], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """A panel per column, a bar per architecture that has it; errors that span a decade are on a logarithmic scale.

    Bars are means over seeds, strokes each of them.

    Args:
        columns: name -> head, as those of a `PublishedSet`.
        rows: architecture -> what `trained` gives for each seed.
    """
    lines = -(-len(columns) // IN_A_ROW)
    drawn = Figure(figsize=(11, 2.3 * lines), layout="constrained")
    axes = drawn.subplots(lines, IN_A_ROW, squeeze=False).flatten()
    for one, (column, head) in zip(axes, columns.items(), strict=False):
        seeds = {name: values(row, column) for name, row in rows.items()}
        bars(one, seeds)
        every = [value for found in seeds.values() for value in found]
        correlation = column.endswith("r2")
        if not correlation and every and max(every) > DECADE * min(every):
            one.set_xscale("log")
            one.set_xlim(10 ** math.floor(math.log10(min(every))), 10 ** math.ceil(math.log10(max(every))))
            one.xaxis.set_minor_formatter(NullFormatter())
        one.set_title(column.replace("_", " ") if correlation else head, fontsize=8)
    for one in axes[len(columns) :]:
        one.axis("off")
    return drawn


def binding(curves: Mapping[str, Mapping[str, Any]], known: Known | None = None) -> Figure:
    """Binding curves of dimers, eV against angstrom: lines are models, points the reference, hollow where not trained on.

    Args:
        curves: architecture -> pair -> "distance" and "energy".
        known: of the reference; no points are drawn without.
    """
    pairs = list(next(iter(curves.values())))
    lines = -(-len(pairs) // 2)
    drawn = Figure(figsize=(9, 3.2 * lines), layout="constrained")
    panels = drawn.subplots(lines, 2, squeeze=False).flatten()
    for one, pair in zip(panels, pairs, strict=False):
        for architecture, row in curves.items():
            one.plot(row[pair]["distance"], row[pair]["energy"], label=architecture, linewidth=1.2)
        for distance, energy, seen in (known or {}).get(pair, ()):
            one.plot(distance, energy, "ko", markersize=4, fillstyle="full" if seen else "none")
        one.set_title(pair, fontsize=10)
        one.set_xlabel("distance (angstrom)", fontsize=9)
        one.set_ylabel("E - E(A) - E(B) (eV)", fontsize=9)
    panels[0].legend(fontsize=8)
    return drawn
