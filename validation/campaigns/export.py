"""References as extended xyz: for other programs, in their units (eV, angstrom, e)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from cgdft.units import angstrom, eV
from cgdft.validation.dft.reference import Reference

#: In names of columns.
UNREADABLE = re.compile(r"[^\w()=,.+-]+")


def to_atoms(name: str, reference: Reference) -> Atoms:
    """ASE's Atoms with energy (eV), forces (eV/angstrom), dipole (e angstrom), and in `info` and `arrays` all else.

    Multipoles by each definition are arrays named definition_charges, _dipoles and _quadrupoles (its name without what extended
    xyz cannot read) in e angstrom^l, solid harmonics in e3nn's order; polarizability in angstrom^3, fields in V/angstrom; the
    reference's `doubts`.
    """
    atoms = reference.atoms()
    atoms.info.update(name=name, method=reference.method)
    if reference.doubts:
        atoms.info["doubts"] = "; ".join(reference.doubts)
    if reference.field.any():
        atoms.info["field"] = reference.field / (eV / angstrom)
    if reference.polarizability is not None:
        atoms.info["polarizability"] = reference.polarizability / angstrom**3
    for named, moments in reference.moments.items():
        definition = UNREADABLE.sub("", named)
        for l, what in enumerate(("charges", "dipoles", "quadrupoles")):  # noqa: E741
            shell = moments[:, l**2 : (l + 1) ** 2] / angstrom**l
            if shell.shape[1]:
                atoms.arrays[f"{definition}_{what}"] = shell[:, 0] if l == 0 else shell
    results = {"energy": reference.energy / eV, "forces": reference.forces / (eV / angstrom)}
    if reference.dipole is not None:
        results["dipole"] = reference.dipole / angstrom
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def write_extxyz(references: Mapping[str, Reference], path: str | os.PathLike[str]) -> Path:
    """Write all references to one file; raises ValueError for a name that ASE would not read as extended xyz."""
    from ase.io import write

    path = Path(path)
    if path.suffix not in (".xyz", ".extxyz"):
        raise ValueError(f"`path` must end in .xyz or .extxyz, got {path}")
    write(path, [to_atoms(name, one) for name, one in references.items()], format="extxyz")
    return path
