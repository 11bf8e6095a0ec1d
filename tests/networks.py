"""A small network, and molecules for it."""

import torch
from ase.build import molecule

from cgdft import Structure
from cgdft.learning import MessagePassing

ATOMS = {"H": -0.5, "C": -37.8, "O": -75.0}


def environment(**changes):
    """Of those elements, small and in double precision."""
    torch.manual_seed(1)
    return MessagePassing(list(ATOMS), **{"channels": 4, "dtype": torch.float64, **changes})


def structure(name, seed=1, charge=0, cell=None):
    """A molecule of the G2 set, shaken."""
    atoms = molecule(name)
    atoms.rattle(0.1, seed=seed)
    if cell is not None:
        atoms.set_cell(cell)
        atoms.pbc = True
    return Structure.from_ase(atoms, charge=charge)
