"""The labels, and their names and units in files: `python -m cgdft.learning.data.listing > docs/labels.md`."""

from __future__ import annotations

from cgdft.learning.data.labels import STATED
from cgdft.learning.data.quantities import QUANTITIES

TEXT = """# Labels

What a set of frames may tell, by which names in `info`, `arrays` or the calculator of ASE's files it is found where `keys` tell
none, and in which units it is read where `units` tell none. In Python labels are tensors in Hartree atomic units. Files that
`cgdft reference` wrote know their own names and units.

| label | meaning | shape | names in files | unit of files | in Python |
| --- | --- | --- | --- | --- | --- |
{rows}

n is the number of atoms, m of points, k of multipoles of an atom. Multipoles of files are the arrays *definition*`_charges`,
*definition*`_dipoles` and *definition*`_quadrupoles`, such as `MBIS_charges`; `definition` says which, by default the first
that there is, else `multipoles`, or `charges` with `dipoles` and `quadrupoles` as `cgdft solve` writes them. A model remembers
it: files of another definition are not compared with. A key that ends in `.T` is read transposed, as Born charges [atom, c, a]
want. Frames in a uniform field (`field`, `electric_field`, `external_field` or `efield` in `info`) are left out; other
names with "field" in them are told.

The total charge of a frame is {charge} in `info`, else the sum of its initial charges; its number of unpaired
electrons is {spin}, else the size of the sum of its initial magnetic moments. Places that disagree are refused, and so
is a set with charged frames in which some state no charge, or no spin of an odd number of
electrons. Positions and cells are in angstrom, always.
"""


def markdown() -> str:
    """The page of all labels."""

    def listed(names: tuple[str, ...], joined: str = ", ") -> str:
        return joined.join(f"`{one}`" for one in names) or "only by `keys`"

    rows = []
    for name, one in QUANTITIES.items():
        names = "see below" if name == "multipoles" else listed(one.names)
        cells = f"`{name}`", one.meaning, f"({', '.join(map(str, one.shape))})", names, one.in_files, one.unit
        rows.append(f"| {' | '.join(cells)} |")
    return TEXT.format(rows="\n".join(rows), charge=listed(STATED["charge"], " or "), spin=listed(STATED["spin"], " or "))


if __name__ == "__main__":
    print(markdown(), end="")
