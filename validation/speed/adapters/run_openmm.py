"""OpenMM on its CPU platform (single precision): ConstantPotentialForce, and PME for fixed charges."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from .child import Answer, Run, Task

SETTINGS = {
    "qeq": "CPU platform, ConstantPotentialForce, PCG 1e-4 kJ/mol/e, Ewald 1e-6, cut-off 9 A",
    "fixed": "CPU platform, PME 1e-5, cut-off 10 A",
}
KJ = 96.48533212331  # kJ/mol in one eV
COULOMB = 138.935456  # its kJ nm / mol / e^2
_mm = importlib.import_module("openmm")


def version() -> str:
    """Of the library."""
    return str(_mm.version.version)


def qeq(task: Task) -> Run:
    """Every element is an electrode at the potential -chi; the Thomas-Fermi term is the hardness."""
    force = _mm.ConstantPotentialForce()
    for _ in range(len(task)):
        force.addParticle(0.0)
    for number in np.unique(task.numbers):
        atoms = np.flatnonzero(task.numbers == number).tolist()
        hardness = float(task.hardness[atoms[0]]) * KJ / COULOMB / (4 * math.pi)
        force.addElectrode(set(atoms), -float(task.chi[atoms[0]]) * KJ, math.sqrt(2) * task.sigma / 10, hardness)
    force.setCutoffDistance(task.cutoff(9.0) / 10)
    force.setEwaldErrorTolerance(1e-6)
    force.setConstantPotentialMethod(force.CG)
    force.setCGErrorTolerance(1e-4)
    force.setUseChargeConstraint(True)
    force.setChargeConstraintTarget(0.0)
    context = _context(task, force)

    def run() -> Answer:
        forces = _forces(context)
        charges = np.array([q.value_in_unit(q.unit) if hasattr(q, "unit") else q for q in force.getCharges(context)])
        return Answer(charges, forces)

    return run


def fixed(task: Task) -> Run:
    """Energy and forces; OpenMM has no stress."""
    force = _mm.NonbondedForce()
    for q in task.charges:
        force.addParticle(float(q), 1.0, 0.0)
    force.setNonbondedMethod(force.PME)
    force.setCutoffDistance(task.cutoff(10.0) / 10)
    force.setEwaldErrorTolerance(1e-5)
    force.setUseDispersionCorrection(False)
    context = _context(task, force)
    return lambda: Answer(task.charges, _forces(context))


def _context(task: Task, force: Any) -> Any:
    system = _mm.System()
    for _ in range(len(task)):
        system.addParticle(1.0)
    system.setDefaultPeriodicBoxVectors(*(np.diag(task.box) / 10).tolist())
    system.addForce(force)
    platform = _mm.Platform.getPlatformByName("CPU")
    context = _mm.Context(system, _mm.VerletIntegrator(0.001), platform, {"Threads": str(task.threads)})
    context.setPositions(task.positions / 10)
    return context


def _forces(context: Any) -> Any:
    state = context.getState(getForces=True, getEnergy=True)
    forces = state.getForces(asNumpy=True)
    return np.array(forces.value_in_unit(forces.unit)) / (10 * KJ)
