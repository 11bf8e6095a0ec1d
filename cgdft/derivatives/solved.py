"""The solution with the graph that derivatives need, for as long as what it depends on is what it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cgdft.density import Density
from cgdft.derivatives.chord_newton import respond
from cgdft.derivatives.observables import Observables
from cgdft.derivatives.probe import PREPARED, Prepared, Probe, leaves
from cgdft.derivatives.settings import changed, lasting, parts, settings
from cgdft.foreign import is_foreign
from cgdft.problems.minimisation import DIRECT, Minimisation
from cgdft.solver import Status, verified

if TYPE_CHECKING:
    from cgdft.model import Model
    from cgdft.problems.problem import Problem
    from cgdft.solver import Inverse, Minimum, Solver
    from cgdft.structure import Structure

#: Where memory is that processes share: tensors are moved there where a solution is sent to one, which is no change.
SHARED = -1


def forbid_inference() -> None:
    """Raise a RuntimeError within torch.inference_mode(), where derivatives would be zero or fail."""
    if torch.is_inference_mode_enabled():
        raise RuntimeError("torch.inference_mode() forbids derivatives, by which minima are found: use torch.no_grad()")


class Parameters:
    """Those of a model at a solve, and where it holds them: `torch.func.functional_call` takes others, within a call."""

    def __init__(self, model: Model) -> None:
        self._held = [(of, name, one) for _, each in parts(model) for of in _stores(each) for name, one in of.items()]

    @property
    def exchanged(self) -> bool:
        """Whether the model holds others by now."""
        return any(name not in of or of[name] is not one for of, name, one in self._held)

    @property
    def have_places(self) -> bool:
        """Whether the model still has a place of its name for each."""
        return all(name in of for of, name, _ in self._held)

    @contextmanager
    def as_solved(self) -> Iterator[None]:
        """Within it, the model holds those of the solve."""
        others = [(of, name, of[name]) for of, name, one in self._held if of[name] is not one]
        try:
            for of, name, one in self._held if others else ():
                of[name] = one
            yield
        finally:
            for of, name, one in others:
                of[name] = one


def _stores(module: torch.nn.Module) -> list[dict[str, Tensor | None]]:
    return [module._parameters, module._buffers]  # type: ignore[list-item]


@dataclass(eq=False)
class Inverses:
    """K^-1 and K^-T at a solution, made when one is first applied; structures whose solve failed stay where it ended.

    Graphs hold them: they must not hold what holds the graphs, or nothing of it would be freed.
    """

    problem: Problem
    solver: Solver
    minimum: Minimum
    parameters: Parameters

    @cached_property
    def _made(self) -> tuple[Inverse, Inverse]:
        problem, solver, x = self.problem, self.solver, self.minimum.x
        with torch.no_grad(), self.parameters.as_solved():
            inverse, adjoint = problem.linearised(solver, x, self.minimum.multipliers)
            if isinstance(problem, Minimisation) and is_foreign(solver):
                return verified(problem, x, inverse, solver), verified(problem, x, adjoint, solver)
            return inverse, adjoint

    @cached_property
    def failed(self) -> Tensor | None:
        """Structures whose solve failed, (n_structures,); None if there are none."""
        failed = [one is not Status.CONVERGED for one in self.minimum.status]
        return torch.tensor(failed, device=self.problem.index.device) if any(failed) else None

    def __getitem__(self, which: int) -> Inverse:
        def inverse(rx: Tensor, rl: Tensor) -> tuple[Tensor, Tensor]:
            if not len(rx):
                return rx, torch.zeros_like(rl)
            if self.failed is not None:
                rx, rl = rx.masked_fill(self.failed[self.problem.index], 0.0), rl.masked_fill(self.failed[:, None], 0.0)
            return self._made[which](rx, rl)

        return inverse


@dataclass(eq=False)
class Derivatives:
    """The observables of a solution, with the derivatives asked for, and two more by users.

    Args:
        model, structure, problem, solver, minimum: of the solution.
        prepared: the problem with a graph to displacement, strain and charge, where it is at hand.
        before: settings before the solve, where they are at hand.
    """

    model: Model
    structure: Structure
    problem: Problem
    solver: Solver
    minimum: Minimum
    prepared: Prepared | None = None
    before: dict[tuple[str, str], Any] | None = None

    def __post_init__(self) -> None:
        self.grad_mode = torch.is_grad_enabled()
        self.parameters, self._parts = Parameters(self.model), self._current_parts()
        now = settings(self.model)
        self._settings = now if self.before is None else lasting(self.model, self.before, now)
        self._depends_on = self.model.given(self.structure)
        self._versions = self._current_versions()

    @property
    def failed(self) -> Tensor | None:
        """Structures whose solve failed, (n_structures,); None if there are none."""
        return self._inverses.failed

    @property
    def outdated(self) -> bool:
        """Whether structure or model have been changed in place since the solve, or the model holds other parameters."""
        return self.parameters.exchanged or self._changed

    def require_current(self) -> None:
        """Raise a RuntimeError if they have been changed in place."""
        if self._changed:
            what = "".join(f" ({name} of {of})" for of, name in self._other_settings()[:1])
            raise RuntimeError(f"the structure or the model was changed in place since it was solved{what}: solve it again")

    @cached_property
    def _leaves(self) -> list[Tensor]:
        """What the energy, or what determines x, depends on and requires a gradient."""
        possible = any(one.requires_grad if isinstance(one, Tensor) else True for one in self._depends_on)
        if not (self.grad_mode and possible):
            return []
        with torch.enable_grad(), self.parameters.as_solved():
            values = self.problem.determined(self.minimum.x, self.minimum.multipliers)
        return leaves(values, self._prepared)

    @property
    def wanted(self) -> bool:
        """Whether there is anything by which a user may differentiate."""
        return bool(self._leaves)

    @property
    def graph(self) -> torch.set_grad_enabled:
        """Within it, what is returned has a graph where that is wanted."""
        return torch.set_grad_enabled(self.wanted)

    @property
    def variables(self) -> list[Tensor]:
        """By which a user may differentiate what is asked for."""
        held = [one for one in self._depends_on if isinstance(one, Tensor) and one.requires_grad]
        known = {id(one) for one in held}
        return [*held, *(one for one in self._leaves if id(one) not in known)] if self.wanted else []

    @cached_property
    def state(self) -> Observables:
        """The solution itself."""
        forbid_inference()
        if self.wanted:
            return self.by()
        x, multipliers, problem, structure = self.minimum.x, self.minimum.multipliers, self.problem, self.structure
        with torch.no_grad(), self.parameters.as_solved():
            moving = problem.basis.width(structure).requires_grad
            basis = self.model.basis.prepare(structure) if moving else problem.basis
            rho = Density(structure, basis, problem.space.coefficients(x), problem.crossed(x))
            probe = Probe.of(problem)
            at_hand = self.prepared is not None and not problem.orders_behind  # forces will need it with a graph
            value = self._moved_once.value.detach() if at_hand else problem.value(x, multipliers, probe)
            return Observables(problem, probe, rho, multipliers, value, problem.work(rho), x)

    def moved(self, by: str) -> Observables:
        """The energy as a function of a change that a problem is prepared by; of all of them, once, if no graph is wanted.

        A user's derivatives free the graph.
        """
        self.require_current()
        forbid_inference()
        return self.by(by, energy=True) if self.wanted else self._moved_once

    @cached_property
    def _moved_once(self) -> Observables:
        return self.by(*PREPARED, energy=True)

    def by(self, *changes: str, order: int = 1, energy: bool = False, many: bool = False) -> Observables:
        """With derivatives by changes of the probe, and two more by what requires a gradient, of all or of the energy.

        Args:
            order: of derivatives by the changes.
            energy: whether it is all that is differentiated.
            many: whether a derivative by each coefficient is asked for, which is worth a factorisation.
        """
        forbid_inference()
        self.require_current()

        orders = (order if changes else 0) + 2 * self.wanted
        steps = orders // 2 if energy and not self.problem.orders_behind else orders
        inverses = self._factors if many else self._inverses
        both = inverses[0], inverses[1]
        # where a user derives further, that frees the graph of what moves, and of nothing else
        apart = self.wanted and {*PREPARED} & {*changes}
        x, multipliers, by = self.minimum.x, self.minimum.multipliers, self.variables
        with self.parameters.as_solved():
            prepared = Prepared.of(self.model, self.structure) if apart else self._prepared
            return respond(prepared.problem, prepared.probe(changes), x, multipliers, both, steps, by=by)

    @cached_property
    def _prepared(self) -> Prepared:
        if self.prepared is not None:
            return self.prepared
        with self.parameters.as_solved():
            return Prepared.of(self.model, self.structure)

    @cached_property
    def _inverses(self) -> Inverses:
        return Inverses(self.problem, self.solver, self.minimum, self.parameters)

    @cached_property
    def _factors(self) -> Inverses:
        small = isinstance(self.problem, Minimisation) and self.problem.side <= DIRECT
        if not small or is_foreign(self.solver):
            return self._inverses
        from cgdft.solvers import Direct

        return Inverses(self.problem, Direct(), self.minimum, self.parameters)

    @property
    def _changed(self) -> bool:
        known = self.parameters.have_places and self._current_parts() == self._parts
        both = zip(self._current_versions(), self._versions, strict=True)
        same = all(version == before and place in (was, SHARED) for (version, place), (before, was) in both)
        return not (known and same) or bool(self._other_settings())

    def _current_parts(self) -> list[int]:
        """What the model is made of."""
        return [id(one) for one in (*(one for _, one in parts(self.model)), *self.model.constraints)]

    def _other_settings(self) -> list[tuple[str, str]]:
        """Those that are no longer what they were."""
        return changed(self.model, self._settings)

    def _current_versions(self) -> list[tuple[int, int]]:
        """How often what the solution depends on has been changed in place, and where it is."""
        tensors = [one for one in self._depends_on if isinstance(one, Tensor)]
        shared = [one.device.type == "cpu" and one.is_shared() for one in tensors]
        return [(one._version, SHARED if k else one.data_ptr()) for one, k in zip(tensors, shared, strict=True)]
