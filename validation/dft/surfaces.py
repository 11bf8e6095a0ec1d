"""Where electrostatic potentials are compared: nested van der Waals surfaces, and a plane for pictures."""

from __future__ import annotations

import numpy as np
from ase.data import vdw_alvarez, vdw_radii
from numpy.typing import NDArray

from cgdft.units import angstrom

INNER = (1.4, 1.6, 1.8, 2.0)  # times the van der Waals radius
OUTER = (2.25, 2.5, 2.75, 3.0)
POINTS_PER_REGION = 1000  # before those inside another atom's sphere are removed


def van_der_waals_radius(number: int) -> float:
    """Radius in bohr.

    Source: ase.data, which has Bondi, J. Phys. Chem. 68, 441 (1964), and Mantina et al., J. Phys. Chem. A 113, 5806
    (2009); where it has none, Alvarez, Dalton Trans. 42, 8617 (2013); 2 angstrom for the few elements in neither.
    """
    for table in (vdw_radii, vdw_alvarez.vdw_radii):
        if number < len(table) and np.isfinite(table[number]):
            return float(table[number]) * angstrom
    return 2.0 * angstrom


def fibonacci_sphere(n: int) -> NDArray[np.float64]:
    """Near-uniform unit vectors (n, 3), always the same ones: equal steps in z, golden-angle steps around it.

    Source: Swinbank and Purser, Q. J. R. Meteorol. Soc. 132, 1769 (2006).
    """
    step = np.arange(n)
    z = 1.0 - (2.0 * step + 1.0) / n
    angle = step * np.pi * (3.0 - np.sqrt(5.0))
    return np.stack([np.sqrt(1.0 - z**2) * np.cos(angle), np.sqrt(1.0 - z**2) * np.sin(angle), z], axis=1)


def van_der_waals_shells(
    numbers: NDArray[np.int64], positions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points (m, 3) in bohr around a molecule, and the region (m,) of each: 0 inner (1.4-2 radii), 1 outer (2.25-3).

    Each region has four surfaces: the unions of the atoms' spheres, scaled by the numbers in `INNER` and `OUTER`, each
    with the same number of points and one density of points for all atoms. Deterministic.
    """
    radii = np.array([van_der_waals_radius(int(number)) for number in numbers])
    points, shell = [], []
    for region, scales in enumerate((INNER, OUTER)):
        for scale in scales:
            share = np.ceil(POINTS_PER_REGION / len(scales) * radii**2 / (radii**2).sum()).astype(int)
            for atom, n in enumerate(share):
                sphere = positions[atom] + scale * radii[atom] * fibonacci_sphere(n)
                distance = np.linalg.norm(sphere[:, None] - positions, axis=2)
                outside = (distance >= scale * radii * (1.0 - 1e-9)).all(axis=1)
                points.append(sphere[outside])
                shell.append(np.full(int(outside.sum()), region, dtype=np.int64))
    return np.concatenate(points), np.concatenate(shell)


def picture_plane(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Grid (61, 61, 3) in bohr: [row, column], rows along the second and columns along the first principal axis.

    The plane goes through the centre of the nuclei, along the two directions in which they extend most, and ends
    5 bohr beyond the outermost nuclei. Where nuclei leave a direction open (linear molecules, atoms), the
    Cartesian axis most nearly perpendicular to what is there is used.
    """
    centred = positions - positions.mean(axis=0)
    _, extent, directions = np.linalg.svd(centred, full_matrices=False)
    axes: list[NDArray[np.float64]] = []
    for value, axis in zip(extent, directions, strict=True):
        if len(axes) < 2 and value > 1e-3:
            axes.append(axis * np.sign(axis[np.argmax(np.abs(axis) > 0.5 * np.abs(axis).max())]))
    while len(axes) < 2:
        taken = np.array(axes).reshape(-1, 3)
        cartesian = np.eye(3)[np.argmin(np.linalg.norm(taken, axis=0))]
        open_axis = cartesian - taken.T @ (taken @ cartesian)
        axes.append(open_axis / np.linalg.norm(open_axis))
    across, up = (np.linspace((centred @ axis).min() - 5.0, (centred @ axis).max() + 5.0, 61)[:, None] * axis for axis in axes)
    return np.asarray(positions.mean(axis=0) + up[:, None] + across[None, :])
