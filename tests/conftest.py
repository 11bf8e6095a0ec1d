"""Structures and files that many tests share."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from springs import water, written

from cgdft import Structure


def triclinic() -> Atoms:
    """Six atoms in a skewed cell, no two alike in surroundings."""
    rng = np.random.default_rng(3)
    cell = [[4.1, 0.0, 0.0], [1.3, 3.9, 0.0], [-0.8, 1.1, 4.4]]
    grid = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0, 0], [0.5, 0.5, 0.5]])
    return Atoms("ONaClHOH", scaled_positions=grid + 0.03 * rng.normal(size=(6, 3)), cell=cell, pbc=True)


def salt() -> Atoms:
    """Eight atoms of rock salt, displaced."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.15, seed=1)
    return atoms


torch.set_num_threads(1)  # the tests run in processes of their own; more threads than cores are slower than one


def slab() -> Atoms:
    """Periodic along the first and third axis, no second cell vector given."""
    cell = [[5.0, 0.3, 0.0], [0.0, 0.0, 0.0], [0.4, 0.0, 5.5]]
    return Atoms("NaClOH", [[0, 0, 0], [2.6, 0.2, 2.5], [0.8, 2.4, 0.4], [1.2, 3.2, 0.9]], cell=cell, pbc=[True, False, True])


def wire() -> Atoms:
    """Periodic along the second axis."""
    cell = [[0.0, 0, 0], [0.5, 4.0, 0.2], [0.0, 0, 0]]
    return Atoms("OHNa", [[0, 0, 0], [0.8, 0.5, 0.1], [0.3, 2.2, 1.1]], cell=cell, pbc=[False, True, False])


STRUCTURES = {
    "water": lambda: Structure.from_ase(molecule("H2O")),
    "cation": lambda: Structure.from_ase(molecule("CH3OH"), charge=1.0),
    "salt": lambda: Structure.from_ase(salt()),
    "triclinic": lambda: Structure.from_ase(triclinic()),
    "charged cell": lambda: Structure.from_ase(triclinic(), charge=-0.7),
    "slab": lambda: Structure.from_ase(slab(), charge=0.4),
    "wire": lambda: Structure.from_ase(wire()),
    "batch": lambda: Structure.batch(
        [
            Structure.from_ase(molecule("H2O")),
            Structure.from_ase(triclinic(), charge=0.3),
            Structure.from_ase(molecule("NH3")),
        ]
    ),
}


@pytest.fixture(scope="module")
def one_thread():
    """PySCF with one thread: small molecules gain nothing from a second one, and lose much where cores are shared."""
    from pyscf import lib

    with lib.with_omp_threads(1):
        yield


@pytest.fixture(params=list(STRUCTURES))
def structure(request: pytest.FixtureRequest) -> Structure:
    return STRUCTURES[request.param]()


@pytest.fixture
def water_file(tmp_path):
    path = tmp_path / "water.xyz"
    write(path, molecule("H2O"))
    return str(path)


@pytest.fixture
def trajectory_file(tmp_path):
    path = tmp_path / "run.extxyz"
    write(path, [molecule("H2O"), molecule("NH3"), molecule("CH4")])
    return str(path)


@pytest.fixture
def structures():
    return {name: make() for name, make in STRUCTURES.items()}


@pytest.fixture
def trajectory(tmp_path):
    """A file of a dozen waters on springs."""
    return written(tmp_path / "water.extxyz", [water(seed) for seed in range(12)])
