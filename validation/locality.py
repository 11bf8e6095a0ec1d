"""Is the exact coarse functional a local hardness and Coulomb's law? F(q; R) along bonds, `python -m
cgdft.validation.locality`.

If F(q; R) = f_A(q) + f_B(-q) - q^2 J_AB(R) + E_0(R) held, then

    d2F/dq2 + 2 J_AB(R) = f_A''(q) + f_B''(-q)

would depend on the charge that crosses the bond and not on its length. Whether it does depends on the definition of the
charges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from ase import Atoms
from ase.collections import s22
from numpy.typing import NDArray

from cgdft.units import eV
from cgdft.validation.definitions import CoulombFit, Hirshfeld, LinearDefinition
from cgdft.validation.definitions.coulomb_fit import gaussian_metric
from cgdft.validation.dft.mean_field import NotConverged
from cgdft.validation.exact.constrained import Constrained, ExactFunctional
from cgdft.validation.exact.fit_hardness import ANHARMONIC, PARABOLA, PIECEWISE, Curve, HardnessFit, fit_hardness

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Bond:
    """What is stretched, and which charge is held: that of the first atoms, to `charges` (e) at `distances` (angstrom)."""

    symbols: tuple[str, ...]
    distances: tuple[float, ...]
    charges: tuple[float, ...]
    first: int = 1

    def at(self, distance: float) -> Atoms:
        """The structure; of the water dimer, with the second molecule moved along the line of oxygens."""
        if len(self.symbols) == 2:
            return Atoms(self.symbols, [[0.0, 0.0, 0.0], [0.0, 0.0, distance]])
        dimer: Atoms = s22["Water_dimer"]
        line = dimer.positions[3] - dimer.positions[0]
        length = float(np.linalg.norm(line))
        dimer.positions[3:] += (distance - length) / length * line
        return dimer


BONDS = {
    "LiF": Bond(("Li", "F"), (1.2, 1.564, 2.0, 2.5, 3.0), (0.05, 0.35, 0.55, 0.65, 0.75, 0.95)),
    "NaCl": Bond(("Na", "Cl"), (2.0, 2.361, 2.8, 3.3), (0.05, 0.35, 0.55, 0.65, 0.75, 0.95)),
    "HF": Bond(("H", "F"), (0.8, 0.917, 1.1, 1.4), (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    "CO": Bond(("C", "O"), (1.0, 1.128, 1.3, 1.6), (-0.1, 0.0, 0.1, 0.2, 0.3, 0.4)),
    "(H2O)2": Bond(("O", "H", "H") * 2, (2.5, 2.91, 3.3, 4.0), (-0.15, -0.1, -0.05, -0.02, 0.0, 0.02), 3),
}


@dataclass(frozen=True, eq=False)
class Locality:
    """F and its derivatives along a bond.

    Args:
        points: by distance.
        curvature: d2F/dq2 (n_distances, n_charges), hartree/e^2; NaN where F did not converge.
        local: the same + 2 J of two atoms, J their interaction; of two molecules the same.
        curves: for `fit_hardness`.
    """

    bond: Bond
    definition: LinearDefinition
    points: tuple[tuple[Constrained, ...], ...]
    curvature: NDArray[np.float64]
    local: NDArray[np.float64]
    curves: tuple[Curve, ...]

    def spread(self) -> NDArray[np.float64]:
        """Largest less smallest `local` over the distances, of each charge (n_charges,), hartree/e^2; zero if it is local."""
        known = np.isfinite(self.local)
        highest, lowest = (np.where(known, self.local, sign * np.inf) for sign in (-1, 1))
        return np.where(known.sum(axis=0) > 1, highest.max(axis=0) - lowest.min(axis=0), np.nan)

    def fits(self) -> dict[str, HardnessFit]:
        """Quadratic, quartic and kinked local terms, fitted to all distances at once."""
        shapes = {"parabola": PARABOLA, "to the fourth power": ANHARMONIC, "parabola and kink": PIECEWISE}
        return {name: fit_hardness(self.curves, chosen) for name, chosen in shapes.items()}


def locality(
    bond: Bond,
    definition: LinearDefinition | None = None,
    method: str = "pbe/def2-tzvp",
    distances: Sequence[float] | None = None,
    charges: Sequence[float] | None = None,
) -> Locality:
    """Walk F along the charges at every distance; points that do not converge carry their reason."""
    chosen = CoulombFit() if definition is None else definition
    wanted = [[charge] for charge in charges or bond.charges]
    rows = np.zeros((1, len(bond.symbols)))
    rows[0, : bond.first] = 1.0
    points, curvature, local, curves = [], [], [], []
    for distance in distances or bond.distances:
        functional = ExactFunctional(bond.at(distance), method, chosen, rows)
        walked = functional.along(wanted)
        second = np.array([_curvature(functional, one) for one in walked])
        metric = gaussian_metric(functional.request.positions, chosen.widths(functional.symbols))
        points.append(walked)
        curvature.append(second)
        local.append(second + 2 * metric[0, 1] if len(bond.symbols) == 2 else second)
        curves.append(Curve.of_points(functional, walked))
    return Locality(bond, chosen, tuple(points), np.stack(curvature), np.stack(local), tuple(curves))


def _curvature(functional: ExactFunctional, point: Constrained) -> float:
    try:
        return float(functional.curvature(point)[0, 0]) if not point.reason else np.nan
    except NotConverged:
        return np.nan


def as_table(name: str, found: Locality, distances: Sequence[float], charges: Sequence[float]) -> Table:
    """d2F/dq2 + 2 J in eV/e^2, a row for each charge."""
    from rich.table import Table

    what = "d2F/dq2 + 2 J" if len(found.bond.symbols) == 2 else "d2F/dq2"
    table = Table(title=f"{name}, {found.definition.name}: {what} (eV/e^2)", box=None, title_justify="left")
    for head in ("q (e)", *(f"{one:g} A" for one in distances), "spread"):
        table.add_column(head, justify="right")
    for charge, row, spread in zip(charges, found.local.T / eV, found.spread() / eV, strict=True):
        table.add_row(f"{charge:.2f}", *("-" if np.isnan(one) else f"{one:.1f}" for one in (*row, spread)))
    return table


def run(
    bonds: Annotated[
        list[str] | None, typer.Argument(metavar="[BOND]...", help=f"Of {', '.join(BONDS)}; default: all.")
    ] = None,
    method: Annotated[str, typer.Option(help="Functional and basis set.")] = "pbe/def2-tzvp",
) -> None:
    """Print d2F/dq2 + 2 J along bonds, with Coulomb-fitted and Hirshfeld charges, and what local terms fit it."""
    from rich.console import Console

    console = Console()
    for name in bonds or BONDS:
        if name not in BONDS:
            raise typer.BadParameter(f"`BOND` must be one of {', '.join(BONDS)}, got {name!r}")
        bond = BONDS[name]
        for definition in (CoulombFit(), Hirshfeld(0)):
            found = locality(bond, definition, method)
            console.print(as_table(name, found, bond.distances, bond.charges))
            for words, fit in found.fits().items():
                console.print(f"  {words}: rms {fit.rms / eV:.3f} eV; of a distance left out {fit.left_out / eV:.3f} eV")
            for walked, distance in zip(found.points, bond.distances, strict=True):
                for one in walked:
                    if one.reason:
                        console.print(f"  {distance:g} A: {one.reason[:150]}", highlight=False)


if __name__ == "__main__":
    typer.run(run)
