"""Polar dipeptides: what charges that were learnt from energies and forces say of dipoles and Born charges.

Source: D. Kim, D. S. King, P. Zhong, B. Cheng, arXiv:2412.15455 (data: GitHub BingqingCheng/cace-lr-fit, CC BY-NC 4.0), from
SPICE: P. Eastman et al., Sci. Data 10, 11 (2023).
Method: wB97M-D3(BJ)/def2-TZVPPD; Born charges by the authors of the set, with PySCF.
Task: the authors' frames to train, validate and test, of the first a sample. Dipoles, quadrupoles and Born charges are tested
and never trained on. Energies and forces are labels of all; MBIS charges are of the models whose charges are meant to be
those of a density, of which they are the monopoles. Their dipoles of atoms are not in the set.
Oddities: energies have offsets of each composition removed. Quadrupoles are second moments, with their trace in the first two
files and without in the third: (3 Q - tr Q)/2 is taken of all. Born charges are written transposed, [atom, displacement,
dipole].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cgdft.learning import Frame
from cgdft.learning.architectures import learnt_from
from cgdft.learning.data.frames import Batch
from cgdft.learning.data.labels import Reading
from cgdft.learning.training.evaluation import evaluate
from cgdft.model import Model
from cgdft.validation.published.latent import claimed, correlation
from cgdft.validation.published.published_set import LABELS, Divided, PublishedSet, atoms_of, digits, rounded

FILES = ("train.extxyz.xz", "val.extxyz.xz", "test.extxyz.xz")
#: Frames of the authors' 495 to train on, and of their 55 to validate with.
SAMPLE = (96, 16)
#: Never trained on.
TESTED = ("dipole", "quadrupole", "born_charges")


def read(folder: Path, sample: tuple[int, int] = SAMPLE, seed: int = 0) -> Divided:
    """The authors' division; of the frames to train and to validate with, as many as `sample` at random.

    Raises:
        ValueError: no such file.
    """
    train, validation, test = (_frames(folder / name) for name in FILES)
    draw = np.random.default_rng(seed)
    train, validation = (
        [part[k] for k in np.sort(draw.permutation(len(part))[:n])] for part, n in zip((train, validation), sample, strict=True)
    )
    return Divided(train, validation, test)


def _frames(path: Path) -> list[Frame]:
    frames = []
    for k, atoms in enumerate(atoms_of(path)):
        second = np.asarray(atoms.info["quadrupole"], dtype=float).reshape(3, 3)
        atoms.info["quadrupole"] = 1.5 * second - 0.5 * np.trace(second) * np.eye(3)
        keys = {"quadrupole": "quadrupole"} | ({"born_charges": "bec.T"} if "bec" in atoms.arrays else {})
        frames.append(Reading(keys).frame(atoms, f"{path.name.split('.')[0]} {k}", "mbis"))
    return frames


def weights(architecture: str) -> dict[str, float]:
    """Energies and forces; MBIS charges where charges are meant to be those of a density."""
    return LABELS if learnt_from(architecture) else LABELS | {"multipoles": 1.0}


def measured(model: Model, architecture: str, divided: Divided) -> dict[str, Any]:
    """Errors of energies and forces, and of what was not trained on: errors and r^2."""
    batches = [Batch.of(divided.test[k : k + 25]) for k in range(0, len(divided.test), 25)]
    wanted = ["energy", "forces"] if learnt_from(architecture) else ["energy", "forces", "multipoles"]
    found = evaluate(model, batches, wanted)
    errors = rounded(found)
    density = claimed(model, architecture, divided.validation)
    if density is not None:
        moments = evaluate(density, batches, TESTED)
        errors |= rounded(moments)
        errors |= {f"{name} r2": digits(correlation(one)) for name, one in moments.errors.items()}
    return {"errors": errors, "failed": found.left_out}


DIPEPTIDES = PublishedSet(
    name="dipeptides",
    folder="spice_dipeptides",
    files=FILES,
    title="Dipeptides of SPICE",
    task="Trained on energies and forces of 96 frames, physics whose charges are a density's also on MBIS charges; dipoles, "
    "quadrupoles and Born charges were not trained on by any. r2 is Pearson's, of all components.",
    source="D. Kim, D. S. King, P. Zhong, B. Cheng, arXiv:2412.15455; P. Eastman et al., Sci. Data 10, 11 (2023)",
    parts=lambda folder: [read(folder)],
    weights=weights,
    measured=measured,
    columns={
        "energy": "energy (meV/atom)",
        "forces": "forces (meV/angstrom)",
        "charges": "charges (me)",
        "dipole": "dipole (me angstrom)",
        "dipole r2": "r2",
        "quadrupole": "quadrupole (me angstrom^2)",
        "quadrupole r2": "r2",
        "born_charges": "Born charges (me)",
        "born_charges r2": "r2",
    },
    epochs=40,
    batch_size=4,
)
