"""Local terms read off the exact functional: chi, eta and beyond for each element, with error bars.

    F(q; R) = E_0(R) + sum_i f_Z(i)(q_i) + 1/2 sum_ij q_i J_ij(R) q_j,   f_Z(q) = chi q + eta q^2/2 + ...,

is linear in the parameters; E_0 of each geometry is a parameter too. What is not local in the exact functional is left over:
the errors are those of leaving one curve out at a time (jackknife), not of noise, of which there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cgdft.validation.definitions import Definition
from cgdft.validation.definitions.coulomb_fit import gaussian_metric

if TYPE_CHECKING:
    from cgdft.validation.exact.constrained import Constrained, ExactFunctional
    from cgdft.validation.exact.fractional import AtomCurve

RESOLVED = 1e-6  # of a parameter's direction outside of what the data determine
FLAT = 1e-9  # singular values, relative, of what they do not


@dataclass(frozen=True)
class Shape:
    """One local function of a charge: `name` of its parameter, and its value at parameter one."""

    name: str
    energy: Callable[[NDArray[np.float64]], NDArray[np.float64]]


LINEAR = Shape("chi", lambda q: q)
QUADRATIC = Shape("eta", lambda q: q**2 / 2)
CUBIC = Shape("gamma", lambda q: q**3 / 6)
QUARTIC = Shape("kappa", lambda q: q**4 / 24)
KINK = Shape("kink", np.abs)  #: with a jump of 2 kink in the slope at the neutral atom: piecewise linear beside the others

#: Charge equilibration's local terms, and one step beyond.
PARABOLA = (LINEAR, QUADRATIC)
ANHARMONIC = (LINEAR, QUADRATIC, CUBIC, QUARTIC)
PIECEWISE = (LINEAR, QUADRATIC, KINK)


@dataclass(frozen=True, eq=False)
class Curve:
    """F along charges at one geometry.

    Args:
        symbols, positions: of the atoms, (n, 3) in bohr.
        widths: of the Gaussians, (n,) in bohr.
        charges: (m, n) in e.
        energies: (m,) in hartree.
    """

    symbols: tuple[str, ...]
    positions: NDArray[np.float64]
    widths: NDArray[np.float64]
    charges: NDArray[np.float64]
    energies: NDArray[np.float64]

    @classmethod
    def of_points(cls, functional: ExactFunctional, points: Sequence[Constrained]) -> Curve:
        """From values of an exact functional; those that did not converge are left out."""
        good = [one for one in points if not one.reason]
        symbols, positions = functional.symbols, functional.request.positions
        widths = functional.definition.widths(symbols)
        energies = np.array([one.energy for one in good])
        return cls(symbols, positions, widths, np.array([one.charges for one in good]).reshape(-1, len(symbols)), energies)

    @classmethod
    def of_atom(cls, atom: AtomCurve, definition: Definition) -> Curve:
        """From E(N) of one atom, whose charge is minus the electrons beyond neutrality."""
        widths = definition.widths([atom.symbol])
        return cls((atom.symbol,), np.zeros((1, 3)), widths, -atom.electrons[:, None], atom.energies)


@dataclass(frozen=True, eq=False)
class HardnessFit:
    """Parameters of local terms.

    Args:
        names: (element, parameter) of each row.
        values, covariance: (k,), (k, k), hartree/e^n; the covariance is the jackknife's, infinite where there is one curve.
        resolution: (k, k) projector on what the data determine.
        steady: (k, k) projector on what they determine whichever curve is left out: only of that an error is known.
        rms: of what is left over, hartree, over all points.
        left_out: rms of each curve predicted from the others, hartree, of those that these determine; NaN of none.
    """

    names: tuple[tuple[str, str], ...]
    values: NDArray[np.float64]
    covariance: NDArray[np.float64]
    resolution: NDArray[np.float64]
    steady: NDArray[np.float64]
    rms: float
    left_out: float

    def combination(self, weights: Mapping[tuple[str, str], float]) -> tuple[float, float]:
        """(value, error) of a sum such as {("Li", "eta"): 1, ("F", "eta"): 1}, hartree/e^n.

        The error is infinite where one curve alone determines the sum, which no other can be held against.

        Raises:
            ValueError: a parameter that is not there, or a sum that the data do not determine.
        """
        unknown = [name for name in weights if name not in self.names]
        if unknown:
            raise ValueError(f"`weights` must name parameters of the fit, got {unknown}; there are {list(self.names)}")
        vector = np.array([weights.get(name, 0.0) for name in self.names])
        if _outside(vector, self.resolution):
            raise ValueError(
                f"`weights` must be a sum that the curves determine, got {dict(weights)}: one molecule gives only sums over "
                "its atoms; add curves of other molecules, or of atoms with fractional charge"
            )
        known = bool(np.isfinite(self.covariance).all()) and not _outside(vector, self.steady)
        return float(vector @ self.values), float(np.sqrt(vector @ self.covariance @ vector)) if known else np.inf

    def determined(self) -> dict[tuple[str, str], tuple[float, float]]:
        """(value, error) of every parameter that the data determine alone."""
        found = {}
        for name in self.names:
            try:
                found[name] = self.combination({name: 1.0})
            except ValueError:
                continue
        return found


def fit_hardness(curves: Sequence[Curve], shapes: Sequence[Shape] = PARABOLA) -> HardnessFit:
    """Least squares for the local terms of all elements in `curves`.

    Raises:
        ValueError: no curves, or fewer points than parameters.
    """
    elements = sorted({symbol for curve in curves for symbol in curve.symbols})
    names = tuple((element, shape.name) for element in elements for shape in shapes)
    blocks = [_block(curve, elements, shapes) for curve in curves]
    rows = sum(len(right) for _, right in blocks)
    if not rows or rows - len(curves) < np.linalg.matrix_rank(np.vstack([one for one, _ in blocks])):
        raise ValueError(
            f"`curves` must have more points than parameters, got {rows} for {len(names)} and {len(curves)} constants"
        )
    values, resolution = _solved(blocks)
    rms = _rms([right - left @ values for left, right in blocks])
    k, m = len(names), len(blocks)
    covariance, steady, left_out = np.full((k, k), np.inf), np.zeros((k, k)), float("nan")
    if m > 1:
        without, known = zip(*(_solved([*blocks[:j], *blocks[j + 1 :]]) for j in range(m)), strict=True)
        lost, directions = np.linalg.eigh(sum(np.eye(k) - one for one in known))
        steady = directions[:, lost < RESOLVED] @ directions[:, lost < RESOLVED].T
        spread = (np.array(without) - np.mean(without, axis=0)) @ steady
        covariance = (m - 1) / m * spread.T @ spread
        predicted = [
            right - left @ other
            for (left, right), other, one in zip(blocks, without, known, strict=True)
            if not _outside(left.T, one)
        ]
        left_out = _rms(predicted) if predicted else left_out
    return HardnessFit(names, values, covariance, resolution, steady, rms, left_out)


def _block(curve: Curve, elements: Sequence[str], shapes: Sequence[Shape]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns (m, k) and energies (m,) of a curve, both less their mean: that is E_0."""
    columns = []
    for element in elements:
        here = curve.charges[:, [symbol == element for symbol in curve.symbols]]
        columns += [shape.energy(here).sum(axis=1) for shape in shapes]
    left = np.stack(columns, axis=1)
    repulsion = gaussian_metric(curve.positions, curve.widths)
    right = curve.energies - 0.5 * np.einsum("mi,ij,mj->m", curve.charges, repulsion, curve.charges)
    return left - left.mean(axis=0), right - right.mean()


def _solved(
    blocks: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The shortest least-squares solution, and the projector on what is determined."""
    left, right = np.vstack([one for one, _ in blocks]), np.concatenate([one for _, one in blocks])
    _, sizes, directions = np.linalg.svd(left, full_matrices=False)
    kept = directions[sizes > FLAT * sizes.max(initial=0.0)]
    return np.linalg.pinv(left, rcond=FLAT) @ right, kept.T @ kept


def _outside(vectors: NDArray[np.float64], projector: NDArray[np.float64]) -> bool:
    return bool(np.linalg.norm(vectors - projector @ vectors) > RESOLVED * np.linalg.norm(vectors))


def _rms(parts: Sequence[NDArray[np.float64]]) -> float:
    return float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))
