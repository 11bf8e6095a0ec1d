"""What can be learnt from: one table of names, shapes, units and scales for reading, losses, errors, figures and pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One kind of label.

    Attributes:
        meaning: in a line, with formulas for a page.
        shape: of one structure's; "n" stands for its atoms, "m" for its points, "k" for coefficients of an atom, "a" for those
            of the structure.
        unit: in Hartree atomic units.
        in_files: the unit of files that tell none, ASE's.
        shown: the unit of errors, see `SHOWN`; of energies per atom.
        names: in files, sought where none is told; without any it is read only where one is told.
        scale: an error of this size counts as one; of energies per atom, of multipoles for l = 0 (see `scale_of`).
        weight: of its squared errors where none is told; zero does not count.
        order: of the derivatives of the minimum that it is, beyond the minimum itself.
        by: changes of the probe that it is a derivative by.
        periodic: whether it means something in structures with periodic axes alone, or in those without; None: in all.
    """

    meaning: str
    shape: tuple[str | int, ...]
    unit: str
    in_files: str
    shown: str
    names: tuple[str, ...] = ()
    scale: float
    weight: float = 0.0
    order: int = 0
    by: tuple[str, ...] = ()
    periodic: bool | None = None

    @property
    def at_minimum(self) -> bool:
        """Whether it says nothing at another density than that of the minimum: responses, and dE/dN."""
        return self.order > 0 or "charge" in self.by


#: Where the next molecule begins, bohr: errors of multipoles count by their potentials there.
FELT = 4.0

QUANTITIES = {
    "energy": Quantity(
        meaning="$E$, with or without the energies of free atoms (`atoms`)",
        shape=(),
        unit="hartree",
        in_files="eV",
        shown="meV",
        names=("energy", "Energy", "REF_energy", "ref_energy", "DFT_energy", "dft_energy"),
        scale=5e-4,
        weight=1.0,
    ),
    "forces": Quantity(
        meaning="$-dE/dR$",
        shape=("n", 3),
        unit="hartree/bohr",
        in_files="eV/angstrom",
        shown="meV/angstrom",
        names=("forces", "Forces", "REF_forces", "ref_forces", "DFT_forces", "dft_forces", "force"),
        scale=1e-3,
        weight=1.0,
        by=("displacement",),
    ),
    "stress": Quantity(
        meaning="$(1/V) dE/d\\epsilon$, positive where the cell wants to shrink; also six numbers in Voigt's order",
        shape=(3, 3),
        unit="hartree/bohr^3",
        in_files="eV/angstrom^3",
        shown="meV/angstrom^3",
        names=("stress", "REF_stress", "ref_stress", "DFT_stress", "dft_stress"),
        scale=1e-5,
        weight=1.0,
        by=("strain",),
        periodic=True,
    ),
    "dipole": Quantity(
        meaning="about the origin of coordinates, towards positive charge",
        shape=(3,),
        unit="e bohr",
        in_files="e angstrom",
        shown="me angstrom",
        names=("dipole", "REF_dipole", "ref_dipole", "DFT_dipole", "dft_dipole"),
        scale=5e-2,
        weight=1.0,
        periodic=False,
    ),
    "quadrupole": Quantity(
        meaning="$\\int \\rho (3 r r - r^2) / 2$, traceless, about the origin",
        shape=(3, 3),
        unit="e bohr^2",
        in_files="e angstrom^2",
        shown="me angstrom^2",
        scale=2e-1,
        periodic=False,
    ),
    "multipoles": Quantity(
        meaning="charges, dipoles (x, y, z) and quadrupoles of atoms, in e3nn's order, positive where electrons are missing",
        shape=("n", "k"),
        unit="e bohr^l",
        in_files="e angstrom^l",
        shown="me angstrom^l",
        scale=5e-3,
        weight=1.0,
    ),
    "potential": Quantity(
        meaning="of the molecule at `points`",
        shape=("m",),
        unit="hartree/e",
        in_files="V",
        shown="mV",
        scale=2e-3,
        periodic=False,
    ),
    "chemical_potential": Quantity(
        meaning="$dE/dN$, the Fermi level",
        shape=(),
        unit="hartree",
        in_files="eV",
        shown="meV",
        names=("chemical_potential", "fermi_level", "fermi_energy"),
        scale=1e-2,
        by=("charge",),
    ),
    "polarizability": Quantity(
        meaning="$dD/dF$, positive",
        shape=(3, 3),
        unit="bohr^3",
        in_files="angstrom^3",
        shown="angstrom^3",
        names=("polarizability", "REF_polarizability"),
        scale=2.0,
        weight=0.1,  # less for responses, since they are derivatives of the rest
        order=1,
        by=("field",),
    ),
    "born_charges": Quantity(
        meaning="$dD_a/dR_{ic}$, [atom, a, c]",
        shape=("n", 3, 3),
        unit="e",
        in_files="e",
        shown="me",
        names=("born_charges", "born_effective_charges"),
        scale=1e-1,
        weight=0.1,
        order=1,
        by=("displacement",),
    ),
    "susceptibility": Quantity(
        meaning="$dp_a/dv_b$ of the multipoles, negative",
        shape=("a", "a"),
        unit="e^2/hartree",
        in_files="e^2/hartree",
        shown="e^2/eV",
        scale=2e-1,
        order=1,
        by=("potential",),
    ),
}
#: Units of what is read: labels, and the points of potentials.
UNITS = {name: (one.unit, one.in_files) for name, one in QUANTITIES.items()} | {"points": ("bohr", "angstrom")}


def parts_of(name: str) -> tuple[str, ...]:
    """What errors of a quantity are told by: of multipoles those of each l, which frames may have or not."""
    return ("charges", "dipoles", "quadrupoles") if name == "multipoles" else (name,)


def scale_of(name: str, l: int = 0) -> float:  # noqa: E741
    """The scale of a quantity; of multipoles l, that of charges times FELT^l."""
    return QUANTITIES[name].scale * FELT**l
