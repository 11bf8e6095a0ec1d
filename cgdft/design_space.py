"""Where a model stands in the space of approximations to coarse-grained density-functional theory, read off itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING

from cgdft.citations import ModelRecord, models

if TYPE_CHECKING:
    from cgdft.model import Model
    from cgdft.structure import Structure

PAGE = """# Models

Each is one file that combines the words of the package. `python -m cgdft.design_space` prints this page from the models.

{table}

Solved: whether the density answers to itself. Energy: what is minimised, the dual of it, or another one that is read out.
Driven by: what the density follows. Response: what answers before Coulomb's law couples it. Charge: how the total is kept.
Charges are latent where only energies and forces know them, labelled where they are meant to be those of a definition.

```{{eval-rst}}
{makers}
```
"""


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
    """

    solved: str
    energy: str
    driven_by: str
    multipoles: str
    response: str
    charge: str


def place(model: Model, structure: Structure) -> Place:
    """The place of a model, for one structure that it can be called on."""
    from cgdft.ansatz import Fixed, ResponseModes, SplitCharges
    from cgdft.response_problem import GrandPotential, Response

    ansatz, problem = model.ansatz, model.problem(structure)
    rigid = len(problem.index) == 0
    steps = ansatz.steps if isinstance(ansatz, Response) else None
    law = isinstance(ansatz, Response)
    dual = isinstance(ansatz, Response) and isinstance(ansatz.law, GrandPotential)
    without_bonds = isinstance(ansatz, SplitCharges) and ansatz.bonds is not None and len(ansatz.bonds) == 0
    bonds = "dipoles of atoms" if without_bonds else "charges on bonds"
    answers = {Fixed: "nothing", SplitCharges: bonds, ResponseModes: "modes"}
    atoms = "each atom" if all(term.local for term in problem.functional if term.name != "Hartree") else "atoms and pairs"
    moves = bool(problem.rows.active.any()) if problem.fixed else False
    return Place(
        solved="one shot" if rigid else f"{steps} steps" if steps else "self-consistent",
        energy="read out" if model.readout is not None else "evaluated" if rigid or steps else "dual" if dual else "minimised",
        driven_by="structure" if rigid else "potential" if law else "density",
        multipoles=f"l <= {model.basis.lmax}",
        response=answers.get(type(ansatz), "a law" if law else atoms),
        charge="not kept" if not model.constraints else "multiplier" if moves else "by construction",
    )


def places() -> list[tuple[ModelRecord, Place, str]]:
    """Every named model with its place, and whether its charges are latent or labelled; read off water."""
    from ase.build import molecule

    from cgdft.structure import Structure

    water = Structure.from_ase(molecule("H2O"))
    found = []
    for record in models():
        module = import_module(record.module)
        model = module.example(water) if record.needs else getattr(module, record.maker)()
        said = re.search(r"^Charges: (latent|labelled)\.$", module.__doc__ or "", re.MULTILINE)
        found.append((record, place(model, water), said.group(1) if said else ""))
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
