"""Solid harmonics, and the moments of a molecule from the multipoles of its atoms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def solid_harmonics(vectors: NDArray[np.float64], lmax: int = 2) -> NDArray[np.float64]:
    """C_lm(r) = sqrt(4 pi/(2l+1)) r^l Y_lm(r), real, (..., (lmax+1)^2) in bohr^l for `vectors` (..., 3) in bohr.

    Order and signs are e3nn's: 1; x, y, z; sqrt3 xz, sqrt3 xy, y^2 - (x^2+z^2)/2, sqrt3 yz, sqrt3/2 (z^2-x^2).
    """
    if lmax not in (0, 1, 2):
        raise ValueError(f"`lmax` must be 0, 1 or 2, got {lmax}")
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    root = np.sqrt(3.0)
    columns = [np.ones_like(x), x, y, z]
    columns += [root * x * z, root * x * y, y**2 - (x**2 + z**2) / 2, root * y * z, root / 2 * (z**2 - x**2)]
    return np.stack(columns[: (lmax + 1) ** 2], axis=-1)


def molecular_moments(
    positions: NDArray[np.float64], multipoles: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Molecular charge (e), dipole (3,) (e bohr) and quadrupole (3, 3) (e bohr^2) of atomic multipoles.

    Q = sum q, D = sum q R + d, Theta = sum theta + 3/2 (d R + R d) - d.R 1 + q (3 R R - R^2 1)/2, in Buckingham's
    traceless convention and about the origin.

    Args:
        positions: (n, 3) in bohr.
        multipoles: (n, (lmax+1)^2) in the order of `solid_harmonics`.
    """
    full = np.zeros((len(positions), 9))
    full[:, : multipoles.shape[1]] = multipoles
    charge, vector = full[:, 0], full[:, 1:4]
    xz, xy, yy, yz, zx = full[:, 4:].sum(axis=0)
    root = np.sqrt(3.0)
    own = np.array(
        [
            [-(yy + root * zx) / 2, root / 2 * xy, root / 2 * xz],
            [root / 2 * xy, yy, root / 2 * yz],
            [root / 2 * xz, root / 2 * yz, (-yy + root * zx) / 2],
        ]
    )
    mixed = vector.T @ positions
    second = mixed + mixed.T + np.einsum("a,ai,aj->ij", charge, positions, positions)
    total = own + 1.5 * second - 0.5 * np.trace(second) * np.eye(3)
    return float(charge.sum()), charge @ positions + vector.sum(axis=0), total
