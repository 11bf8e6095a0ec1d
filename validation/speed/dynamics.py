"""Molecular dynamics of a molten salt at constant energy: `python -m cgdft.validation.speed.dynamics --help`.

648 atoms of NaCl, QEq with a Born-Mayer repulsion, started hot from the crystal at the density of the melt. The same
trajectory is run with densities extrapolated from the last steps and a tolerance that leaves two or three iterations,
and with every step converged from scratch. Printed: drift of the total energy, iterations and time of a step.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from cgdft.ase import CGDFT
from cgdft.functionals import Pairwise, QEq
from cgdft.model import Model
from cgdft.solvers import CG
from cgdft.units import eV

LATTICE = 6.3  # angstrom: 1.49 g / cm^3, of the melt at 1150 K
TEMPERATURE = 1500.0  # K; velocities start at twice this, half of which goes into vibrations
#: Hartree and bohr: the range of M. P. Tosi, F. G. Fumi, J. Phys. Chem. Solids 25, 45 (1964), table 4, and a strength that
#: puts the minimum of the crystal at 5.6 angstrom with the charges of QEq.
REPULSION = {"strength": {"Na": 3.0, "Cl": 3.0}, "length": {"Na": 0.6, "Cl": 0.6}}


@dataclass(frozen=True)
class Trajectory:
    """What a run showed.

    Attributes:
        drift: of the total energy, hartree / atom / ns, with its standard error.
        iterations: of the solver, a step.
        seconds: a step, wall time.
        temperature: K.
    """

    drift: float
    error: float
    iterations: float
    seconds: float
    temperature: float


def melt(cells: tuple[int, int, int] = (3, 3, 9)) -> Atoms:
    """8 atoms a cell, hot and at rest as a whole; not yet molten."""
    atoms = bulk("NaCl", "rocksalt", a=LATTICE, cubic=True).repeat(cells)
    atoms.rattle(0.05, seed=1)
    speed = np.sqrt(2 * TEMPERATURE * units.kB / atoms.get_masses())[:, None]
    atoms.set_velocities(speed * np.random.default_rng(2).normal(size=(len(atoms), 3)))
    atoms.set_momenta(atoms.get_momenta() - atoms.get_momenta().mean(0))
    return atoms


def model(tolerance: float) -> Model:
    """QEq with a repulsion."""
    return (QEq() + Pairwise(**REPULSION, cutoff=14.0)).replace(solver=CG(tolerance=tolerance))


class FromScratch(CGDFT):
    """Forgets the past before every step."""

    def _solve(self):  # type: ignore[no-untyped-def]
        self.past = type(self.past)()
        return super()._solve()


def follow(calculator: CGDFT, steps: int, atoms: Atoms | None = None, first: int = 100) -> Trajectory:
    """Steps of 1 fs at constant energy, after `first` that do not count."""
    atoms = melt() if atoms is None else atoms
    atoms.calc = calculator
    seen: list[tuple[float, float, int]] = []

    def look() -> None:
        assert calculator.solution is not None
        seen.append((atoms.get_total_energy(), atoms.get_temperature(), calculator.solution.iterations))

    dynamics = VelocityVerlet(atoms, timestep=units.fs)
    dynamics.run(first)
    dynamics.attach(look)
    start = time.perf_counter()
    dynamics.run(steps)
    seconds = (time.perf_counter() - start) / steps
    energies, temperatures, iterations = np.array(seen).T
    nanoseconds = 1e-6 * np.arange(len(seen))
    (slope, _), spread = np.polyfit(nanoseconds, energies / len(atoms) * eV, 1, cov=True)
    return Trajectory(slope, spread[0, 0] ** 0.5, iterations.mean(), seconds, temperatures.mean())


def main(words: Sequence[str] | None = None) -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(prog="python -m cgdft.validation.speed.dynamics", description=__doc__)
    parser.add_argument("--steps", type=int, default=10000, help="of 1 fs")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="relative residual of a step with a past")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="a JSON file")
    chosen = parser.parse_args(words)
    if min(chosen.steps, chosen.threads) < 1:
        parser.error(f"--steps and --threads must be at least 1, got {chosen.steps} and {chosen.threads}")
    torch.set_num_threads(chosen.threads)
    runs = {
        f"extrapolated, {chosen.tolerance:g}": CGDFT(model(chosen.tolerance)),
        "from scratch, 1e-10": FromScratch(model(1e-10)),
    }
    found = {}
    print(f"{len(melt())} atoms of molten NaCl, {chosen.steps} steps of 1 fs, {chosen.threads} thread(s)")
    for name, calculator in runs.items():
        found[name] = one = follow(calculator, chosen.steps)
        print(
            f"  {name:22} drift {one.drift:9.1e} +- {one.error:.0e} hartree/atom/ns, {one.iterations:.1f} iterations and "
            f"{1000 * one.seconds:.0f} ms a step, {one.temperature:.0f} K",
            flush=True,
        )
    if chosen.output is not None:
        chosen.output.write_text(json.dumps({name: asdict(one) for name, one in found.items()}, indent=1))


if __name__ == "__main__":
    main()
