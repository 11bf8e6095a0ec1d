"""Figures of a whole comparison, an observable each, and the panels of which suites draw their series."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogFormatter, NullLocator
from numpy.typing import NDArray

from cgdft.solution import Solution
from cgdft.validation.report.columns import COLUMNS
from cgdft.validation.report.compare import Comparison
from cgdft.validation.report.pictures import colour
from cgdft.validation.report.score import Score, centre_of, labels

#: Title, figure and caption.
Picture = tuple[str, Figure, str]

BARRED = 40  # molecules; the errors of more are drawn as a distribution
CUT = 2.0  # times the reference: higher bars are cut, and carry their number, where they are few
APART = 120  # bars that are far enough apart for numbers on them
SMALL = 8  # points, of letters
FLAT = 0.02  # a line that varies by less of its value is drawn as one that does not
REFERENCE = "reference"


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes: lines (x, y) by name, "reference" or a model's.

    Args:
        title, ylabel: above and beside it.
        lines: values that are not finite are gaps.
        beside: further lines of the reference, thin.
        legend: text by name where it is not the name; a panel with it has a legend of its own.
    """

    title: str
    ylabel: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    beside: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    legend: Mapping[str, str] = field(default_factory=dict)


def panels_figure(
    panels: Sequence[Panel], models: Sequence[str], xlabel: str, columns: int = 2, logarithmic: bool = False
) -> Figure:
    """Panels side by side in rows of `columns`; every model has the colour that it has in the whole report."""
    rows, columns = -(-len(panels) // columns), min(columns, len(panels))
    figure = _blank(min(3.9 * columns + 0.4, 9.2), 2.9 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    handles: dict[str, Line2D] = {}
    for axes, panel in zip(grid.flat, panels, strict=False):
        for name, (x, y) in panel.lines.items():
            own = name == REFERENCE
            (line,) = axes.plot(
                x,
                y,
                marker="o",
                markersize=3.5,
                linewidth=2.0 if own else 1.3,
                color=_colour(name, models),
                label=panel.legend.get(name, name),
                zorder=4 if own else 3,
            )
            handles.setdefault(name, line)
        for name, (x, y) in panel.beside.items():
            (line,) = axes.plot(x, y, color="0.6", linewidth=1.0, linestyle="dashed", label=name, zorder=2)
            handles.setdefault(name, line)
        low, high = axes.get_ylim()
        if high - low < FLAT * max(abs(low), abs(high)):
            axes.set_ylim(low - FLAT * abs(low), high + FLAT * abs(high))
        _dress(axes, xlabel, panel.ylabel, panel.title)
        if logarithmic:
            axes.set(xscale="log", yscale="log")
            ticks = sorted({x for xs, _ in panel.lines.values() for x in xs})
            axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(LogFormatter())
            axes.yaxis.set_minor_formatter(LogFormatter())
        if panel.legend:
            axes.legend(frameon=False, fontsize=SMALL)
    if handles and not any(panel.legend for panel in panels):
        _legend(figure, "outside lower center", list(handles.values()), list(handles))
    return figure


def lines(
    comparison: Comparison, at: Mapping[str, float], value: Callable[[str, str], float | None]
) -> dict[str, tuple[list[float], list[float]]]:
    """Lines of a `Panel`.

    Args:
        comparison: whose references and models are shown.
        at: abscissas by name.
        value: of ("reference" or a model, that name), None for a gap.
    """
    found = {}
    for who in (REFERENCE, *comparison.models):
        known = [(x, y) for name, x in at.items() if (y := value(who, name)) is not None]
        if known:
            found[who] = [x for x, _ in known], [y for _, y in known]
    return found


def charges_of(comparison: Comparison, who: str, name: str) -> NDArray[np.float64] | None:
    """Charges (n,), e, of the reference or a model on one molecule; None where there are none, here and below."""
    if name not in comparison.references:
        return None
    if who == REFERENCE:
        return labels(comparison.references[name], comparison.definition)[:, 0]
    solution = _solution(comparison, who, name)
    return None if solution is None else solution.charges.detach().numpy()


def atomic_dipoles_of(comparison: Comparison, who: str, name: str) -> NDArray[np.float64] | None:
    """Dipoles of the atoms (n, 3), e bohr; none of a model that has only charges."""
    if who == REFERENCE:
        multipoles = labels(comparison.references[name], comparison.definition)
        return multipoles[:, 1:4] if multipoles.shape[1] > 1 else None
    solution = _solution(comparison, who, name)
    dipoles = None if solution is None else solution.dipoles.detach().numpy()
    return dipoles if dipoles is not None and np.abs(dipoles).max() > 0 else None


def dipole_of(comparison: Comparison, who: str, name: str) -> NDArray[np.float64] | None:
    """Dipole of the molecule (3,), e bohr."""
    if name not in comparison.references or comparison.references[name].dipole is None:
        return None
    if who == REFERENCE:
        return comparison.references[name].dipole
    solution = _solution(comparison, who, name)
    return None if solution is None else solution.dipole[0].detach().numpy()


def polarizability_of(comparison: Comparison, who: str, name: str) -> NDArray[np.float64] | None:
    """Polarizability (3, 3), bohr³; none of a model that does not respond."""
    if name not in comparison.references or comparison.references[name].polarizability is None:
        return None
    if who == REFERENCE:
        return comparison.references[name].polarizability
    solution = _solution(comparison, who, name)
    alpha = None if solution is None else solution.polarizability()[0].detach().numpy()
    return alpha if alpha is not None and np.abs(alpha).max() > 0 else None


def charges(comparison: Comparison) -> Picture | None:
    """Every atom's charge of every model against the reference's."""
    caption = f"Charges of atoms, e, by {comparison.label()}: models against the reference. {_NAMED}"
    return _parity("Charges of models against the reference", comparison, charges_of, "charge (e)", caption)


def atomic_dipoles(comparison: Comparison) -> Picture | None:
    """Every component of every atom's dipole against the reference's, for models that have them."""
    caption = (
        f"Components x, y and z of the dipoles of atoms, e bohr, by {comparison.label()}: models against the reference. "
        f"Models without such dipoles are left out. {_NAMED}"
    )
    return _parity(
        "Atomic dipoles of models against the reference", comparison, atomic_dipoles_of, "component (e bohr)", caption
    )


def molecular_dipole(comparison: Comparison) -> Picture | None:
    """Lengths of the molecules' dipoles, of ions about the centre of nuclear charge."""

    def length(whole: Comparison, who: str, name: str) -> NDArray[np.float64] | None:
        dipole = dipole_of(whole, who, name)
        if dipole is None:
            return None
        reference, solution = whole.references[name], None if who == REFERENCE else _solution(whole, who, name)
        charge = reference.charge if solution is None else float(solution.total_charge[0])
        return np.array([np.linalg.norm(dipole - charge * centre_of(reference))])

    caption = (
        "Lengths of the molecules' dipoles, of ions about the centre of nuclear charge, e bohr (1 e bohr is 2.54 debye): "
        f"models against the reference. {_NAMED}"
    )
    return _parity("Dipoles of models against the reference", comparison, length, "dipole (e bohr)", caption)


def polarizability(comparison: Comparison) -> Picture | None:
    """Mean polarizabilities, of models that respond."""

    def mean(whole: Comparison, who: str, name: str) -> NDArray[np.float64] | None:
        alpha = polarizability_of(whole, who, name)
        return None if alpha is None else np.array([np.trace(alpha) / 3])

    caption = f"Mean polarizabilities, a third of the trace, bohr³: models against the reference. {_NAMED}"
    return _parity("Polarizabilities of models against the reference", comparison, mean, "polarizability (bohr³)", caption)


def potential(comparison: Comparison) -> Picture | None:
    """Errors of the potential near the molecules."""
    return _errors(comparison, comparison.scores, "potential_inner", "Errors of the potential at 1.4 to 2 van der Waals radii")


def response(comparison: Comparison) -> Picture | None:
    """Errors of dq_i/dv_j, of models whose charges respond."""
    responding = [one for one in comparison.scores if one.response_range is not None]
    return _errors(comparison, responding, "response_error", "Errors of the response of charges")


#: The figure of each observable, by the field of `Score` with its error.
FIGURES: Mapping[str, Callable[[Comparison], Picture | None]] = {
    "charges_rms": charges,
    "dipoles_rms": atomic_dipoles,
    "dipole_error": molecular_dipole,
    "potential_inner": potential,
    "polarizability_error": polarizability,
    "response_error": response,
}

_NAMED = "On the diagonal both are the same; the molecule where each model is farthest from it is named."


def _solution(comparison: Comparison, model: str, name: str) -> Solution | None:
    return next((one.solution for one in comparison.of_molecule(name) if one.model == model), None)


def _colour(name: str, models: Sequence[str]) -> str:
    return colour(0 if name == REFERENCE else 1 + models.index(name))


def _parity(
    title: str,
    comparison: Comparison,
    values: Callable[[Comparison, str, str], NDArray[np.float64] | None],
    label: str,
    caption: str,
) -> Picture | None:
    """Equal axes and a diagonal; each model's worst point is named, a molecule once."""
    points: dict[str, list[tuple[float, float, str]]] = {}
    for name in comparison.references:
        exact = values(comparison, REFERENCE, name)
        for model in comparison.models if exact is not None else ():
            mine = values(comparison, model, name)
            if exact is not None and mine is not None:
                pairs = zip(exact.ravel().tolist(), mine.ravel().tolist(), strict=True)
                points.setdefault(model, []).extend((x, y, name) for x, y in pairs)
    if not points:
        return None
    figure = _blank(4.9, 4.9)
    axes = figure.subplots()
    numbers = np.array([one[:2] for of_model in points.values() for one in of_model])
    low, high = float(numbers.min()), float(numbers.max())
    margin = 0.05 * max(high - low, 1e-3)
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color="0.6", linewidth=0.9, zorder=1)
    named = set()
    for model in filter(points.get, comparison.models):
        x, y, names = zip(*points[model], strict=True)
        axes.scatter(x, y, s=17, color=_colour(model, comparison.models), alpha=0.75, linewidths=0, label=model, zorder=3)
        k = int(np.argmax(np.abs(np.subtract(y, x))))
        if names[k] not in named and abs(y[k] - x[k]) > 0.02 * (high - low):
            right = x[k] > (low + high) / 2
            axes.annotate(
                names[k], (x[k], y[k]), (-5 if right else 5, 4), textcoords="offset points", ha="right" if right else "left",
                fontsize=7, color="0.3", path_effects=[withStroke(linewidth=2.0, foreground="white")], zorder=4,
            )  # fmt: skip
            named.add(names[k])
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    _dress(axes, f"reference: {label}", f"model: {label}")
    _legend(figure, "outside upper left", *axes.get_legend_handles_labels())
    return title, figure, caption


def _errors(comparison: Comparison, scores: Sequence[Score], key: str, title: str) -> Picture | None:
    """Relative errors in these scores: bars molecule by molecule, or their distribution where there are many."""
    errors = {
        model: {one.molecule: value for one in scores if one.model == model and (value := getattr(one, key)) is not None}
        for model in comparison.models
    }
    errors = {model: known for model, known in errors.items() if known}
    molecules = [name for name in comparison.references if any(name in known for known in errors.values())]
    if not molecules:
        return None
    about = next(one.about for one in COLUMNS if one.key == key)
    if len(molecules) > BARRED:
        caption = f"Share of molecules with an error below the one on the axis: {about}. Curves to the left are better."
        return title, _distribution(errors, comparison.models), caption
    figure, numbers = _bars(errors, molecules, comparison.models)
    told = " Numbers are those of bars that leave the figure." if numbers else ""
    return title, figure, f"Molecule by molecule: {about}.{told}"


def _bars(errors: Mapping[str, Mapping[str, float]], molecules: Sequence[str], models: Sequence[str]) -> tuple[Figure, bool]:
    """Bars, and whether there are numbers of some that are cut."""
    figure = _blank(float(np.clip(2.2 + 0.28 * len(molecules) * max(1.0, len(errors) / 3), 5.0, 10.4)), 3.5)
    axes = figure.subplots()
    values = np.array([[known.get(name, np.nan) for name in molecules] for known in errors.values()])
    high = values > CUT
    cut = bool(0 < high.sum() <= 0.25 * np.isfinite(values).sum())
    numbers = cut and len(molecules) * len(errors) <= APART
    width = 0.84 / len(errors)
    for k, (model, row) in enumerate(zip(errors, values, strict=True)):
        at = np.arange(len(molecules)) + (k - (len(errors) - 1) / 2) * width
        axes.bar(at, 100 * row, width, color=_colour(model, models), label=model, zorder=2)
        for x, value in zip(at[high[k]], row[high[k]], strict=True) if numbers else ():
            axes.text(x, 101 * CUT, f"{100 * value:.0f}", fontsize=6, rotation=90, ha="center", va="bottom", color="0.1")
    if cut:
        axes.set_ylim(0, 100 * CUT)
    axes.margins(x=0.01)
    _dress(axes, "", "error (%)")
    slanted = sum(map(len, molecules)) > 70
    axes.set_xticks(
        np.arange(len(molecules)), molecules, fontsize=7, rotation=55 if slanted else 0, ha="right" if slanted else "center",
        rotation_mode="anchor" if slanted else "default",
    )  # fmt: skip
    axes.grid(axis="x", visible=False)
    _legend(figure, "outside upper left", *axes.get_legend_handles_labels())
    return figure, numbers


def _distribution(errors: Mapping[str, Mapping[str, float]], models: Sequence[str]) -> Figure:
    figure = _blank(6.4, 3.6)
    axes = figure.subplots()
    whole = len({name for known in errors.values() for name in known})  # also of a model that failed on some
    for model, known in errors.items():
        ordered = 100 * np.maximum(np.sort(list(known.values())), 1e-3)
        share = 100 * np.arange(1, len(ordered) + 1) / whole
        axes.step(ordered, share, where="post", color=_colour(model, models), label=model, linewidth=1.6)
    axes.set(xscale="log", ylim=(0, 103))
    axes.xaxis.set_major_formatter(LogFormatter())
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2.0, 0.5)))
    _dress(axes, "error (%)", "share of molecules (%)")
    _legend(figure, "outside upper left", *axes.get_legend_handles_labels())
    return figure


def _legend(
    figure: Figure, where: Literal["outside upper left", "outside lower center"], handles: Sequence[Any], labels: Sequence[str]
) -> None:
    """In as many columns as the figure is wide for, at most four."""
    if not labels:  # matplotlib leaves out what begins with an underscore
        return
    column = SMALL * (0.55 * max(map(len, labels)) + 4.5)  # mean width of a letter in ems; the line, and space around it
    columns = max(1, min(4, int(72 * figure.get_figwidth() / column)))
    figure.legend(handles, labels, loc=where, ncols=columns, frameon=False, fontsize=SMALL)


def _dress(axes: Axes, xlabel: str, ylabel: str, title: str = "") -> None:
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=SMALL, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", zorder=0)
    axes.set_axisbelow(True)


def _blank(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
