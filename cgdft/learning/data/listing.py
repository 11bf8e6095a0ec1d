"""The labels, and their names and units in files: `python -m cgdft.learning.data.listing > docs/labels.md`."""

from __future__ import annotations

from cgdft.learning.data.labels import DEFAULT_KEYS, DEFAULT_UNITS
from cgdft.learning.data.quantities import QUANTITIES

MEANT = {
    "energy": "$E$, with or without the energies of free atoms (`atoms`)",
    "forces": "$-dE/dR$",
    "stress": "$(1/V) dE/d\\epsilon$, positive where the cell wants to shrink; also six numbers in Voigt's order",
    "dipole": "about the origin of coordinates, towards positive charge",
    "quadrupole": "$\\int \\rho (3 r r - r^2) / 2$, traceless, about the origin",
    "multipoles": "charges, dipoles (x, y, z) and quadrupoles of atoms, in e3nn's order, positive where electrons are missing",
    "potential": "of the molecule at `points`",
    "chemical_potential": "$dE/dN$, the Fermi level",
    "polarizability": "$dD/dF$, positive",
    "born_charges": "$dD_a/dR_{ic}$, [atom, a, c]",
    "susceptibility": "$dp_a/dv_b$ of the multipoles, negative",
}
TEXT = """# Labels

What a set of frames may tell, by which names in `info`, `arrays` or the calculator of ASE's files it is found where `keys` tell
none, and in which units it is read where `units` tell none. In Python labels are tensors in Hartree atomic units. Files that
`cgdft reference` wrote know their own names and units.

| label | meaning | shape | names in files | unit of files | in Python |
| --- | --- | --- | --- | --- | --- |
{rows}

n is the number of atoms, m of points, k of multipoles of an atom. Multipoles of files are the arrays *definition*`_charges`,
*definition*`_dipoles` and *definition*`_quadrupoles`, such as `MBIS_charges`; `definition` says which, by default the first
that there is, else `multipoles` or `charges`. A model remembers it: files of another definition are not compared with.

The total charge of a frame is {charge} in `info`, else the sum of its initial charges; its number of unpaired
electrons is {spin}, else the size of the sum of its initial magnetic moments. Places that disagree are refused, and so
is a set with charged frames in which some state no charge. Positions and cells are in angstrom, always.
"""


def markdown() -> str:
    """The page of all labels."""

    def names(what: str) -> str:
        if what == "multipoles":
            return "see below"
        return ", ".join(f"`{one}`" for one in DEFAULT_KEYS.get(what, ())) or "only by `keys`"

    rows = []
    for name, one in QUANTITIES.items():
        cells = f"`{name}`", MEANT[name], f"({', '.join(map(str, one.shape))})", names(name), DEFAULT_UNITS[name], one.unit
        rows.append(f"| {' | '.join(cells)} |")
    return TEXT.format(rows="\n".join(rows), charge=" or ".join(names("charge").split(", ")), spin=names("spin"))


if __name__ == "__main__":
    print(markdown(), end="")
