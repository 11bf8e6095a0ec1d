"""Dimers of charged, polar and apolar molecules: trained near, tested far, where nothing but Coulomb's law is left.

Source: K. K. Huguenin-Dumittan, P. Loche, N. Haoran, M. Ceriotti, J. Phys. Chem. Lett. 14, 9612 (2023); the dimers are from
L. A. Burns et al., J. Chem. Phys. 147, 161727 (2017); data from GitHub BingqingCheng/cace-lr-fit, CC BY-NC 4.0.
Method: HSE06, FHI-aims. Four dimers, of which A is an apolar, P a polar and C a charged molecule: 10 frames near, 3 far;
rigid molecules, moved along the line between their centres of mass.
Task: a model of each pair, trained on eight of the nearer frames and validated with two, tested on the three farther ones.
Nothing but energies and forces is a label. One model of all four pairs learnt no tail in twice the time.
Oddities: the files have no cell, but were computed in one. The force between the ions at 15 angstrom is 0.045 eV/angstrom,
where e^2/d^2 is 0.064, and energies of the far frames are those of two ions in a periodic cube of 30 angstrom with 1.36 eV
beside, the energies of the images that either ion has when alone: 2.837 e^2 / 30 angstrom = 1.362 eV. So frames are read with
this cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from cgdft.learning.data.frames import Batch
from cgdft.learning.data.labels import Reading
from cgdft.learning.training.evaluation import evaluate
from cgdft.model import Model
from cgdft.structure import Structure
from cgdft.units import eV
from cgdft.validation.published.published_set import LABELS, Divided, PublishedSet, atoms_of, digits, rounded

PAIRS = ("CC", "CA", "PP", "AA")
#: Edge of the periodic cube, angstrom.
EDGE = 30.0
#: Farthest distance of the curves, angstrom, that of the farthest frames.
FAR = 15.0
#: Points of a curve.
POINTS = 24


@dataclass(frozen=True)
class Curve:
    """A dimer at distances from that of the nearest frame to 15 angstrom.

    Attributes:
        structures: one per distance.
        distances: of the centres of mass, angstrom.
        apart: energy of the two molecules alone, hartree.
        known: distance (angstrom), energy less `apart` (eV) and whether it is a nearer one, of each frame.
    """

    structures: Structure
    distances: list[float]
    apart: float
    known: list[tuple[float, float, bool]]


@dataclass(frozen=True)
class Dimer(Divided):
    """Frames of one pair, and its curve."""

    pair: str
    curve: Curve


def read(folder: Path) -> list[Dimer]:
    """All four pairs.

    Raises:
        ValueError: no such file.
    """
    return [_dimer(folder, pair) for pair in PAIRS]


def _dimer(folder: Path, pair: str) -> Dimer:
    near, far = (_in_cell(atoms_of(folder / f"{pair}_{part}.extxyz.xz")) for part in ("train", "test"))
    frames = [Reading().frame(atoms, f"{pair} {k}", None) for k, atoms in enumerate([*near, *far])]
    known = range(len(near))
    train, validation = ([frames[k] for k in known if (k % 5 == 2) is held] for held in (False, True))
    return Dimer(train, validation, frames[len(near) :], pair, _curve(near, far))


def _in_cell(frames: list[Atoms]) -> list[Atoms]:
    for atoms in frames:
        atoms.set_cell(EDGE * np.eye(3))
        atoms.pbc = True
        atoms.info["charge"] = atoms.info["chargeA"] + atoms.info["chargeB"]
    return frames


def _curve(near: list[Atoms], far: list[Atoms]) -> Curve:
    first, start = near[0], int(near[0].info["indexB"])
    line = first[start:].get_center_of_mass() - first[:start].get_center_of_mass()
    nearest = float(np.linalg.norm(line))
    distances = np.linspace(nearest, max(FAR, nearest), POINTS)
    moved = []
    for distance in distances:
        atoms = first.copy()
        atoms.positions[start:] += (distance / nearest - 1) * line
        moved.append(atoms)
    known = [
        (float(atoms.info["distance"]), float(atoms.info["inter_energy"]), k < len(near))
        for k, atoms in enumerate([*near, *far])
    ]
    apart = float(first.info["energyA"] + first.info["energyB"]) * eV
    charge = float(first.info["charge"])
    return Curve(Structure.from_ase(moved, charge), distances.tolist(), apart, known)


def weights(architecture: str) -> dict[str, float]:
    """Energies and forces, of all."""
    return LABELS


def measured(model: Model, architecture: str, dimer: Dimer) -> dict[str, Any]:
    """Error of the whole energy of the far frames, of the forces there, and the curve of binding, eV."""
    found = evaluate(model, [Batch.of(dimer.test)], ["energy", "forces"])
    errors = rounded(found)
    errors = {dimer.pair: digits(errors["energy"] * dimer.test[0].structure.n_atoms), f"{dimer.pair} forces": errors["forces"]}
    with torch.no_grad():
        energies = (model(dimer.curve.structures).energy - dimer.curve.apart) / eV
    curve = {"distance": dimer.curve.distances, "energy": energies.tolist()}
    drawn = {name: [digits(one) for one in values] for name, values in curve.items()}
    return {"errors": errors, "failed": found.left_out, "curves": {dimer.pair: drawn}}


DIMERS = PublishedSet(
    name="charged_dimers",
    folder="charged_dimers_hse",
    files=tuple(f"{pair}_{part}.extxyz.xz" for pair in PAIRS for part in ("train", "test")),
    title="Dimers of charged, polar and apolar molecules",
    task="Trained on energies and forces of the nearer frames of four dimers (C charged, P polar, A apolar), in the periodic "
    "cube of 30 angstrom of the reference; errors of the whole energy of each dimer, its centres 12 to 15 angstrom apart.",
    source="K. K. Huguenin-Dumittan, P. Loche, N. Haoran, M. Ceriotti, J. Phys. Chem. Lett. 14, 9612 (2023)",
    parts=read,
    weights=weights,
    measured=measured,
    columns={pair: f"{pair} (meV)" for pair in PAIRS} | {f"{pair} forces": f"{pair} forces (meV/angstrom)" for pair in PAIRS},
    epochs=200,
    batch_size=2,
)
