"""Ways to train a functional: at the density of the reference, through its minimum, or through steps towards it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cgdft.derivatives.observables import Observables
from cgdft.derivatives.probe import Probe
from cgdft.learning.data.frames import Batch
from cgdft.learning.training.prediction import Prediction, at_density, changed, minimised, moved, shared
from cgdft.model import Model
from cgdft.naming import few
from cgdft.problems.minimisation import Minimisation

#: (model, batch, quantities wanted, where to start) -> prediction.
Way = Callable[[Model, Batch, Sequence[str], Tensor | None], Prediction]


def implicit(model: Model, batch: Batch, wanted: Sequence[str], start: Tensor | None = None) -> Prediction:
    """Through the minimum: what is used is what is trained."""
    return minimised(model, batch, wanted, start)


def direct(model: Model, batch: Batch, wanted: Sequence[str], start: Tensor | None = None) -> Prediction:
    """At the reference's density p: E(p) and -dE/dR at fixed p are its energy and forces, and p is a solution of the model.

    Nothing is solved: what vanishes is `Problem.departure`. Models without anything to solve are trained as they are.

    Raises:
        ValueError: frames without multipoles, or an ansatz of which it is not known.
    """
    if not len(model.problem(batch.structure).index):
        return minimised(model, batch, wanted, start)
    p = reference_density(model, batch)
    structure, changes = moved(batch, wanted)
    with batch.remembering(structure):
        problem, response = at_density(model, structure, p)
        departure = problem.departure(p)
        if isinstance(problem, Minimisation) and problem.space.entries is not None and problem.readout is None:
            with batch.remembering(batch.structure):
                still = model.problem(batch.structure)
            assert isinstance(still, Minimisation)
            x, multipliers = still.answered(p)
            response = _of_modes(problem, response, x, multipliers)
        extra = {"stationarity": departure, **shared(model, structure)}
    return Prediction(batch, changed(response, changes), None, {}, extra)


def unrolled(steps: int = 20) -> Way:
    """Through so many steps of preconditioned descent from equal charges: a baseline."""

    def way(model: Model, batch: Batch, wanted: Sequence[str], start: Tensor | None = None) -> Prediction:
        structure, changes = moved(batch, wanted)
        with batch.remembering(structure), torch.enable_grad():
            problem = model.problem(structure)
            if not len(problem.index):
                return minimised(model, batch, wanted, start)
            if not isinstance(problem, Minimisation):
                raise ValueError(f"`schedule` unrolled needs a functional, got {problem.kind}; train implicitly")
            rows = problem.rows
            with torch.no_grad():
                x = rows.particular(rows.target)
                inverse = 1 / problem.diagonal(x)
            x = x.requires_grad_()
            for _ in range(steps):
                x = x - rows.particular(problem.excess(x))  # zero, with derivatives by what the constraints depend on
                with torch.no_grad():
                    multipliers = rows.multipliers(problem.gradient(x))
                slope = torch.autograd.grad(problem.lagrangian(x, multipliers).sum(), x, create_graph=True)[0]
                x = x - 0.5 * rows.project(inverse * rows.project(slope))
            rho = problem.density(x)
            slope = torch.autograd.grad(problem.objective(x).sum(), x, create_graph=True)[0]
            probe = Probe.of(problem)
            multipliers = rows.multipliers(slope)
            value = problem.value(x, multipliers, probe)
            response = Observables(problem, probe, rho, multipliers, value, problem.work(rho), x)
            extra = shared(model, structure)
        return Prediction(batch, changed(response, changes), x.detach(), {}, extra)

    return way


def reference_density(model: Model, batch: Batch) -> Tensor:
    """The multipoles of the labels in the model's basis, (n_atoms, size); what they lack is zero.

    Raises:
        ValueError: a frame without them.
    """
    without = [frame.name for frame in batch.frames if "multipoles" not in frame.labels]
    if without:
        raise ValueError(f"`schedule` direct needs multipoles of every frame, got none for {few(without)}; train implicitly")
    size = model.basis.size
    parts = [torch.nn.functional.pad(f.labels["multipoles"][:, :size], (0, size)) for f in batch.frames]
    return torch.cat([part[:, :size] for part in parts])


def _of_modes(problem: Minimisation, response: Observables, x: Tensor, multipliers: Tensor) -> Observables:
    """The energy of x, which knows nothing of the atoms' displacements: 1/2 stiffness x^2 + E[p0 + L x]."""
    rho = problem.density(x)
    value = problem.value(x, multipliers, response.probe)
    return Observables(problem, response.probe, rho, multipliers, value, problem.work(rho), x)
