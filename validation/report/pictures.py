"""Figures of the report: potentials on a plane with each model's error, and charges side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from cgdft.plotting import decimals
from cgdft.validation.dft.reference import Reference
from cgdft.validation.dft.surfaces import INNER, van_der_waals_radius
from cgdft.validation.report.score import labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cgdft.solution import Solution
    from cgdft.validation.report.score import Score

#: Negative red, positive blue, as chemists draw potentials.
COLOURS = "RdBu"
#: Of bars: the reference, then the models (Okabe and Ito's colours, told apart by the colour-blind).
BARS = ("0.25", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#F0E442")
DARKER = 0.55  # the same colour for the next seven models
DPI = 130
PANELS = 3  # in a row
LEVELS = 22  # of colour, an even number: the middle one is white and holds zero
ATOMS = 24  # more are not drawn as bars


def potential_figure(reference: Reference, scores: Sequence[Score]) -> Figure:
    """V_ref of the difference density on the plane, then V - V_ref of each model, hartree/e, in the same colours.

    The scale is set by V_ref outside 1.4 van der Waals radii (the dashed line), where potentials are compared; grey is
    what lies within one van der Waals radius.
    """
    across, up, atoms, height = _flat(reference)
    reach = _reach(reference)
    assert reference.plane_potential is not None
    exact = reference.plane_potential.astype(np.float64)
    most = max(float(np.abs(exact[reach >= INNER[0]]).max(initial=0.0)), 1e-6)
    panels = {"reference: V": exact}
    for score in scores:
        assert score.solution is not None
        errors = [f"{what} {100 * value:.1f} %" for what, value in _relative_errors(score) if value is not None]
        title = f"{score.model}: error of V\n{', '.join(errors)}"
        panels[title] = _plane_potential(score.solution, reference) - exact
    rows, columns = -(-len(panels) // PANELS), min(PANELS, len(panels))
    shape = float(np.clip((up[-1] - up[0]) / (across[-1] - across[0]), 0.4, 1.6))
    figure = Figure(figsize=(3.2 * columns + 1.0, (3.0 * shape + 0.65) * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, values) in zip(grid.flat, panels.items(), strict=False):
        seen = np.where(reach < 0.9, np.nan, values)  # a little less than 1, so that grey covers the steps of the grid
        levels = np.linspace(-most, most, LEVELS)
        filled = axes.contourf(across, up, seen, levels, cmap=COLOURS, extend="both")
        axes.contour(across, up, reach, [INNER[0]], colors="0.15", linewidths=0.9, linestyles="dashed")
        axes.contourf(across, up, reach, [0.0, 1.0], colors="0.88", zorder=3)
        _draw_atoms(axes, reference, atoms, height)
        axes.set_title(title, fontsize=9)
        axes.set_aspect("equal")
        axes.tick_params(labelsize=7)
    for axes in grid[:, 0]:
        axes.set_ylabel("bohr", fontsize=8)
    for k in range(columns):
        lowest = max(r for r in range(rows) if r * columns + k < len(panels))
        grid[lowest, k].set_xlabel("bohr", fontsize=8)
        grid[lowest, k].tick_params(labelbottom=True)
    bar = figure.colorbar(
        filled, ax=grid, shrink=0.8, aspect=30, ticks=np.linspace(-most, most, 5), format=f"%+.{decimals(most)}f"
    )
    bar.set_label("hartree/e", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def charge_figure(reference: Reference, scores: Sequence[Score], definition: str | None = None) -> Figure:
    """Charges (e) of the reference by one definition (default its first) and of each model, side by side, atom by atom.

    Of more than 24 atoms, those are drawn where a model is farthest off. A model that failed has no bars.
    """
    name = definition or next(iter(reference.moments))
    charges = {f"reference ({name})": labels(reference, name)[:, 0]}
    charges |= {score.model: score.solution.charges.detach().numpy() for score in scores if score.solution is not None}
    colours = [colour(0), *(colour(k) for k, score in enumerate(scores, 1) if score.solution is not None)]
    values = np.stack(list(charges.values()))
    error = np.abs(values - values[0]).max(axis=0)
    shown = np.sort(np.argsort(-error, kind="stable")[:ATOMS])
    figure = Figure(figsize=(float(np.clip(1.6 + 0.9 * len(shown), 5.5, 10.6)), 2.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    width = 0.82 / len(charges)
    for k, (name, row) in enumerate(zip(charges, values[:, shown], strict=True)):
        offset = (k - (len(charges) - 1) / 2) * width
        axes.bar(np.arange(len(shown)) + offset, row, width, label=name, color=colours[k], zorder=2)
    axes.axhline(0.0, color="0.2", linewidth=0.8, zorder=3)
    axes.set_xticks(np.arange(len(shown)), [f"{chemical_symbols[reference.numbers[i]]}{i}" for i in shown], fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylabel("charge (e)", fontsize=8)
    axes.margins(x=0.02)
    axes.grid(axis="y", color="0.9", zorder=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    if len(shown) < len(reference.numbers):
        axes.set_title(f"the {len(shown)} of {len(reference.numbers)} atoms where a model is farthest off", fontsize=9)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def colour(k: int) -> str:
    """Of the reference (0) and of model k = 1, 2, ...; the eighth model has a darker one of the first, and so on."""
    if k == 0:
        return BARS[0]
    times, which = divmod(k - 1, len(BARS) - 1)
    red, green, blue = to_rgb(BARS[1 + which])
    shade = DARKER**times
    return to_hex((shade * red, shade * green, shade * blue))


def as_png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _plane_potential(solution: Solution, reference: Reference) -> NDArray[np.float64]:
    import torch

    with torch.no_grad():
        values = solution.density.potential(torch.from_numpy(reference.plane.reshape(-1, 3)))
    flat: NDArray[np.float64] = values.numpy().reshape(reference.plane.shape[:2])
    return flat


def _flat(reference: Reference) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], Any]:
    """Coordinates of columns and rows of the plane, and of the atoms: in it (n, 2) and above it (n,); bohr."""
    corner = reference.plane[0, 0]
    axes = np.stack([reference.plane[0, -1] - corner, reference.plane[-1, 0] - corner])
    lengths = np.linalg.norm(axes, axis=1)
    axes = axes / lengths[:, None]
    middle = 0.5 * lengths
    seen = (reference.positions - corner) @ axes.T - middle
    height = (reference.positions - corner) @ np.cross(*axes)
    across, up = (np.linspace(-half, half, n) for half, n in zip(middle, reference.plane.shape[1::-1], strict=True))
    return across, up, seen, height


def _reach(reference: Reference) -> NDArray[np.float64]:
    """Distance of each point of the plane to the nearest atom in its van der Waals radii, (rows, columns)."""
    radii = np.array([van_der_waals_radius(int(number)) for number in reference.numbers])
    distance = np.linalg.norm(reference.plane[:, :, None] - reference.positions, axis=-1)
    nearest: NDArray[np.float64] = (distance / radii).min(axis=-1)
    return nearest


def _relative_errors(score: Score) -> list[tuple[str, float | None]]:
    return [("inner", score.potential_inner), ("outer", score.potential_outer)]


def _draw_atoms(axes: Axes, reference: Reference, seen: NDArray[np.float64], height: NDArray[np.float64]) -> None:
    """Symbols of the atoms; pale for those more than half a bohr off the plane."""
    halo = [withStroke(linewidth=2.0, foreground="0.97")]
    for k in np.argsort(-np.abs(height)):
        colour = "0.1" if abs(height[k]) < 0.5 else "0.55"
        symbol = chemical_symbols[reference.numbers[k]]
        axes.text(
            seen[k, 0], seen[k, 1], symbol, ha="center", va="center", fontsize=8, color=colour, path_effects=halo, zorder=4
        )
