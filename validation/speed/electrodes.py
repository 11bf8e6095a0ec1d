"""Ions between two electrodes at fixed potentials, beside LAMMPS ELECTRODE: `python -m cgdft.validation.speed.electrodes`.

Each electrode is a square lattice of gold, 1.36 V from the other, with a salt of given charges between; positions of the metal
stay. A step is charges, energy and forces of new positions; those of cgdft begin where the last ones lead to. LAMMPS inverts
the matrix of the metal once (`algo mat_inv`), runs in the interpreter given by `--python`, and has the best of some cut-offs.
Both to 1e-6, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cgdft.extrapolation import Extrapolation
from cgdft.functional import Functional
from cgdft.functionals import Hartree
from cgdft.functionals.models.electrodes import Electrodes
from cgdft.solvers import CG
from cgdft.solvers.kept_inverse import NAME
from cgdft.structure import Structure
from cgdft.units import angstrom, volt

#: Distance of metal atoms, and volume of an ion, angstrom; ions beyond this from the metal.
LATTICE, VOLUME, APART = 2.88, 33.0, 3.0
VOLTAGE, ACCURACY = 1.36, 1e-6
#: Atoms along a side of an electrode, and ions.
SIZES = ((8, 250), (16, 686), (24, 1500))
#: Of positions in a step, angstrom; more than an ion goes in a femtosecond.
STEP = 0.003


@dataclass(frozen=True, eq=False)
class Cell:
    """Atoms (n, 3) in angstrom, the electrodes first, `metal` atoms each; the sides of the cell; charges, e."""

    positions: Any
    metal: int
    side: float
    charges: Any


def cell(side: int, ions: int) -> Cell:
    """Two electrodes and a salt of sodium and chloride on a grid, moved at random."""
    random, length = np.random.default_rng(0), side * LATTICE
    gap = ions * VOLUME / length**2
    points = max(1, round((ions / (length**2 * gap)) ** (1 / 3) * length))
    layers = -(-ions // points**2)
    grid = np.array([(x, y, z) for z in range(layers) for x in range(points) for y in range(points)][:ions], dtype=float)
    salt = (grid + 0.5) * [length / points, length / points, gap / layers] + [0, 0, APART]
    salt += random.normal(0, 0.1, salt.shape)
    lattice = LATTICE * np.array([(x, y, 0.0) for x in range(side) for y in range(side)])
    positions = np.concatenate([lattice, lattice + np.array([0, 0, gap + 2 * APART]), salt])
    signs = (-1.0) ** grid.sum(1)
    signs[np.flatnonzero(signs == np.sign(signs.sum()))[: round(abs(signs.sum()) / 2)]] *= -1  # as many of each
    return Cell(positions, side**2, length, np.concatenate([np.zeros(2 * side**2), signs]))


def ours(system: Cell, steps: int) -> tuple[float, Any]:
    """ms of CPU a step once the inverse is kept, and the charges at the start."""
    torch.set_num_threads(1)
    metal, charges = system.metal, torch.tensor(system.charges)
    model = Electrodes(range(metal), range(metal, 2 * metal), VOLTAGE * volt, charges=charges).replace(
        functional=Functional([Hartree(accuracy=ACCURACY)]), solver=CG(ACCURACY)
    )
    numbers = torch.where(charges > 0, 11, 17)
    numbers[: 2 * metal] = 79
    box, slab = torch.diag(torch.tensor([system.side, system.side, 0.0])) * angstrom, torch.tensor([True, True, False])
    random, moving, past = np.random.default_rng(1), system.positions.copy(), Extrapolation()
    times: list[float] = []
    first, kept = None, False
    while len(times) < steps:
        structure = Structure(numbers, torch.tensor(moving * angstrom), box, slab)
        begun = time.process_time()
        solution = model(structure, start=past.start(structure))
        solution.forces()
        past.add(solution)
        took = time.process_time() - begun
        first = solution.charges.numpy() if first is None else first
        if kept:
            times.append(took)
        kept = solution.problem.memory[NAME].factors is not None
        moving[2 * metal :] += random.normal(0, STEP, (len(moving) - 2 * metal, 3))
    return 1e3 * statistics.fmean(times), first


def theirs(system: Cell, steps: int, python: str) -> tuple[float, Any]:
    """The same of LAMMPS."""
    with tempfile.TemporaryDirectory() as folder:
        given, script = Path(folder) / "cell.npz", Path(__file__).parent / "adapters" / "run_electrodes.py"
        np.savez(given, voltage=VOLTAGE, accuracy=ACCURACY, **vars(system))
        command = [python, str(script), str(given), str(steps)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        found = json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    return found["ms"], np.array(found["charges"])


def main(words: Sequence[str] | None = None) -> None:
    """Print the time of a step of both, and how far their charges are apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="interpreter of an environment with lammps")
    parser.add_argument("--steps", type=int, default=60)
    chosen = parser.parse_args(words)
    for side, ions in SIZES:
        system = cell(side, ions)
        ms, charges = ours(system, chosen.steps)
        line = f"{2 * side**2} metal atoms, {ions} ions: cgdft {ms:.1f} ms a step"
        if chosen.python:
            other, found = theirs(system, chosen.steps, chosen.python)
            metal = slice(0, 2 * side**2)
            line += f", LAMMPS {other:.1f}, ratio {ms / other:.2f}; charges differ by {abs(charges - found)[metal].max():.1e} e"
        print(line, flush=True)


if __name__ == "__main__":
    main()
