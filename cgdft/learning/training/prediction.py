"""What a model says of a batch, with the graph that training needs: energies and their derivatives at the minimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cgdft.density import Density
from cgdft.derivatives.chord_newton import respond
from cgdft.derivatives.observables import Observables, Undefined
from cgdft.derivatives.probe import Probe
from cgdft.functionals.models.local_multipoles import SharedExcess
from cgdft.learning.data.frames import Batch
from cgdft.learning.data.quantities import QUANTITIES
from cgdft.model import Model
from cgdft.naming import few
from cgdft.problems.minimisation import DIRECT, Minimisation
from cgdft.problems.problem import Problem
from cgdft.solver import Minimum, SolverError, Status
from cgdft.solvers import Direct
from cgdft.structure import Structure


class Unsolved(SolverError):
    """No frame of a batch has a minimum; `failed` says of each by its name why."""

    def __init__(self, failed: dict[str, str], minimum: Minimum) -> None:
        super().__init__(f"no frame of a batch has a minimum: {reasons(failed)}", minimum.status, minimum.history)
        self.failed = failed


def reasons(failed: Mapping[str, str]) -> str:
    """Why frames have no minimum, each reason once."""
    return "; ".join(
        f"{few([name for name in failed if failed[name] == why])}: {why}" for why in dict.fromkeys(failed.values())
    )


@dataclass(frozen=True, eq=False)
class Prediction:
    """The solution on a batch as a differentiable function of weights, displacement and strain.

    Attributes:
        batch: with the frames that were solved.
        response: of the minimum, or the same at another density; its probe has what is wanted to be differentiated by.
        minimum: x without a graph, to begin the next solve with; None where nothing was solved.
        failed: names of frames without a minimum, and why.
        extra: further losses of this way of training, by name: what should vanish.
    """

    batch: Batch
    response: Observables
    minimum: Tensor | None
    failed: dict[str, str]
    extra: dict[str, Tensor]

    @property
    def energy(self) -> Tensor:
        """(n_structures,), hartree."""
        return self.response.value + self.response.work

    def get(self, quantity: str, structures: Sequence[int]) -> Tensor | list[Tensor]:
        """A quantity of some structures: energies and the like stacked, those of atoms one after the other.

        Of susceptibilities and potentials, a list. Under `torch.no_grad` without a graph.

        Raises:
            ValueError: no such quantity.
            Undefined: one that the model does not have.
        """
        response, rho = self.response, self.response.density
        s = torch.as_tensor(list(structures))
        atoms = self.batch.atoms_of(structures)
        if quantity == "energy":
            return self.energy[s]
        if quantity == "forces":
            return response.forces()[atoms]
        if quantity == "stress":
            return response.virial()[s] / self.batch.structure.volume[s, None, None]
        if quantity == "dipole":
            return response.dipole[s]
        if quantity == "quadrupole":
            return rho.quadrupole[s]
        if quantity == "multipoles":
            return rho.multipoles[atoms]
        if quantity == "chemical_potential":
            names = [row.name for row in response.problem.fixed]
            if "total" not in names or not response.problem.rows.active[s, names.index("total")].all():
                raise Undefined(
                    "`quantity` chemical_potential needs a total charge that the model minimises with, got one whose total is "
                    "given by its reference density or by nothing; leave it out"
                )
            return -response.slope(response.value, "charge")[s]
        if quantity == "potential":
            return [self._potential(k) for k in structures]
        if quantity == "polarizability":
            return response.polarizability(s)[s]
        if quantity == "born_charges":
            return response.born_charges(s)[atoms]
        if quantity == "susceptibility":
            chi, sizes = response.susceptibility(), self.batch.structure.counts * rho.basis.size
            return [chi[k, : sizes[k], : sizes[k]] for k in structures]
        raise ValueError(f"`quantity` must be one of {', '.join(QUANTITIES)}, got {quantity!r}")

    def _potential(self, s: int) -> Tensor:
        part = self.batch.frames[s]
        atoms = self.batch.atoms_of([s])
        basis = self.response.problem.basis
        widths = self.response.density.sites.width[atoms]
        from cgdft.basis import Multipoles

        rho = Density(part.structure, Multipoles(basis.lmax, width=widths), self.response.density.multipoles[atoms])
        return rho.potential(part.labels["points"])


def minimised(model: Model, batch: Batch, wanted: Sequence[str], start: Tensor | None = None) -> Prediction:
    """At the minimum: its derivatives by weights are those of the whole, by one adjoint solve (implicit differentiation).

    Frames whose minimum is not found are left out and named.

    Raises:
        Unsolved: no frame has one.
    """
    failed: dict[str, str] = {}
    while True:
        structure, changes = moved(batch, wanted)
        with batch.remembering(structure):
            with torch.enable_grad():
                problem = model.problem(structure)
            solver, minimum = model.solve(problem, start, throw=False)
            bad = [s for s, status in enumerate(minimum.status) if status is not Status.CONVERGED]
            if not torch.isfinite(minimum.x).all():
                finite = torch.ones(len(batch), dtype=torch.bool)
                finite[problem.index[~torch.isfinite(minimum.x)]] = False
                bad = sorted({*bad, *torch.nonzero(~finite).flatten().tolist()})
            if not bad:
                order = max([QUANTITIES[name].order for name in wanted], default=0) + 1 + problem.orders_behind
                by = tuple({one for name in wanted for one in QUANTITIES[name].by} & {"field", "potential"})
                x, multipliers = minimum.x, minimum.multipliers
                if len(x):
                    dense = isinstance(problem, Minimisation) and problem.side <= DIRECT
                    with torch.no_grad():
                        both = problem.linearised(Direct() if dense else solver, x, multipliers)
                else:
                    both = (lambda rx, rl: (rx, torch.zeros_like(rl)),) * 2
                probe = replace(Probe.of(problem, by), **changes)
                response = respond(problem, probe, x, multipliers, both, order if len(x) else 0, economical=True)
                return Prediction(batch, response, x, failed, shared(model, structure))
        failed |= {batch.frames[s].name: minimum.status[s].value for s in bad}
        if len(bad) == len(batch):
            raise Unsolved(failed, minimum)
        batch, start = batch.without(bad), None


def moved(batch: Batch, wanted: Sequence[str]) -> tuple[Structure, dict[str, Tensor]]:
    """The batch's structure, displaced, strained and charged by nothing, with a graph to what is wanted of these; and these."""
    by, structure = {one for name in wanted for one in QUANTITIES[name].by}, batch.structure
    like = {"displacement": structure.positions, "strain": structure.cell, "charge": structure.charge}
    changes = {name: torch.zeros_like(one).requires_grad_(name in by) for name, one in like.items()}
    with torch.enable_grad():
        return structure.deformed(**changes), changes


def shared(model: Model, structure: Structure) -> dict[str, Tensor]:
    """What each `SharedExcess` of a model shares in each structure, "excess", e, (n,); nothing without any."""
    found = [module.excess(structure) for module in model.modules() if isinstance(module, SharedExcess)]
    return {"excess": torch.cat(found)} if found else {}


def changed(response: Observables, changes: dict[str, Tensor]) -> Observables:
    """The same response with these changes in its probe."""
    return replace(response, probe=replace(response.probe, **changes))


def at_density(model: Model, structure: Structure, p: Tensor) -> tuple[Problem, Observables]:
    """The energy at a given density, as if it were the minimum."""
    problem = model.problem(structure)
    rho = Density(structure, problem.basis, p)
    energy = (problem.readout or problem.functional).energy(rho)
    none = p.new_zeros(problem.n, len(problem.fixed))
    work = problem.work(rho)
    return problem, Observables(problem, Probe.of(problem), rho, none, energy - work, work, p.reshape(-1))
