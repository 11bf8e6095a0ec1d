"""A model: functional, basis, ansatz, constraints and solver. Calling it on a structure gives the solution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from cgdft.ansatz import Ansatz, CoefficientsLike, Free, coefficients_of
from cgdft.basis import Multipoles
from cgdft.checks.declared import check_charge, check_declared
from cgdft.checks.registered import check_registered
from cgdft.checks.returned import accepted
from cgdft.checks.stated import check_stated
from cgdft.constraint import Constraint, TotalCharge, TotalSpin
from cgdft.derivatives.probe import Prepared
from cgdft.derivatives.settings import OF_MODULES, PLAIN, named_by, parts, settings
from cgdft.derivatives.solved import Derivatives, forbid_inference
from cgdft.electrostatics.pairs import neighbours
from cgdft.finite import finite
from cgdft.functional import Functional
from cgdft.problems.problem import Problem
from cgdft.solution import Solution
from cgdft.solver import Minimum, Solver, SolverError, Status
from cgdft.structure import Structure, require_structure
from cgdft.terms import Term
from cgdft.units import angstrom

#: What solvers keep from solve to solve, of a model and of those made of it by `replace`.
_memories: WeakKeyDictionary[Model, dict[str, Any]] = WeakKeyDictionary()

#: What there is to say of slabs and wires without a minimum whose charge may change.
CHARGED_SLAB = (
    "the energy has no minimum: the total charge is free, and the potential of a charged slab or wire has no zero; add "
    "TotalCharge(), within which potentials are held, or hold a PotentialDifference"
)


class Model(nn.Module):
    """min over p = p0 + L x of E[p; R] at fixed charges or potentials.

    Args:
        functional: a sum of terms.
        basis: the Gaussian multipoles.
        ansatz: which densities are allowed; default: all of the basis.
        constraints: linear charges, fixed or held at a potential; default: the total charge of the structure, and its spin in a
            spin-resolved basis. An empty list leaves every charge to the functional.
        solver: default: Direct for quadratic functionals whose Hessian is a matrix (see `Hartree`), CG to a residual of
            1e-10 for larger ones, Newton for the rest, SelfConsistent for response laws.
        name: how reports call it.
        references: keys of the literature in `references.bib`.
        readout: the energy that is reported, where it is another than the one that is minimised (4G-HDNNP); its derivatives
            are those of the whole, the response of the density included.

    Raises:
        TypeError: an argument of another kind.
    """

    def __init__(
        self,
        functional: Functional | Term,
        basis: Multipoles,
        ansatz: Ansatz | None = None,
        constraints: Sequence[Constraint] | None = None,
        solver: Solver | None = None,
        name: str = "",
        references: Sequence[str] = (),
        readout: Functional | Term | None = None,
    ) -> None:
        super().__init__()
        readout = Functional([readout]) if isinstance(readout, Term) else readout
        functional = Functional([functional]) if isinstance(functional, Term) else functional
        ansatz = Free() if ansatz is None else ansatz
        usual: list[Constraint] = [TotalCharge(), TotalSpin()] if getattr(basis, "spin", False) else [TotalCharge()]
        if isinstance(constraints, Constraint):
            raise TypeError(f"`constraints` must be a list of Constraint objects, got {constraints!r}")
        constraints = usual if constraints is None else list(constraints)
        for what, value, kind in (
            ("functional", functional, Functional),
            ("basis", basis, Multipoles),
            ("ansatz", ansatz, Ansatz),
            ("readout", readout or functional, Functional),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"`{what}` must be a {kind.__name__}, got {value!r}")
        for one in constraints:
            if not isinstance(one, Constraint):
                raise TypeError(f"`constraints` must be Constraint objects, got {one!r}")
        if solver is not None and not isinstance(solver, Solver):
            raise TypeError(f"`solver` must be a Solver, such as cgdft.solvers.Newton(), got {solver!r}")
        self.functional, self.basis, self.ansatz, self.readout = functional, basis, ansatz, readout
        self.constraints, self.solver = constraints, solver
        self.name, self.references = name or type(self).__name__, tuple(references)
        check_registered(self)

    def __add__(self, term: Term | Functional) -> Model:
        functional = self.functional + term
        readout = None if self.readout is None else self.readout + term
        return self.replace(functional=functional, readout=readout, name=f"{self.name} + {_names(term)}")

    __radd__ = __add__

    def replace(self, **changes: Any) -> Model:
        """The same model with some of its constructor's arguments changed."""
        kept = {
            name: getattr(self, name)
            for name in ("functional", "basis", "ansatz", "constraints", "solver", "name", "references", "readout")
        }
        made = Model(**{**kept, **changes})
        _memories[made] = _memories.setdefault(self, {})
        return made

    def at_potential(self, potential: float) -> Model:
        """The same model with its total charge replaced by a potential V = dE/dq, hartree / e: grand canonical.

        Raises:
            TypeError: no potential.
            ValueError: a model without a constraint on its total charge, or with an infinite potential.
        """
        if potential is None:
            raise TypeError("`potential` must be a number in hartree / e, got None: leave at_potential out for a fixed charge")
        if not any(isinstance(one, TotalCharge) for one in self.constraints):
            names = ", ".join(type(one).__name__ for one in self.constraints) or "none"
            raise ValueError(f"`potential` needs a model with a TotalCharge constraint to replace, got constraints: {names}")
        held = [TotalCharge(potential=potential) if isinstance(one, TotalCharge) else one for one in self.constraints]
        return self.replace(constraints=held)

    def problem(self, structure: Structure) -> Problem:
        """What a solver sees of this model on a structure."""
        require_structure(structure)
        for constraint in self.constraints:
            structure = constraint.charged(structure)
        return self.ansatz.problem(structure, self.basis, self.functional, self.constraints, self.readout)

    def chosen_solver(self, problem: Problem) -> Solver:
        """The solver of this model, or the usual one of the problem.

        Raises:
            ValueError: one that is for another kind of problem.
        """
        if self.solver is None:
            return problem.usual_solver()
        if not isinstance(problem, self.solver.solves):
            raise ValueError(
                f"`solver` must be one for {problem.kind}, which {self.name} is, got one for {self.solver.solves.kind}, "
                f"{self.solver!r}; leave it out to have it chosen"
            )
        return self.solver

    def forward(self, structure: Structure, start: Solution | CoefficientsLike | None = None, throw: bool = True) -> Solution:
        """The minimum on a structure or on every structure of a batch.

        A solution holds the graph from which its forces follow, 1 MB for a molecule of ten atoms and a network. Under
        `torch.no_grad()` it holds none, and what forces need is prepared again when they are asked for.

        Args:
            start: solution of a similar structure to begin with, or charges or coefficients as in `Fixed` (molecular dynamics:
                see `Extrapolation`).
            throw: whether a solve that failed raises; else see `solution.status`; the response of what failed is NaN.

        Raises:
            SolverError: no minimum found, with status and residual history.
            TypeError, ValueError: input that makes no sense; the message names the argument.
            RuntimeError: within torch.inference_mode().
        """
        require_structure(structure)
        forbid_inference()
        before = settings(self)
        prepared = Prepared.of(self, structure) if torch.is_grad_enabled() else None
        problem = self.problem(structure) if prepared is None else prepared.problem
        solver, minimum = self.solve(problem, None if start is None else _begun(problem, start), throw)
        return Solution(Derivatives(self, structure, problem, solver, minimum, prepared, before))

    def solve(self, problem: Problem, start: Tensor | None = None, throw: bool = True) -> tuple[Solver, Minimum]:
        """The minimum of this model's problem, from x = `start` (n_x,), and the solver that found it; without a graph.

        Raises:
            SolverError: as the call.
        """
        problem.memory = _memories.setdefault(self, {})
        with torch.no_grad():
            solver = self.chosen_solver(problem)
            _check_covered(problem)
            if len(problem.index) == 0:
                empty = problem.space.origin.new_zeros(0)
                multipliers = problem.rows.multipliers(empty)
                minimum = Minimum(empty, multipliers, [Status.CONVERGED] * problem.n, multipliers.new_zeros(1, problem.n))
            else:
                minimum = solver.minimise(problem, start)
                minimum = accepted(minimum, problem, solver)
            if finite(minimum.x):
                check_declared(problem, minimum.x)
                check_charge(self.functional, problem, minimum.x)
                check_stated(problem, minimum)
        failed = [s for s, status in enumerate(minimum.status) if status is not Status.CONVERGED]
        if failed and throw:
            s = failed[0]
            axes = int(problem.structure.pbc[s].sum())
            free = minimum.status[s] is Status.UNBOUNDED and axes in (1, 2) and not problem.neutral
            why = CHARGED_SLAB if free else minimum.status[s].value
            if minimum.status[s] is Status.UNBOUNDED and not free:
                why += _nearest(problem.structure, s)
            norms = ", ".join(f"{r:.2e}" for r in minimum.history[-6:, s].tolist())
            where = f"structure {s} ({len(failed)} of {problem.n} failed)" if problem.n > 1 else "the structure"
            raise SolverError(
                f"{type(solver).__name__} on {where}: {why}. Residuals ({solver.residual_unit}), last of "
                f"{len(minimum.history)}: {norms}",
                minimum.status,
                minimum.history,
            )
        return solver, minimum

    def given(self, structure: Structure) -> list[Any]:
        """All that a solution may depend on: tensors of model and structure, and plain functions, which may hide some.

        Raises:
            ValueError: what gives another value each time.
        """
        found: list[Any] = []
        _gather([getattr(structure, one.name) for one in fields(structure)], found)
        for constraint in self.constraints:
            _gather(vars(constraint).values(), found)
        for _, module in parts(self):
            if module.training and isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
                raise ValueError(
                    f"`model` must give the same each time it is asked, as energy, charges and forces ask apart, got {module} "
                    "that draws anew: call model.eval(), or leave it out"
                )
            own = vars(module)
            _gather(module._parameters.values(), found)
            _gather(module._buffers.values(), found)
            _gather([own[name] for name in own.keys() - OF_MODULES], found)
        return found

    def __repr__(self) -> str:
        solver = "chosen by the problem" if self.solver is None else repr(self.solver)
        terms = " + ".join(term.name for term in self.functional)
        return (
            f"Model {self.name}: {terms}; l <= {self.basis.lmax}; {type(self.ansatz).__name__}; "
            f"{', '.join(type(c).__name__ for c in self.constraints) or 'no constraint'}; solver {solver}"
        )


def _begun(problem: Problem, start: Solution | CoefficientsLike) -> Tensor | None:
    """x where the density is that of `start`, or near to it."""
    with torch.no_grad():
        p = start.problem.space.coefficients(start.minimum.x) if isinstance(start, Solution) else start
        return problem.start(coefficients_of(p, problem.structure, problem.basis, "start"))


def _gather(values: Iterable[Any], found: list[Any]) -> None:
    """Tensors and functions among values and in dicts, lists, tuples and dataclasses of them."""
    for one in values:
        if type(one) in PLAIN or isinstance(one, nn.Module):
            continue
        if isinstance(one, Tensor) or callable(one):
            found.append(one)
            found += [] if isinstance(one, Tensor) else _behind(one)
        elif isinstance(one, Mapping):
            _gather(one.values(), found)
        elif isinstance(one, list | tuple):
            _gather(one, found)
        elif is_dataclass(one):
            _gather([getattr(one, each.name) for each in fields(one)], found)


def _behind(function: Any) -> list[Tensor]:
    """Tensors, also those of modules, that a function names."""
    found: list[Tensor] = []
    for one in (getattr(function, "__self__", None), *(value for _, value in named_by(function))):
        found += [one] if isinstance(one, Tensor) else [*one.parameters(), *one.buffers()] if isinstance(one, nn.Module) else []
    return found


def _nearest(structure: Structure, s: int) -> str:
    """How near the nearest atoms of a structure are, if they are near: a wrong unit is seen of it."""
    i, _, apart = neighbours(structure, s, 6.0, both=False)
    if not len(i):
        return ""
    nearest = float((apart**2).sum(1).min() ** 0.5)
    return f"; the nearest atoms are {nearest:.2f} bohr apart, {nearest / angstrom:.2f} angstrom"


def _names(term: Term | Functional) -> str:
    return term.name if isinstance(term, Term) else " + ".join(one.name for one in term)


def _check_covered(problem: Problem) -> None:
    """Every charge that may move must be under a constraint, when there are any.

    Raises:
        ValueError: naming the atoms that are not.
    """
    rows = [*problem.fixed, *problem.held]
    if not rows or len(problem.index) == 0:
        return
    free = torch.ones_like(problem.structure.index, dtype=torch.bool)
    for row in rows:
        free = free & (row.weights[:, 0] == 0)
    loose = torch.nonzero(free).flatten().tolist()
    weights = torch.zeros_like(problem.space.origin)
    weights[:, 0] = free.to(weights)
    if loose and problem.moves(weights):
        raise ValueError(
            f"`constraints` must cover every atom whose charge may change, got none for atoms {loose[:6]}; add TotalCharge(), "
            "a FragmentCharge of each ion or molecule, or charges by Free(atoms, p0) (constraints=[] leaves all charges to the "
            "functional)"
        )
