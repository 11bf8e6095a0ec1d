"""LAMMPS ELECTRODE for `cgdft.validation.speed.electrodes`: FILE STEPS; JSON with ms of CPU a step and charges at the start."""

from __future__ import annotations

import ctypes
import importlib
import json
import sys
import time
from typing import Any

import numpy as np

#: Angstrom; of exp(-eta^2 r^2), 1 / angstrom.
CUTOFFS, ETA = (9.0, 12.0, 15.0), 1.979


def steps_of(system: Any, steps: int, cutoff: float) -> tuple[float, Any]:
    """Seconds a step, and charges of the metal before the first."""
    engine = importlib.import_module("lammps").lammps(cmdargs=["-screen", "none", "-log", "none"])
    metal, positions, side = int(system["metal"]), system["positions"].copy(), float(system["side"])
    positions[:, :2] %= side
    low, high = positions[:, 2].min() - 1, positions[:, 2].max() + 1
    kinds = np.where(system["charges"] > 0, 3, 4)
    kinds[:metal], kinds[metal : 2 * metal] = 1, 2
    for line in (
        "units metal",
        "atom_style charge",
        "atom_modify map array",
        "boundary p p f",
        f"region box block 0 {side:.15g} 0 {side:.15g} {low:.15g} {high:.15g}",
        "create_box 4 box",
    ):
        engine.command(line)
    engine.create_atoms(len(kinds), list(range(1, len(kinds) + 1)), kinds.tolist(), positions.ravel().tolist())
    # The mesh is chosen by the squares of the charges at the start; those of the metal tell nothing else.
    charges = system["charges"].copy()
    charges[: 2 * metal] = 0.01 * (-1.0) ** np.arange(2 * metal)
    engine.scatter_atoms("q", 1, 1, charges.ctypes.data_as(ctypes.POINTER(ctypes.c_double)))
    half = float(system["voltage"]) / 2
    for line in (
        "mass * 50.0",
        f"pair_style coul/long {cutoff}",
        "pair_coeff * *",
        f"kspace_style pppm/electrode {float(system['accuracy']):g}",
        "kspace_modify slab 3.0",
        "neighbor 1.0 bin",
        "group first type 1",
        "group second type 2",
        "group ions type 3 4",
        "thermo 1000000",
        f"fix held first electrode/conp {half} {ETA} couple second {-half} symm on algo mat_inv",
        "fix moved ions nve",
        "velocity ions create 300 1 loop all",
        "timestep 0.0001",
        "run 0 post no",
    ):
        engine.command(line)
    found = np.array(engine.gather_atoms("q", 1, 1))
    begun = time.process_time()
    engine.command(f"run {steps} post no")
    took = (time.process_time() - begun) / steps
    engine.close()
    return took, found


def main() -> None:
    """The best of the cut-offs."""
    system, steps = dict(np.load(sys.argv[1])), int(sys.argv[2])
    took, charges = min((steps_of(system, steps, cutoff) for cutoff in CUTOFFS), key=lambda one: one[0])
    print(json.dumps({"ms": 1e3 * took, "charges": charges.tolist()}))


if __name__ == "__main__":
    main()
