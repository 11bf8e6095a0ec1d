"""ASE's side of the package: a calculator, in eV and angstrom."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
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
from cgdft.printing import note_on_charge
from cgdft.solution import Solution
from cgdft.solver import SolverError
from cgdft.structure import Structure
from cgdft.units import angstrom, eV, volt


class CGDFT(Calculator):
    """E(R) = min over p of E[p; R] as an ASE calculator.

    `energy` is the internal energy, `free_energy` that of which forces and stress are the derivatives: the same at a
    fixed charge, the grand potential E - V Q at a fixed potential. `dipole` is about the origin, which matters for a
    net charge, `stress` zero across slabs and wires, as cells are not relaxed there. Everything else is in `calc.solution`, in
    atomic units.

    Args:
        model: any model of the package or of your own.
        charge: total charge, e; default: `atoms.info["charge"]`, else the sum of the initial charges.
        potential: V = dE/dq, volt, at which the whole is held; its charge is then an answer, and that of
            the atoms not used.
        spin: number of unpaired electrons; default: `atoms.info["spin"]`, else the size of the sum of the initial magnetic
            moments.

    A uniform field, external potential or the like is a term: `CGDFT(model + UniformField([0, 0, 0.1 * volt_per_angstrom]))`,
    with the unit from `cgdft.units`.

    These may be changed later, as attributes or by `set`, and so may the model's tensors (weights, potentials) and parts, and
    settings of its terms, ansatz and basis that are plain numbers; what follows is computed anew. Arrays of numpy, and plain
    numbers of parts of parts, are not watched: make another model of them.

    Each solve begins where the last ones of the same atoms and charge lead to (`Extrapolation`), which in molecular dynamics
    leaves little to do; of a functional with several minima that is one nearby. `calc.past = Extrapolation()` forgets them.

    Raises:
        CalculatorSetupError: both a charge and a potential, no model, a model without a total charge to hold, or a spin for
            one that has none.
        InputError: at the calculation, a structure that makes no sense, or two charges that disagree.
        SCFError: the solver found no minimum; the message has its status.
        PropertyNotImplementedError: `stress` without a periodic axis and a volume, `dipole` without an open axis.
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
        self.model, self.charge, self.potential, self.spin = model, charge, potential, spin
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self.solution: Solution | None = None
        self.past = Extrapolation()
        self._used: dict[str, Any] = {}
        self._model()

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor as they are now."""
        return {name: getattr(self, name) for name in ("model", "charge", "potential", "spin")}

    def set(self, **settings: Any) -> dict[str, Any]:
        """Change some of the settings, as ASE does; returns those that changed.

        Raises:
            CalculatorSetupError: a setting that there is not, or one that makes no sense.
        """
        for name in settings:
            if name not in self.settings:
                raise CalculatorSetupError(f"`set` must be given some of {', '.join(self.settings)}, got {name}")
        before = self.settings
        changed = {name: value for name, value in settings.items() if not _same(before[name], value)}
        try:
            for name, value in changed.items():
                setattr(self, name, value)
            self._model()
        except CalculatorSetupError:
            for name in changed:
                setattr(self, name, before[name])
            raise
        return changed

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles are without a solution of a model that has been changed since: they compute anew."""
        outdated = self.solution is not None and self.solution.outdated
        return vars(self) | ({"solution": None, "results": {}} if outdated else {})

    def _model(self) -> Model:
        """The model at the charge or potential asked for."""
        if not isinstance(self.model, Model):
            raise CalculatorSetupError(f"`model` must be a cgdft.Model, got {self.model!r}; QEq() makes one, QEq does not")
        if self.charge is not None and self.potential is not None:
            raise CalculatorSetupError(f"`charge` or `potential` must be left out, got {self.charge} e and {self.potential} V")
        for name in ("charge", "potential", "spin"):
            value = self.settings[name]
            if value is not None and not isinstance(value, numbers.Real):
                raise CalculatorSetupError(f"`{name}` must be a number, got {value!r}")
        if self.spin and not self.model.basis.spin:
            raise CalculatorSetupError(f"`spin` must be left out, got {self.spin:g}: {self.model.name} has no spin")
        try:
            return self.model if self.potential is None else self.model.at_potential(self.potential * volt)
        except ValueError as error:
            raise CalculatorSetupError(str(error)) from None

    @property
    def _state(self) -> dict[str, Any]:
        """The settings, and what the model is made of, which one at a potential has copied."""
        parts = {name: getattr(self.model, name, None) for name in ("functional", "basis", "ansatz", "readout", "solver")}
        constraints = {f"constraint {k}": one for k, one in enumerate(getattr(self.model, "constraints", ()))}
        return self.settings | parts | constraints

    def _is_as_it_was(self, *apart: str) -> bool:
        """Whether the last solve was of the same, apart from some settings."""
        now = self._state
        return now.keys() == self._used.keys() and all(
            _same(self._used[name], value) for name, value in now.items() if name not in apart
        )

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation; ASE itself looks neither at `atoms.info` nor at the settings."""
        changes: list[str] = super().check_state(atoms, tol)  # type: ignore[no-untyped-call,unused-ignore]
        told = [
            repr([a.info.get(key) for key in ("charge", "total_charge", "spin")]) for a in (self.atoms, atoms) if a is not None
        ]
        changes += ["info"] if len({*told}) > 1 else []
        if self.solution is None:
            return changes
        return changes if self._is_as_it_was() and not self.solution.outdated else [*changes, "settings"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Called by ASE: solves where something has changed, then derives the properties asked for."""
        if atoms is None and self.atoms is None:
            raise CalculatorSetupError("`atoms` must be given, got none: attach the calculator with atoms.calc = ...")
        if system_changes:
            self.solution, self.results = None, {}  # those of other atoms must not outlive a failure, or an interrupt
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call,unused-ignore]
        if self.solution is None:
            if not self._is_as_it_was("charge", "potential", "spin"):
                self.past = Extrapolation()
            self.solution = self._solve()
        periodic = self.solution.structure.pbc[0]
        if "stress" in properties and not self.solution.structure.has_stress[0]:
            raise PropertyNotImplementedError(
                f"stress needs a periodic cell with a volume, got pbc {periodic.tolist()} and one of "
                f"{float(self.solution.structure.volume[0]):g} bohr^3"
            )
        if "dipole" in properties and periodic.all():
            raise PropertyNotImplementedError(f"dipole needs an open axis, got pbc {periodic.tolist()}")
        self.results.update(results(self.solution, properties))

    def _solve(self) -> Solution:
        assert self.atoms is not None
        try:
            structure = Structure.from_ase(self.atoms, self.charge, self.spin)
            solution = self._model()(structure, start=self.past.start(structure))
        except SolverError as error:
            raise SCFError(str(error)) from error
        except ValueError as error:
            raise InputError(str(error)) from error
        for note in note_on_charge(solution):
            warnings.warn(note, UserWarning, stacklevel=2)
        self.past.add(solution)
        self._used = self._state
        return solution


def _same(one: Any, other: Any) -> bool:
    return one is other or (isinstance(one, numbers.Real) and isinstance(other, numbers.Real) and one == other)


def results(solution: Solution, properties: Iterable[str] = (), s: int = 0) -> dict[str, Any]:
    """What ASE calls results, of a structure, in eV, angstrom, e: energies, charges, and what is asked for.

    Args:
        solution: of one structure, or of a batch of structures with the same periodic axes.
        properties: "forces", "stress" (Voigt order, eV / angstrom^3, of periodic axes; there is none along open ones), "dipole"
            (e angstrom, about the origin, along open axes).
        s: which structure of the batch.
    """
    structure, of = solution.structure, solution.structure.index == s
    found = {
        "energy": float(solution.energy[s].detach()) / eV,
        "free_energy": float(solution.grand_potential[s].detach()) / eV,
        "charges": solution.charges[of].detach().cpu().numpy().copy(),
    }
    if "stress" in properties:  # forces are of the same pass then
        along = torch.eye(3).to(structure.cell) - structure.open_projector[s]
        stress = along @ solution.virial()[s].detach() @ along / structure.volume[s]
        found["stress"] = full_3x3_to_voigt_6_stress(stress.cpu().numpy()) * (angstrom**3 / eV)
    if "forces" in properties:
        found["forces"] = solution.forces()[of].detach().cpu().numpy() * (angstrom / eV)
    if "dipole" in properties:
        found["dipole"] = solution.dipole[s].detach().cpu().numpy() / angstrom
    return found


def annotated(atoms: Atoms, solution: Solution, s: int = 0) -> Atoms:
    """A copy of the atoms with the results of structure s of a batch, see `results`, as ASE keeps them.

    Dipoles (e angstrom) and quadrupoles (e angstrom^2) of atoms are in arrays, where the basis has them.
    """
    structure = solution.structure
    pbc, of = structure.pbc[s], structure.index == s
    wanted = ["forces", *(["stress"] if structure.has_stress[s] else []), *([] if pbc.all() else ["dipole"])]
    copy: Atoms = atoms.copy()
    for l, name in list(enumerate(("dipoles", "quadrupoles"), 1))[: solution.model.basis.lmax]:  # noqa: E741
        copy.arrays[name] = getattr(solution, name)[of].detach().cpu().numpy() / angstrom**l
    copy.info.pop("total_charge", None)
    copy.info["charge"] = round(float(solution.total_charge[s].detach()), 9) + 0.0  # no noise of the solve
    copy.arrays.pop("initial_charges", None)
    copy.calc = SinglePointCalculator(copy, **results(solution, wanted, s))
    return copy
