"""Figures: a structure coloured by its charges, and the electrostatic potential on a plane through it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase.data import covalent_radii
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from cgdft.units import angstrom
from cgdft.writing import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from cgdft.density import Density
    from cgdft.solution import Solution
    from cgdft.structure import Structure

#: Negative red, positive blue, as chemists draw potentials.
COLOURS = "RdBu"
#: Accuracy of a potential that is only looked at.
ACCURACY = 1e-6
#: With more atoms than this no labels are written.
LABELLED = 40
#: The longer side of a picture is at most so many times the shorter one.
LONGEST = 2.5
#: Up to this thickness, bohr, a slab is a sheet.
SHEET = 4.0
#: Width of a letter of a label and height of its two lines, as parts of the longer side of what is drawn.
LETTER, LINES = 0.022, 0.075


@dataclass(frozen=True, eq=False)
class Plane:
    """A rectangle in space with a grid of points on it; all lengths in bohr.

    Attributes:
        origin: where both coordinates are zero, (3,).
        axes: unit vectors across, up and towards the viewer, as rows, (3, 3).
        across, up: coordinates of the grid, (n,) and (m,).
    """

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    across: NDArray[np.float64]
    up: NDArray[np.float64]

    @property
    def points(self) -> torch.Tensor:
        """The grid in space, (m * n, 3), across running fastest."""
        up, across = np.meshgrid(self.up, self.across, indexing="ij")
        return torch.from_numpy(self.origin + np.stack([across.ravel(), up.ravel()], 1) @ self.axes[:2])

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top."""
        return float(self.across[0]), float(self.across[-1]), float(self.up[0]), float(self.up[-1])

    def project(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coordinates across, up and above the plane, (n, 3)."""
        coordinates: NDArray[np.float64] = (positions - self.origin) @ self.axes.T
        return coordinates


def plane(structure: Structure, margin: float = 4.0, n: int = 90) -> Plane:
    """The principal plane of an open structure, that of two lattice vectors of bulk, one upright along the first of a slab.

    It passes through the centre, or in a cell through its most populated layer of atoms. A sheet of atoms is seen from above.

    Args:
        structure: one structure.
        margin: around the atoms, bohr; a cell is drawn whole and without a margin.
        n: points along the longer side.

    Raises:
        ValueError: a batch; structure[0] is its first structure.
    """
    if len(structure) != 1:
        raise ValueError(f"`structure` must be a single one to be drawn, got a batch of {len(structure)}; take structure[0]")
    positions = structure.positions.detach().cpu().numpy()
    cell = structure.cell[0].detach().cpu().numpy()
    if structure.pbc.all():
        vectors, axes, origin = _lattice_plane(cell, positions, structure.numbers.cpu().numpy())
        corners = np.array([i * vectors[0] + j * vectors[1] for i in (0, 1) for j in (0, 1)]) @ axes[:2].T
        margin = 0.0
    elif (upright := _axes_of_slab(structure, positions)) is not None:
        axes = upright
        origin = _fullest_layer(positions, axes[2])
        corners = (positions - origin) @ axes[:2].T
    else:
        origin = positions.mean(0)
        spread = (positions - origin).T @ (positions - origin)
        # where directions are equivalent, the first Cartesian axes
        spread += 1e-6 * (np.trace(spread) + 1.0) * np.diag([2.0, 1.0, 0.0])
        axes = np.linalg.eigh(spread)[1].T[::-1]
        axes = axes * np.sign(axes[np.arange(3), np.abs(axes).argmax(1)])[:, None]
        axes[2] = np.cross(axes[0], axes[1])
        corners = (positions - origin) @ axes[:2].T
    low, high = corners.min(0) - margin, corners.max(0) + margin
    if not structure.pbc.all():
        low, high = _widened(low, high)
    counts = np.maximum(2, np.ceil(n * (high - low) / (high - low).max())).astype(int)
    across, up = (np.linspace(low[k], high[k], counts[k]) for k in range(2))
    return Plane(origin, axes, across, up)


def plot_solution(solution: Solution, path: str | Path | None = None) -> Figure:
    """Left the atoms coloured by their charges (e), right the potential (hartree/e) on a plane through them.

    Args:
        solution: of one structure.
        path: a file to save the figure to; its ending says the format.

    Raises:
        ValueError: a batch.
    """
    if len(solution.structure) != 1:
        raise ValueError(
            f"`solution` must be of one structure to be plotted, got a batch of {len(solution.structure)}; "
            f"plot model(structure) for one of its structures"
        )
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    where = plane(solution.structure)
    draw_charges(left, solution, where)
    draw_potential(right, solution.density, where)
    formula = solution.structure[0].to_ase().get_chemical_formula()
    total = float(solution.total_charge[0].detach())
    figure.suptitle(
        f"{solution.model.name}: {formula}, total charge {total:+.3f} e".replace("+0.000", "0").replace("-0.000", "0")
    )
    if path is not None:
        path = Path(path)
        path = path if path.suffix else path.with_suffix(".png")
        with whole(path) as file:
            figure.savefig(file, format=path.suffix[1:], dpi=160)
    return figure


def draw_charges(axes: Axes, solution: Solution, where: Plane) -> None:
    """Atoms as circles coloured by charge, seen along the normal of the plane; a crystal slightly from the side."""
    structure = solution.structure
    charges = solution.charges.detach().cpu().numpy()
    positions, numbers = structure.positions.detach().cpu().numpy(), structure.numbers.cpu().numpy()
    periodic = bool(structure.pbc.all())
    edges = np.zeros((0, 2, 3))
    atom, drawn = np.arange(len(positions)), positions
    if periodic:
        where = Plane(where.origin, _tilt() @ where.axes, where.across, where.up)
        cell = structure.cell[0].detach().cpu().numpy()
        edges = where.project(_edges(cell).reshape(-1, 3)).reshape(-1, 2, 3)
        atom, drawn = _in_cell(positions, cell)
    seen = where.project(drawn)
    radii = (0.35 if periodic else 0.55) * covalent_radii[numbers[atom]] * angstrom
    order = seen[:, 2].argsort()
    most = max(float(np.abs(charges).max()), 1e-6)
    lines = [seen[[i, j], :2] for i, j in _bonds(drawn, numbers[atom])]
    axes.add_collection(LineCollection(list(edges[:, :, :2]), colors="0.7", linewidths=0.8, zorder=0))
    axes.add_collection(LineCollection(lines, colors="0.6", linewidths=2.0, zorder=1))
    circles = PatchCollection(
        [Circle((seen[i, 0], seen[i, 1]), radii[i]) for i in order],
        cmap=COLOURS,
        norm=Normalize(-most, most),
        edgecolor="0.15",
        linewidth=0.8,
        zorder=2,
    )
    circles.set_array(charges[atom[order]])
    axes.add_collection(circles)
    box = np.concatenate([seen[:, :2] - radii[:, None], seen[:, :2] + radii[:, None], *edges[:, :, :2]])
    low, high = _widened(box.min(0) - 0.7, box.max(0) + 0.7)
    if len(numbers) <= LABELLED:
        digits = decimals(most)
        size = np.array([LETTER * (digits + 3), LINES]) * (high - low).max()
        for i in _legible(order, seen, radii, size):
            charge = charges[atom[i]]
            dark = abs(charge) > 0.6 * most
            halo = circles.to_rgba(charge) if dark else "white"  # legible where it reaches beyond the circle
            label = axes.annotate(
                f"{structure.symbols[atom[i]]}\n{charge:+.{digits}f}",
                (seen[i, 0], seen[i, 1]),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
                zorder=3,
            )
            label.set_path_effects([withStroke(linewidth=3.0, foreground=halo)])
    _frame(axes, low, high)
    axes.set_title("charges")
    _bar(axes, circles, "charge (e)")


def draw_potential(axes: Axes, density: Density, where: Plane) -> None:
    """The potential on the plane as colours and contours, with the atoms: dots in the plane, rings off it."""
    structure = density.structure
    with torch.no_grad():
        found = density.potential(where.points.to(structure.positions), accuracy=ACCURACY)
    values = found.cpu().numpy().reshape(len(where.up), len(where.across))
    most = max(float(np.percentile(np.abs(values), 98)), 1e-9)
    image = axes.imshow(
        values, extent=where.extent, origin="lower", cmap=COLOURS, norm=Normalize(-most, most), interpolation="bicubic"
    )
    levels = np.linspace(-most, most, 12)
    axes.contour(where.across, where.up, values, levels=levels, colors="0.2", linewidths=0.4, alpha=0.6)
    seen = where.project(_with_images(structure))
    left, right, low, high = where.extent
    inside = (seen[:, 0] >= left - 0.1) & (seen[:, 0] <= right + 0.1) & (seen[:, 1] >= low - 0.1) & (seen[:, 1] <= high + 0.1)
    near = np.abs(seen[:, 2]) < 0.5
    axes.scatter(seen[inside & near, 0], seen[inside & near, 1], s=14, color="0.1", zorder=3, clip_on=False)
    if not structure.pbc.all():
        off = inside & ~near
        axes.scatter(seen[off, 0], seen[off, 1], s=20, facecolor="none", edgecolor="0.3", linewidth=0.7, zorder=3)
    _frame(axes, np.array([left, low]), np.array([right, high]))
    axes.set_title("potential in a plane through the structure")
    _bar(axes, image, "potential (hartree/e)", extend="both")


def _lattice_plane(
    cell: NDArray[np.float64], positions: NDArray[np.float64], numbers: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Two lattice vectors, axes across, up and towards the viewer, and a point in the layer of most elements and atoms.

    The plane of a and b, unless another one of short vectors has more elements in a layer.
    """
    short = sorted(product((0, 1, -1), repeat=3), key=lambda n: float(np.linalg.norm(np.array(n) @ cell)))[1:]
    pairs = [((1, 0, 0), (0, 1, 0)), *((m, n) for k, m in enumerate(short) for n in short[:k])]
    most = 0
    for one, two in pairs:
        candidate = np.array([one, two]) @ cell
        normal = np.cross(*candidate)
        area = float(np.linalg.norm(normal))
        if area < 1e-6 * np.linalg.norm(candidate[0]) * np.linalg.norm(candidate[1]):
            continue
        normal, indices = normal / area, np.cross(one, two)
        spacing = abs(np.linalg.det(cell)) / area * float(np.gcd.reduce(np.abs(indices)))
        heights = (positions @ normal) % spacing
        heights = np.where(heights > spacing - 0.05, heights - spacing, heights).round(1)
        layers = [(len(set(numbers[heights == h].tolist())), int((heights == h).sum()), float(h)) for h in np.unique(heights)]
        elements, _, height = max(layers)
        if elements > most:
            most, vectors, axis, origin = elements, candidate, normal, normal * height
    first = vectors[0] / np.linalg.norm(vectors[0])
    return vectors, np.array([first, np.cross(axis, first), axis]), origin


def _axes_of_slab(structure: Structure, positions: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """First along a periodic axis, then the normal of a slab that is thicker than a sheet; None of anything else."""
    periodic = structure.cell[0, structure.pbc[0]].detach().cpu().numpy()
    if len(periodic) != 2:
        return None
    first, normal = periodic[0] / np.linalg.norm(periodic[0]), np.cross(periodic[0], periodic[1])
    normal = normal / np.linalg.norm(normal)
    normal = normal * np.sign(normal[np.abs(normal).argmax()])
    thick = float(np.ptp(positions @ normal)) > SHEET
    return np.array([first, normal, np.cross(first, normal)]) if thick else None


def _fullest_layer(positions: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """A point in the most populated layer of atoms."""
    layers, counts = np.unique((positions @ normal).round(1), return_counts=True)
    point: NDArray[np.float64] = normal * float(layers[counts.argmax()])
    return point


def _tilt() -> NDArray[np.float64]:
    """Turns the view to the right and from above, so that rows of atoms do not hide each other."""
    b, a = np.radians(14.0), np.radians(11.0)
    turn = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    nod = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    turned: NDArray[np.float64] = nod @ turn
    return turned


def _bonds(positions: NDArray[np.float64], numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs closer than 1.2 times the sum of their covalent radii, without images."""
    from scipy.spatial import cKDTree

    radii = covalent_radii[numbers] * angstrom
    pairs = cKDTree(positions).query_pairs(2.4 * float(radii.max()))
    return [(i, j) for i, j in pairs if np.linalg.norm(positions[i] - positions[j]) < 1.2 * (radii[i] + radii[j])]


def _edges(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """The twelve edges of the cell, (12, 2, 3)."""
    edges = []
    for k in range(3):
        others = [cell[m] for m in range(3) if m != k]
        for i, j in product((0, 1), repeat=2):
            start = i * others[0] + j * others[1]
            edges.append([start, start + cell[k]])
    return np.array(edges)


def _in_cell(positions: NDArray[np.float64], cell: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Atoms moved into the cell, those on its faces repeated: the number of each and where it is."""
    fractions = positions @ np.linalg.inv(cell)
    inside = fractions - np.floor(fractions + 1e-3)
    images = np.array([inside + shift for shift in product((0, 1), repeat=3)])
    _, atom = kept = np.nonzero((images < 1 + 1e-3).all(2))
    return atom, images[kept] @ cell


def _with_images(structure: Structure) -> NDArray[np.float64]:
    """Positions, in a cell with those of the neighbouring cells."""
    positions = structure.positions.detach().cpu().numpy()
    if not structure.pbc.all():
        return positions
    cell = structure.cell[0].detach().cpu().numpy()
    return np.concatenate([positions + np.array(shift) @ cell for shift in product((-1, 0, 1), repeat=3)])


def decimals(most: float) -> int:
    """How many places after the point show values up to this one with two figures at least."""
    return max(2, 1 + math.ceil(-math.log10(most))) if most > 1e-6 else 2


def _widened(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rectangle, its shorter side made longer where it would be a strip."""
    more = np.maximum(0.0, (high - low).max() / LONGEST - (high - low)) / 2
    return low - more, high + more


def _legible(
    order: NDArray[np.int64], seen: NDArray[np.float64], radii: NDArray[np.float64], size: NDArray[np.float64]
) -> list[int]:
    """Atoms to be labelled, small ones last, those in front first: not covered, and with room for a label of this size."""
    found: list[int] = []
    for i in sorted(np.flip(order), key=lambda i: radii[i] < 0.6 * radii.max()):
        room = all((np.abs(seen[i, :2] - seen[j, :2]) > size).any() for j in found)
        if room and not _hidden(i, seen, radii):
            found.append(int(i))
    return found


def _hidden(i: int, seen: NDArray[np.float64], radii: NDArray[np.float64]) -> bool:
    """Whether another atom in front covers the centre of atom i."""
    over = (seen[:, 2] > seen[i, 2] + 1e-6) & (np.linalg.norm(seen[:, :2] - seen[i, :2], axis=1) < radii)
    return bool(over.any())


def _frame(axes: Axes, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", xlabel="bohr", ylabel="bohr")
    axes.spines[["top", "right"]].set_visible(False)


def _bar(axes: Axes, mappable: Any, label: str, extend: Any = "neither") -> None:
    axes.figure.colorbar(mappable, ax=axes, label=label, shrink=0.8, extend=extend)
