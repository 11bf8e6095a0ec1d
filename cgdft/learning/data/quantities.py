"""What can be learnt from: one table of names, shapes, units and scales for reading, losses, errors and figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """One kind of label.

    Attributes:
        shape: of one structure's; "n" stands for its atoms, "m" for its points, "k" for coefficients of an atom.
        unit: in Hartree atomic units.
        scale: an error of this size counts as one; of energies per atom, of multipoles for l = 0 (see `scale_of`).
        order: of the derivatives of the minimum that it is, beyond the minimum itself.
        by: changes of the probe that it is a derivative by.
    """

    shape: tuple[str | int, ...]
    unit: str
    scale: float
    order: int = 0
    by: tuple[str, ...] = ()


#: Where the next molecule begins, bohr: errors of multipoles count by their potentials there.
FELT = 4.0

QUANTITIES = {
    "energy": Quantity((), "hartree", 5e-4),
    "forces": Quantity(("n", 3), "hartree/bohr", 1e-3, 0, ("displacement",)),
    "stress": Quantity((3, 3), "hartree/bohr^3", 1e-5, 0, ("strain",)),
    "dipole": Quantity((3,), "e bohr", 5e-2),
    "quadrupole": Quantity((3, 3), "e bohr^2", 2e-1),
    "multipoles": Quantity(("n", "k"), "e bohr^l", 5e-3),
    "potential": Quantity(("m",), "hartree/e", 2e-3),
    "chemical_potential": Quantity((), "hartree", 1e-2),
    "polarizability": Quantity((3, 3), "bohr^3", 2.0, 1, ("field",)),
    "born_charges": Quantity(("n", 3, 3), "e", 1e-1, 1, ("displacement",)),
    "susceptibility": Quantity(("a", "a"), "e^2/hartree", 2e-1, 1, ("potential",)),
}


def scale_of(name: str, l: int = 0) -> float:  # noqa: E741
    """The scale of a quantity; of multipoles l, that of charges times FELT^l."""
    return QUANTITIES[name].scale * FELT**l
