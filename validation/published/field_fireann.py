"""N-methylacetamide in uniform fields: trained without a field, tested in fields.

Source: Y. Zhang, B. Jiang, Nat. Commun. 14, 6424 (2023); data from GitHub zhangylch/FIREANN, MIT.
Method: density-functional theory with a field along x of up to 0.42 V/angstrom on one molecule of 12 atoms; dipoles and
polarizabilities are those in the field. Of the files the one to train on is missing, so that the one to validate with is
taken.
Task: train on frames of fields up to 0.05 V/angstrom, without the field: E0 = E + F.D - F.a.F / 2 and D0 = D - a F by their
own labels. Test on frames of 0.2 V/angstrom and more, which the model meets as a term -F.D. Polarizabilities are not trained
on.
Oddities: no frame is without a field; forces cannot be freed of it (their change is 0.3 e of root mean square, times the
field), and are labels as they are, off by at most 15 meV/angstrom. The field has the opposite sign of the one that pushes
positive charge along itself, and `pol_raw` of the polarizability: with these, E0 of one geometry in 14 fields is the same to
0.02 meV. One geometry is in both files, and left out of the test. The set's liquid water, periodic along the field, is left
out: a uniform field along a periodic axis has no potential.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from cgdft.functionals import UniformField
from cgdft.learning.architectures import learnt_from
from cgdft.learning.data.frames import Batch, Frame
from cgdft.learning.data.labels import Reading
from cgdft.model import Model
from cgdft.units import angstrom, eV, volt
from cgdft.validation.published.latent import claimed
from cgdft.validation.published.published_set import LABELS, Divided, PublishedSet, atoms_of, digits

FILES = ("nma_validation.extxyz.xz", "nma_test.extxyz.xz")
#: Fields to train below and to test above, V/angstrom.
WEAK, STRONG = 0.05, 0.2
#: Frames to test with.
TESTED = 200
#: angstrom^3 of e angstrom^2 / V: e / (4 pi epsilon_0) in V angstrom.
POLARIZABILITY = 14.39964548


@dataclass(frozen=True)
class InFields(Divided):
    """Frames without a field to train on; those to test with are in `fields` (n, 3), atomic units; `works` (n,) is E - E0."""

    fields: Tensor
    works: Tensor


def read(folder: Path, tested: int = TESTED, seed: int = 0) -> InFields:
    """Weak fields, 85 % to train on and 15 % to validate with, freed of the field; strong ones as they are.

    Raises:
        ValueError: no such file.
    """
    draw = np.random.default_rng(seed)
    weak = [atoms for atoms in atoms_of(folder / FILES[0]) if np.linalg.norm(field_of(atoms)) <= WEAK]
    seen = {_geometry(atoms) for atoms in weak}
    strong = [
        one for one in atoms_of(folder / FILES[1]) if np.linalg.norm(field_of(one)) >= STRONG and _geometry(one) not in seen
    ]
    chosen = [strong[k] for k in np.sort(draw.permutation(len(strong))[:tested])]
    free = [_frame(atoms, f"weak {k}", *without_field(atoms)) for k, atoms in enumerate(weak)]
    order = draw.permutation(len(free))
    train, validation = ([free[k] for k in np.sort(part)] for part in np.split(order, [round(0.85 * len(free))]))
    test = [_frame(atoms, f"strong {k}", atoms.get_potential_energy(), _dipole(atoms)) for k, atoms in enumerate(chosen)]
    fields = np.stack([field_of(atoms) for atoms in chosen]) * volt / angstrom
    works = np.array([atoms.get_potential_energy() - without_field(atoms)[0] for atoms in chosen]) * eV
    return InFields(train, validation, test, torch.from_numpy(fields), torch.from_numpy(works))


def field_of(atoms: Atoms) -> NDArray[np.float64]:
    """The field that pushes positive charge along itself, (3,), V/angstrom."""
    return -np.asarray(atoms.info["field_raw"], dtype=np.float64)


def without_field(atoms: Atoms) -> tuple[float, NDArray[np.float64]]:
    """E0 = E + F.D - F.a.F / 2 (eV) and D0 = D - a F (e angstrom), D and a being those in the field."""
    field, dipole = field_of(atoms), _dipole(atoms)
    polarizability = -np.asarray(atoms.info["pol_raw"], dtype=np.float64).reshape(3, 3)
    energy = atoms.get_potential_energy() + field @ dipole - 0.5 * field @ polarizability @ field
    return float(energy), dipole - polarizability @ field


def _dipole(atoms: Atoms) -> NDArray[np.float64]:
    return np.asarray(atoms.info["dipole_raw"], dtype=np.float64)


def _geometry(atoms: Atoms) -> bytes:
    return np.round(atoms.positions, 4).tobytes()


def _frame(atoms: Atoms, name: str, energy: float, dipole: NDArray[np.float64]) -> Frame:
    """With these labels, eV and e angstrom, in place of the file's, and its polarizability."""
    told = Atoms(atoms.numbers, atoms.positions)
    told.info = {"energy": energy, "dipole": dipole, "charge": 0.0}
    told.info["polarizability"] = -POLARIZABILITY * np.asarray(atoms.info["pol_raw"], dtype=np.float64).reshape(3, 3)
    told.arrays["forces"] = atoms.get_forces()
    return Reading().frame(told, name, None)


def weights(architecture: str) -> dict[str, float]:
    """Energies and forces; dipoles where charges are meant to be those of a density."""
    return LABELS if learnt_from(architecture) else LABELS | {"dipole": 1.0}


def measured(model: Model, architecture: str, divided: InFields) -> dict[str, Any]:
    """Errors in the field: energies, forces, E - E0 of the molecule, dipoles; and polarizabilities in the field."""
    density = claimed(model, architecture, divided.validation)
    found: dict[str, list[Tensor]] = {}
    for k in range(0, len(divided.test), 20):
        frames, field = divided.test[k : k + 20], divided.fields[k : k + 20]
        for name, value in _in_field(model, density, Batch.of(frames), field).items():
            label = divided.works[k : k + 20] if name == "work" else _labels(frames, name)
            per = frames[0].structure.n_atoms if name == "energy" else 1
            found.setdefault(name, []).append((value.detach() - label).flatten() / per)
    units = {
        "energy": 1e3 / eV,
        "forces": 1e3 * angstrom / eV,
        "work": 1e3 / eV,
        "dipole": 1e3 / angstrom,
        "polarizability": 1 / angstrom**3,
    }
    errors = {name: digits(units[name] * float(torch.cat(parts).square().mean().sqrt())) for name, parts in found.items()}
    return {"errors": errors, "failed": 0}


def _labels(frames: list[Frame], name: str) -> Tensor:
    labels = [frame.labels[name] for frame in frames]
    return torch.cat(labels) if name == "forces" else torch.stack(labels)


def _in_field(model: Model, density: Model | None, batch: Batch, field: Tensor) -> dict[str, Tensor]:
    """What a model says in the field; latent charges, which are no part of a minimum, feel it to first order."""
    structure = batch.structure
    alone = model(structure)
    if density is None:
        return {"energy": alone.energy, "forces": alone.forces(), "work": torch.zeros_like(alone.energy)}
    if density is model:
        found = (model + UniformField(field))(structure)
        forces, energy, dipole, held = found.forces(), found.energy, found.dipole, found
    else:
        held = density(structure)
        forces = alone.forces() + torch.einsum("nac,na->nc", held.born_charges(), field[structure.index])
        dipole = held.dipole
        energy = alone.energy - (dipole * field).sum(1)
    polarizability = held.polarizability()
    return {
        "energy": energy,
        "forces": forces,
        "work": energy - alone.energy,
        "dipole": dipole,
        "polarizability": polarizability,
    }


FIELD = PublishedSet(
    name="field_fireann",
    folder="field_fireann",
    files=FILES,
    title="N-methylacetamide in uniform fields",
    task="Trained without a field on energies, forces and dipoles; errors in fields of 0.2 to 0.42 V/angstrom, of E(F) - E(0), "
    "and of the polarizability, which was not trained on.",
    source="Y. Zhang, B. Jiang, Nat. Commun. 14, 6424 (2023)",
    parts=lambda folder: [read(folder)],
    weights=weights,
    measured=measured,
    columns={
        "energy": "energy (meV/atom)",
        "forces": "forces (meV/angstrom)",
        "work": "E(F) - E(0) (meV)",
        "dipole": "dipole (me angstrom)",
        "polarizability": "polarizability (angstrom^3)",
    },
    epochs=150,
)
