"""The picture of a run: CPU time and memory against the number of atoms, and iterations of every family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cgdft.validation.speed.peers import OURS, PEERS, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's colours, one for each code.
COLOURS = dict(
    zip([code.name for code in (OURS, *PEERS)], ("0.1", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2"), strict=True)
)


def picture(rows: Sequence[Row], threads: int) -> Figure:
    """CPU time of both tests, memory of charge equilibration, iterations of cgdft; logarithmic axes."""
    figure = Figure(figsize=(9.6, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    (time_qeq, time_fixed), (memory, iterations) = figure.subplots(2, 2)
    done = [row for row in rows if not row.skipped]
    salt = [row for row in done if row.system == "salt"]
    _lines(time_qeq, [row for row in salt if row.test == "qeq"], lambda row: row.cpu_s)
    _lines(time_fixed, [row for row in salt if row.test == "fixed"], lambda row: row.cpu_s)
    _lines(memory, [row for row in salt if row.test == "qeq"], lambda row: row.memory_mb)
    for axes, title, label in (
        (time_qeq, "charge equilibration", "CPU time (s)"),
        (time_fixed, "fixed charges: energy, forces", "CPU time (s)"),
        (memory, "charge equilibration", "memory above the imports (MB)"),
        (iterations, "cgdft", "iterations to a residual of 1e-8"),
    ):
        axes.set(title=title, ylabel=label, xlabel="atoms", xscale="log")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9")
    ours = [row for row in done if row.test == "qeq" and row.code == OURS.name and row.iterations is not None]
    for family in dict.fromkeys(row.system for row in ours):
        points = sorted((row.atoms, row.iterations) for row in ours if row.system == family and row.iterations is not None)
        iterations.plot(*zip(*points, strict=True), marker="o", label=family)
    iterations.set_ylim(bottom=0)
    for axes in (time_qeq, time_fixed, iterations):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{threads} thread{'s' * (threads > 1)}", fontsize=10)
    return figure


def _lines(axes: Axes, rows: Sequence[Row], value: Callable[[Row], float | None]) -> None:
    for code in dict.fromkeys(row.code for row in rows):
        points = [(row.atoms, y) for row in rows if row.code == code and (y := value(row)) is not None and y > 0]
        if points:
            width = 2.2 if code == OURS.name else 1.3
            axes.plot(*zip(*sorted(points), strict=True), marker="o", color=COLOURS[code], label=code, linewidth=width)
            axes.set_yscale("log")
