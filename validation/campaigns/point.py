"""An entry of a suite: a structure and what is to be computed of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ase import Atoms
from ase.formula import Formula
from numpy.typing import ArrayLike

from cgdft.naming import distinct
from cgdft.validation.definitions import Definition, Hirshfeld
from cgdft.validation.dft.periodic import CUTOFF
from cgdft.validation.dft.request import Request


class Point(NamedTuple):
    """(structure, charge, spin, field, method), and what may be added; a plain tuple of the first ones does as well.

    Args:
        atoms: the structure (angstrom).
        charge: total charge, e; None for what the structure says.
        spin: number of unpaired electrons; None for what the structure says.
        field: (3,) uniform field, hartree/(e bohr), or None.
        method: "xc/basis".
        name: in tables; default the formula.
        definitions, polarizability, response, smearing, cutoff: as for `Request.from_atoms`.
    """

    atoms: Atoms
    charge: int | None = None
    spin: int | None = None
    field: ArrayLike | None = None
    method: str = "pbe/def2-svp"
    name: str = ""
    definitions: Sequence[Definition] = (Hirshfeld(),)
    polarizability: bool | None = None
    response: bool = False
    smearing: float = 0.0
    cutoff: float = CUTOFF

    def request(self) -> Request:
        """The same, checked and in atomic units; raises as `Request.from_atoms`."""
        return Request.from_atoms(
            self.atoms,
            self.method,
            charge=self.charge,
            spin=self.spin,
            field=self.field,
            definitions=self.definitions,
            polarizability=self.polarizability,
            response=self.response,
            smearing=self.smearing,
            cutoff=self.cutoff,
        )


def named(points: Iterable[object]) -> dict[str, Point]:
    """Points by name; formulas where there is none, with a number where one comes twice.

    Raises:
        TypeError: an entry that is no point.
        ValueError: a name given twice.
    """
    found: dict[str, Point] = {}
    for k, entry in enumerate(points):
        if not isinstance(entry, tuple) or not entry or not isinstance(entry[0], Atoms):
            raise TypeError(f"`suite` must hold (structure, charge, spin, field, method), got {entry!r} as entry {k}")
        point = Point(*entry)
        if point.name and point.name in found:
            raise ValueError(f"`suite` must have different names, got {point.name!r} twice")
        found[point.name or distinct(formula(point), found)] = point
    return found


def formula(point: Point) -> str:
    """Hill's, with the charge."""
    text = Formula.from_list(point.atoms.get_chemical_symbols()).format("metal")
    return f"{text} ({point.charge:+d})" if point.charge else text
