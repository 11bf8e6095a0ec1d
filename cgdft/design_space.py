"""Where a model stands in the space of approximations to coarse-grained density-functional theory, read off itself."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import TYPE_CHECKING

from cgdft.citations import ModelRecord, models

if TYPE_CHECKING:
    from cgdft.model import Model
    from cgdft.problems.problem import Problem
    from cgdft.structure import Structure

PAGE = """# Models

Each is one file that combines the words of the package. `python -m cgdft.design_space` prints this page from the models.

{table}

Solved: whether the density answers to itself. Energy: what is minimised, the dual of it, or another one that is read out.
Driven by: what the density follows. Response: what answers before Coulomb's law couples it. Charge: how the total is kept.
Far apart: whether water (or another molecule, of elements that the model has), and an atom of its first element 400 bohr away,
are what each is alone, but for Coulomb's law between net charges.
Models with one chemical potential exchange charge at any distance. Others share an ion's charge: `p0`, the example or the
excess divides it among all atoms, near and far; a `p0` that says where the charge is ends that. Copies of a neutral molecule
far apart have twice its energy in every model; the molecules of `les` are charged, and repel.
Charges are latent where only energies and forces know them, labelled where they are meant to be those of a definition.

```{{eval-rst}}
{makers}
```
"""
#: e or hartree: above the dipole of one and the charge of the other 400 bohr apart, below what exchanged charge does.
FAR_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Place:
    """The axes of the design space.

    Attributes:
        solved: one shot, a number of steps, or self-consistent.
        energy: minimised; its dual, a grand potential; or read out beside what is solved.
        driven_by: what the density answers to: an energy of densities, potentials, or the structure alone.
        multipoles: the highest l.
        response: which part of the density answers, before Coulomb's law couples all of it.
        charge: how the total charge is kept.
        far_apart: what fragments far from each other do; see `far_apart`.
    """

    solved: str
    energy: str
    driven_by: str
    multipoles: str
    response: str
    charge: str
    far_apart: str


def place(model: Model, structure: Structure) -> Place:
    """The place of a model, for one structure that it can be called on."""
    from cgdft.response_law import GrandPotential, Response

    ansatz, problem = model.ansatz, model.problem(structure)
    rigid = len(problem.index) == 0
    steps = ansatz.steps if isinstance(ansatz, Response) else None
    law = isinstance(ansatz, Response)
    dual = isinstance(ansatz, Response) and isinstance(ansatz.law, GrandPotential)
    moves = bool(problem.rows.active.any()) if problem.fixed else False
    return Place(
        solved="one shot" if rigid else f"{steps} steps" if steps else "self-consistent",
        energy="read out" if model.readout is not None else "evaluated" if rigid or steps else "dual" if dual else "minimised",
        driven_by="structure" if rigid else "potential" if law else "density",
        multipoles=f"l <= {model.basis.lmax}",
        response="nothing" if rigid else "a law" if law else _response(problem),
        charge="not kept" if not model.constraints else "multiplier" if moves else "by construction",
        far_apart=far_apart(model, structure),
    )


def _response(problem: Problem) -> str:
    """What answers to a potential."""
    from cgdft.ansatz import ResponseModes

    entries, size = problem.space.entries, problem.basis.size
    if isinstance(problem.ansatz, ResponseModes):
        return "modes"
    if entries is not None and len(entries.columns.unique()) < len(entries.columns):
        return "charges on bonds" if bool((entries.columns.bincount() <= 2).all()) else "modes"
    if entries is not None and bool((entries.rows % size != 0).all()):
        return "dipoles of atoms"
    return "each atom" if all(term.local for term in problem.functional if term.name != "Hartree") else "atoms and pairs"


def far_apart(model: Model, structure: Structure) -> str:
    """What a structure and a neutral atom of its first element do to each other 400 bohr away.

    Returns:
        "exchange charge": the atom's charge is not that of the atom alone; "share an ion's charge": that is so only where the
        structure is an ion; "independent": each is as alone, and the energies add up but for Coulomb's law between net charges;
        "not additive": the charges are as alone, the energies do not add up; "not tried": of a periodic structure.
    """
    from cgdft.testing.model import FAR, far_atom, with_far_atom

    if structure.pbc.any():
        return "not tried"
    for charge, found in ((structure.charge, "exchange charge"), (structure.charge + 1, "share an ion's charge")):
        here = replace(structure, charge=charge)
        alone, together = model(here), model(with_far_atom(here))
        try:
            lone = model(far_atom(here))
        except ValueError:  # no atom alone, as of two electrodes: it would be neutral
            return found if abs(float(together.charges[-1])) > FAR_TOLERANCE else "not tried"
        if abs(float(together.charges[-1] - lone.charges[-1])) > FAR_TOLERANCE:
            return found
        coulomb = alone.total_charge * lone.total_charge / FAR
        if abs(float(together.energy - alone.energy - lone.energy - coulomb)) > FAR_TOLERANCE:
            return "not additive"
    return "independent"


def places() -> list[tuple[ModelRecord, Place, str]]:
    """Every named model with its place, and whether its charges are latent or labelled; read off water, or what it knows."""
    from ase.build import molecule
    from ase.collections import g2

    from cgdft.structure import Structure
    from cgdft.testing.structures import lacking

    found = []
    for record in models():
        module = import_module(record.module)
        if record.needs and not hasattr(module, "example"):
            raise ValueError(
                f"{module.__file__} must have example(structure), since {record.maker} needs {', '.join(record.needs)}"
            )
        for name in ("H2O", *g2.names):
            structure = Structure.from_ase(molecule(name))
            model = module.example(structure) if record.needs else getattr(module, record.maker)()
            if not lacking(model, structure):
                break
        else:
            raise ValueError(f"{module.__file__} must have parameters for the elements of some molecule of ase.collections.g2")
        if module.__doc__ is None and sys.flags.optimize > 1:
            raise RuntimeError("models say in docstrings what they are, which `python -OO` strips: run without -OO")
        said = re.search(r"^Charges: (latent|labelled)\.$", module.__doc__ or "", re.MULTILINE)
        if said is None:
            raise ValueError(f"{module.__file__} must have a line 'Charges: latent.' or 'Charges: labelled.' in its docstring")
        found.append((record, place(model, structure), said.group(1)))
    return found


def markdown() -> str:
    """The design space as a page of the manual: a table, and every model's own words."""
    heads = ["model", *(entry.name.replace("_", " ") for entry in fields(Place)), "charges are"]
    rows = [heads, ["---" for _ in heads]]
    for record, where, said in places():
        rows.append([f"`{record.name}`", *(getattr(where, entry.name) for entry in fields(Place)), said])
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    makers = "\n".join(f".. autofunction:: {record.module}.{record.maker}" for record in models())
    return PAGE.format(table=table, makers=makers)


if __name__ == "__main__":
    print(markdown(), end="")
