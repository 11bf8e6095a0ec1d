"""ASE's side of the package: a calculator, in eV and angstrom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    CalculatorSetupError,
    InputError,
    PropertyNotImplementedError,
    SCFError,
    all_changes,
)
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from cgdft.extrapolation import Extrapolation
from cgdft.model import Model
from cgdft.solution import Solution
from cgdft.solver import SolverError
from cgdft.structure import Structure
from cgdft.units import angstrom, eV, volt


class CGDFT(Calculator):
    """E(R) = min over p of E[p; R] as an ASE calculator.

    `energy` is the internal energy, `free_energy` that of which forces and stress are the derivatives: the same at a
    fixed charge, the grand potential E - V Q at a fixed potential. `dipole` is about the origin, which matters for a
    net charge. Everything else is in `calc.solution`, in atomic units.

    Args:
        model: any model of the package or of your own.
        charge: total charge, e; default: `atoms.info["charge"]`, else the sum of the initial charges.
        potential: V = dE/dq = -mu, volt, at which the whole is held; its charge is then an answer, and that of
            the atoms not used.
        spin: number of unpaired electrons; default: `atoms.info["spin"]`, else the sum of the initial magnetic moments.

    Each solve begins where the last ones of the same atoms lead to (`Extrapolation`), which in molecular dynamics leaves
    little to do.

    Raises:
        CalculatorSetupError: both a charge and a potential, no model, or a model without a total charge to hold.
        InputError: at the calculation, a structure that makes no sense, or two charges that disagree.
        SCFError: the solver found no minimum; the message has its status.
        PropertyNotImplementedError: `stress` without a fully periodic cell, `dipole` with a periodic axis.
    """

    implemented_properties: ClassVar[list[str]] = [  # type: ignore[misc]  # an instance's in ASE's annotations
        "energy",
        "free_energy",
        "forces",
        "stress",
        "charges",
        "dipole",
    ]

    def __init__(
        self, model: Model, charge: float | None = None, potential: float | None = None, spin: float | None = None
    ) -> None:
        if not isinstance(model, Model):
            raise CalculatorSetupError(f"`model` must be a cgdft.Model, got {model!r}; QEq() makes one, QEq does not")
        if charge is not None and potential is not None:
            raise CalculatorSetupError(f"`charge` or `potential` must be left out, got {charge} e and {potential} V")
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        try:
            self.model = model if potential is None else model.at_potential(potential * volt)
        except ValueError as error:
            raise CalculatorSetupError(str(error)) from None
        self.charge, self.potential, self.spin = charge, potential, spin
        self.solution: Solution | None = None
        self.past = Extrapolation()

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation; ASE itself does not look at charge and spin in `atoms.info`."""
        changes: list[str] = super().check_state(atoms, tol)  # type: ignore[no-untyped-call,unused-ignore]
        told = [{key: a.info.get(key) for key in ("charge", "spin")} for a in (self.atoms, atoms) if a is not None]
        return changes if len(told) < 2 or told[0] == told[1] else [*changes, "info"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Called by ASE: solves where something has changed, then derives the properties asked for."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call,unused-ignore]
        if self.solution is None or system_changes:
            self.solution = self._solve()
        periodic = self.solution.structure.pbc[0]
        if "stress" in properties and not periodic.all():
            raise PropertyNotImplementedError(f"stress needs a cell periodic along all axes, got pbc {periodic.tolist()}")
        if "dipole" in properties and periodic.any():
            raise PropertyNotImplementedError(f"dipole needs open boundaries, got pbc {periodic.tolist()}")
        self.results.update(results(self.solution, properties))

    def _solve(self) -> Solution:
        assert self.atoms is not None
        try:
            structure = Structure.from_ase(self.atoms, self.charge, self.spin)
            solution = self.model(structure, start=self.past.start(structure))
        except SolverError as error:
            raise SCFError(str(error)) from error
        except ValueError as error:
            raise InputError(str(error)) from error
        self.past.add(solution)
        return solution


def results(solution: Solution, properties: Iterable[str] = ()) -> dict[str, Any]:
    """What ASE calls results, of a single structure, in eV, angstrom, e: energies, charges, and what is asked for.

    Args:
        solution: of one structure.
        properties: "forces", "stress" (Voigt order, eV / angstrom^3), "dipole" (e angstrom, about the origin).
    """
    found = {
        "energy": float(solution.energy[0]) / eV,
        "free_energy": float(solution.grand_potential[0]) / eV,
        "charges": solution.charges.detach().cpu().numpy().copy(),
    }
    if "forces" in properties:
        found["forces"] = solution.forces().detach().cpu().numpy() * (angstrom / eV)
    if "stress" in properties:
        found["stress"] = full_3x3_to_voigt_6_stress(solution.stress()[0].detach().cpu().numpy()) * (angstrom**3 / eV)
    if "dipole" in properties:
        found["dipole"] = solution.dipole[0].detach().cpu().numpy() / angstrom
    return found


def annotated(atoms: Atoms, solution: Solution) -> Atoms:
    """A copy of the atoms with the results of one structure as ASE keeps them.

    Dipoles (e angstrom) and quadrupoles (e angstrom^2) of atoms are in arrays, where the basis has them.
    """
    pbc = solution.structure.pbc[0]
    wanted = ["forces", *(["stress"] if pbc.all() else []), *([] if pbc.any() else ["dipole"])]
    copy: Atoms = atoms.copy()
    for l, multipoles in ((1, solution.dipoles), (2, solution.quadrupoles)):  # noqa: E741
        if solution.model.basis.lmax >= l:
            copy.arrays["dipoles" if l == 1 else "quadrupoles"] = multipoles.detach().cpu().numpy() / angstrom**l
    copy.info["charge"] = float(solution.total_charge[0])
    copy.arrays.pop("initial_charges", None)
    copy.calc = SinglePointCalculator(copy, **results(solution, wanted))
    return copy
