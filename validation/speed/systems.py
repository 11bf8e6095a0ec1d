"""Structures of any size, the same in every run: disordered rock salt, water boxes, metal slabs with water and vacuum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LATTICE = 5.64  # of NaCl, angstrom
DISORDER = 0.1  # standard deviation of each coordinate in the salt, angstrom
METAL = 79
METAL_LATTICE = 4.08  # of fcc gold, angstrom
SPACING = 3.1  # between water molecules on their grid, angstrom: 0.0336 molecules / angstrom^3, as in the liquid
WATER_DISORDER = 0.1  # of a molecule's place, angstrom
GAP = 2.6  # between metal and the cells of the first water molecules, angstrom
VACUUM = 12.0  # angstrom
OH, HOH = 0.9572, np.radians(104.52)  # of water in the gas, angstrom


@dataclass(frozen=True, eq=False)
class System:
    """Atoms in a rectangular box, in angstrom.

    Attributes:
        name: family of the structure.
        numbers: atomic numbers, (n_atoms,).
        positions: (n_atoms, 3), angstrom.
        box: edges, (3,), angstrom.
        pbc: periodic axes.
    """

    name: str
    numbers: NDArray[np.int64]
    positions: Array
    box: Array
    pbc: tuple[bool, bool, bool] = (True, True, True)

    def __len__(self) -> int:
        return len(self.numbers)


def salt(n: int) -> System:
    """Rock salt of n x n x n cubic cells (8 n^3 atoms, a = 5.64 angstrom), displaced by Gaussians of 0.1 angstrom.

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"`n` must be at least 1 cell, got {n}")
    halves = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]) / 2
    ideal = LATTICE * (_grid(n, n, n)[:, None] + halves).reshape(-1, 3)
    positions = ideal + np.random.default_rng(1).normal(0.0, DISORDER, ideal.shape)
    return System("salt", np.tile([11] * 4 + [17] * 4, n**3), positions, np.full(3, n * LATTICE))


def salt_cells(atoms: int) -> int:
    """n of the salt with so many atoms.

    Raises:
        ValueError: a number of atoms that is not 8 n^3.
    """
    n = round((max(atoms, 0) / 8) ** (1 / 3))
    if n < 1 or 8 * n**3 != atoms:
        raise ValueError(f"`atoms` must be 8 n^3 (64, 512, 4096, 32768, 110592, 1000000, ...), got {atoms}")
    return n


def water(n: int) -> System:
    """n^3 water molecules at the density of the liquid, turned at random on a disordered grid; 3 n^3 atoms."""
    rng = np.random.default_rng(2)
    numbers, positions = _molecules(SPACING * (_grid(n, n, n) + 0.5), rng)
    return System("water", numbers, positions, np.full(3, n * SPACING))


def slab(lateral: int, thick: int, layers: int) -> System:
    """An fcc(100) metal slab, water on it, vacuum above; periodic along x and y.

    Args:
        lateral: cubic cells of metal along x and y.
        thick: cubic cells of metal along z: 4 lateral^2 thick metal atoms.
        layers: layers of floor(4.08 lateral / 3.1)^2 water molecules.
    """
    rng = np.random.default_rng(3)
    faces = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    metal = METAL_LATTICE * (_grid(lateral, lateral, thick)[:, None] + faces).reshape(-1, 3)
    metal = metal + rng.normal(0.0, 0.05, metal.shape)
    width = lateral * METAL_LATTICE
    across = int(width / SPACING)
    step = np.array([width / across, width / across, SPACING])
    bottom = np.array([0.0, 0.0, (thick - 0.5) * METAL_LATTICE + GAP])
    numbers, positions = _molecules(bottom + step * (_grid(across, across, layers) + 0.5), rng)
    height = bottom[2] + layers * SPACING + VACUUM
    positions = np.concatenate([metal, positions])
    numbers = np.concatenate([np.full(len(metal), METAL), numbers])
    return System("slab", numbers, positions, np.array([width, width, height]), (True, True, False))


def wide_slab(n: int) -> System:
    """A slab that grows sideways: n cells of metal along x and y, 2 along z, 4 layers of water."""
    return slab(n, 2, 4)


def thick_slab(n: int) -> System:
    """A slab that grows thicker: 3 cells of metal along x and y, n along z, 2 n layers of water."""
    return slab(3, n, 2 * n)


def nearest(make: Callable[[int], System], atoms: int) -> System:
    """The system of a family whose size is nearest to `atoms` (in its logarithm)."""
    n = 1
    before = make(n)
    while len(before) < atoms:
        n += max(1, n // 8)
        after = make(n)
        if len(after) >= atoms:
            return before if atoms**2 < len(before) * len(after) else after
        before = after
    return before


def _grid(*shape: int) -> Array:
    return np.stack(np.meshgrid(*[np.arange(n, dtype=np.float64) for n in shape], indexing="ij"), -1).reshape(-1, 3)


def _molecules(centres: Array, rng: np.random.Generator) -> tuple[NDArray[np.int64], Array]:
    """Water with its oxygen near each centre, (n, 3) -> numbers (3 n,), positions (3 n, 3)."""
    flat = OH * np.array([[0, 0, 0], [np.sin(HOH / 2), 0, np.cos(HOH / 2)], [-np.sin(HOH / 2), 0, np.cos(HOH / 2)]])
    q = rng.normal(size=(len(centres), 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1)[:, None]).T
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    oxygen = centres + rng.normal(0.0, WATER_DISORDER, centres.shape)
    positions = oxygen[:, None] + np.einsum("abn,cb->nca", turn, flat)
    return np.tile([8, 1, 1], len(centres)), positions.reshape(-1, 3)
