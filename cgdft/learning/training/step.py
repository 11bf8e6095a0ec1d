"""One step: the loss of a batch, shared by all processes, and its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cgdft.learning.data.frames import Batch
from cgdft.learning.data.quantities import parts_of
from cgdft.learning.training.distributed import World
from cgdft.learning.training.loss import measured, wanted
from cgdft.learning.training.prediction import Prediction, Unsolved
from cgdft.learning.training.schedules import Way
from cgdft.learning.training.starts import Starts
from cgdft.model import Model
from cgdft.naming import few
from cgdft.solver import SolverError


class TrainingError(RuntimeError):
    """A training that cannot go on; what was written before stays."""


@dataclass
class Sums:
    """Squared errors of an epoch, summed with the numbers of their entries.

    Attributes:
        totals, counts: by name.
        frames: of the epoch.
        failed: names of frames that were not solved, and why.
        learnt: names of errors that weights of the model are known to change.
    """

    totals: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    frames: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    learnt: set[str] = field(default_factory=set)

    @property
    def means(self) -> dict[str, float]:
        """Weighted mean squared errors by name."""
        return {name: total / self.counts[name] for name, total in self.totals.items() if self.counts[name]}

    @property
    def loss(self) -> float:
        """Their sum; infinite if nothing was solved."""
        return math.fsum(self.means.values()) if self.means else math.inf

    def add(self, name: str, total: float, count: float) -> None:
        """One batch's."""
        self.totals[name] = self.totals.get(name, 0.0) + total
        self.counts[name] = self.counts.get(name, 0.0) + count


def attempt(way: Callable[[], Prediction], batch: Batch) -> tuple[Prediction | None, dict[str, str]]:
    """A prediction, and why frames are missing from it; None without any."""
    try:
        prediction = way()
    except Unsolved as error:
        return None, error.failed
    except SolverError as error:
        return None, {frame.name: str(error) for frame in batch.frames}
    return prediction, prediction.failed


def backward(
    model: Model,
    way: Way,
    batch: Batch,
    weights: Mapping[str, float],
    starts: Starts,
    world: World,
    sums: Sums,
    huber: float | None,
) -> dict[str, str]:
    """Add the gradient of the loss of a batch, of which this process has a share; say which frames failed.

    L = sum_k (w_k / n_k) sum_processes sum (error / scale)^2, n_k entries of all processes together; large errors as `penalty`.

    Raises:
        TrainingError: a loss that is no number.
    """
    names = [part for name in weights for part in parts_of(name)]
    prediction, failed = attempt(lambda: way(model, batch, wanted(batch, weights), starts.of(batch)), batch)
    means = {} if prediction is None else measured(prediction, weights, huber)
    share = torch.zeros(2, len(names), dtype=torch.float64)
    for k, name in enumerate(names):
        if name in means:
            mean, entries = means[name]
            share[0, k], share[1, k] = entries * float(mean.detach()), entries
    together = world.sum(share.clone())
    if not torch.isfinite(together).all():
        held = few([frame.name for frame in batch.frames])
        raise TrainingError(
            f"the loss of a batch must be a number, got {', '.join(_bad(names, together))}; frames {held}; look for labels out "
            f"of all bounds, or lower `learning_rate`"
        )
    if means and prediction is not None:
        terms = [means[name][0] * (share[1, k] / together[1, k]) for k, name in enumerate(names) if name in means]
        loss: Tensor = torch.stack(terms).sum()
        if loss.requires_grad:
            try:
                sums.learnt |= _changed(model, {name: one for name, (one, _) in means.items() if name not in sums.learnt})
                loss.backward(inputs=[w for w in model.parameters() if w.requires_grad])  # not by positions: they stay
            except SolverError as error:  # of the adjoint: all of these frames' gradients are lost
                failed = {**failed, **{frame.name: str(error) for frame in prediction.batch.frames}}
                model.zero_grad(set_to_none=True)
        starts.keep(prediction)
    for k, name in enumerate(names):
        if together[1, k]:
            sums.add(name, float(together[0, k]), float(together[1, k]))
    return failed


def _changed(model: Model, means: Mapping[str, Tensor]) -> set[str]:
    """Which of the means weights of the model change."""
    weights, found = [w for w in model.parameters() if w.requires_grad], set()
    for name, mean in means.items():
        if mean.requires_grad:
            slopes = torch.autograd.grad(mean, weights, retain_graph=True, allow_unused=True)
            found |= {name} if any(one is not None and one.any() for one in slopes) else set()
    return found


def _bad(names: list[str], together: Tensor) -> list[str]:
    return [f"{name} {float(together[0, k])}" for k, name in enumerate(names) if not math.isfinite(float(together[0, k]))]
