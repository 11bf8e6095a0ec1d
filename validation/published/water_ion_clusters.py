"""Charged water clusters: labels of the density, three charge states, and larger clusters than those trained on.

Source: file water_will/water100.xyz of GitHub Br4iNd4m4gE/justus_MACE_EQ; no paper and no licence are named there.
Method: FHI-aims; the functional is not stated. 100 clusters carved from water, of 2 to 37 atoms, of charge -1 (a hydroxide
among them), 0 or +1 (a proton).
Task: train on clusters of up to 25 atoms, test on the larger ones.
Oddities: the multipoles of atoms are in the order q; m = -1, 0, 1, which is y, z, x; m = -2 ... 2. Charges and dipoles give
the dipole of the molecule to all digits, so that signs and order are certain; nothing in the file tells those of the
quadrupoles, which are left out. They are of Hirshfeld's kind, with free atoms of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cgdft.learning.architectures import learnt_from
from cgdft.learning.data.frames import Batch
from cgdft.learning.data.labels import Reading
from cgdft.learning.training.evaluation import evaluate
from cgdft.model import Model
from cgdft.validation.published.published_set import LABELS, MULTIPOLES, Divided, PublishedSet, atoms_of, rounded

FILE = "water100.extxyz.xz"
#: Atoms of the largest cluster to train on.
LARGEST = 25
#: Columns of q, x, y, z in the file.
ORDER = (0, 3, 1, 2)


def read(folder: Path, seed: int = 0) -> Divided:
    """Clusters of up to 25 atoms, 80 % to train on and 20 % to validate with; larger ones to test with.

    Raises:
        ValueError: no such file.
    """
    reading = Reading({"multipoles": "aims_atom_multipoles"})
    frames = []
    for k, atoms in enumerate(atoms_of(folder / FILE)):
        atoms.arrays["aims_atom_multipoles"] = atoms.arrays["aims_atom_multipoles"][:, ORDER]
        frames.append(reading.frame(atoms, f"water {k}", None))
    small = [frame for frame in frames if frame.structure.n_atoms <= LARGEST]
    order = np.random.default_rng(seed).permutation(len(small))
    parts = np.split(order, [round(0.8 * len(small))])
    train, validation = ([small[k] for k in np.sort(part)] for part in parts)
    return Divided(train, validation, [frame for frame in frames if frame.structure.n_atoms > LARGEST])


def weights(architecture: str) -> dict[str, float]:
    """Energies and forces; of physics whose charges are those of the density, multipoles and dipoles as well."""
    return LABELS if learnt_from(architecture) else LABELS | MULTIPOLES


def measured(model: Model, architecture: str, divided: Divided) -> dict[str, Any]:
    """Errors of energies, forces, charges and dipoles of atoms, and dipoles, of the larger clusters."""
    wanted = ["energy", "forces"] if learnt_from(architecture) else ["energy", "forces", "multipoles", "dipole"]
    test = divided.test
    found = evaluate(model, [Batch.of(test[k : k + 8]) for k in range(0, len(test), 8)], wanted)
    return {"errors": rounded(found), "failed": found.left_out}


WATER = PublishedSet(
    name="water_ion_clusters",
    folder="water_ion_clusters_aims",
    files=(FILE,),
    title="Water clusters with hydroxide or proton",
    task="Trained on clusters of up to 25 atoms and of charge -1, 0 or +1, with charges and dipoles of their atoms; "
    "errors on the clusters of 27 to 37 atoms.",
    source="GitHub Br4iNd4m4gE/justus_MACE_EQ (FHI-aims)",
    parts=lambda folder: [read(folder)],
    weights=weights,
    measured=measured,
    columns={
        "energy": "energy (meV/atom)",
        "forces": "forces (meV/angstrom)",
        "charges": "charges (me)",
        "dipoles": "atoms' dipoles (me angstrom)",
        "dipole": "dipole (me angstrom)",
    },
    epochs=200,
    directly=True,
)
