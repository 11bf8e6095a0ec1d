"""How wrong a model is on frames: errors by quantity, in the units in which people quote them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cgdft.derivatives.observables import Undefined
from cgdft.learning.data.frames import Batch
from cgdft.learning.data.quantities import QUANTITIES, parts_of, scale_of
from cgdft.learning.data.units import SHOWN
from cgdft.learning.short_range import ShortRange
from cgdft.learning.training.distributed import World
from cgdft.learning.training.loss import divided, penalty, wanted
from cgdft.learning.training.prediction import Prediction
from cgdft.learning.training.schedules import implicit
from cgdft.learning.training.starts import Starts
from cgdft.learning.training.step import attempt
from cgdft.model import Model

#: Pairs of label and error kept of a quantity, for figures.
KEPT = 20000


@dataclass
class Errors:
    """Errors of one quantity: sums over its entries, and some entries for figures, all in Hartree atomic units.

    Attributes:
        n, squares, sizes: number of entries, sums of their errors' squares and absolute values.
        penalties: sum over the entries of what counts in the loss.
        labels, wrong: some labels, energies less those of the free atoms, and their errors.
    """

    n: float = 0.0
    squares: float = 0.0
    sizes: float = 0.0
    penalties: float = 0.0
    labels: list[Tensor] = field(default_factory=list)
    wrong: list[Tensor] = field(default_factory=list)

    @property
    def rmse(self) -> float:
        """Root mean square."""
        return math.sqrt(self.squares / self.n) if self.n else math.nan

    @property
    def mae(self) -> float:
        """Mean of absolute values."""
        return self.sizes / self.n if self.n else math.nan

    def add(self, label: Tensor, wrong: Tensor, penalties: float) -> None:
        """The entries of one batch."""
        self.penalties += penalties
        self.n += wrong.numel()
        self.squares += float((wrong * wrong).sum())
        self.sizes += float(wrong.abs().sum())
        if sum(map(len, self.labels)) < KEPT:
            self.labels.append(label.cpu())
            self.wrong.append(wrong.cpu())


@dataclass(frozen=True)
class Evaluation:
    """Errors of a model on frames.

    Attributes:
        errors: by quantity; multipoles apart as charges, dipoles and quadrupoles of atoms.
        frames: that were evaluated or failed.
        failed: frames without a minimum, and why; of all processes.
    """

    errors: dict[str, Errors]
    frames: int
    failed: dict[str, str]

    @property
    def left_out(self) -> int:
        """Number of frames without a minimum."""
        return len(self.failed)

    def loss(self, weights: Mapping[str, float]) -> float:
        """What training minimises, here: the weighted sum of mean penalties; infinite where nothing was solved."""
        found = [
            weight * self.errors[part].penalties / self.errors[part].n
            for name, weight in weights.items()
            for part in parts_of(name)
            if part in self.errors
        ]
        return math.fsum(found) if found else math.inf

    def to_dict(self) -> dict[str, Any]:
        """RMSE and MAE with their units, for JSON and metadata."""
        rows = {
            name: {"unit": SHOWN[name][0], "rmse": one.rmse * SHOWN[name][1], "mae": one.mae * SHOWN[name][1], "n": int(one.n)}
            for name, one in self.errors.items()
            if one.n
        }
        return {"frames": self.frames, "failed": self.left_out, "errors": rows}

    def table(self) -> str:
        """RMSE and MAE in lines."""
        lines = [f"{'quantity':<20} {'RMSE':>12} {'MAE':>12}  {'unit':<15} {'entries':>9}"]
        for name, row in self.to_dict()["errors"].items():
            lines.append(f"{name:<20} {row['rmse']:>12.4g} {row['mae']:>12.4g}  {row['unit']:<15} {row['n']:>9}")
        return "\n".join(lines)


def evaluate(
    model: Model,
    batches: Iterable[Batch],
    quantities: Sequence[str] | None = None,
    world: World | None = None,
    starts: Starts | None = None,
    huber: float | None = None,
) -> Evaluation:
    """Errors of a model at its minimum on batches of frames, of all labels that it has or of some quantities.

    Args:
        batches: of this process.
        world: the processes that evaluate together.
        starts: where solves begin.
        huber: of the loss.
    """
    world = world or World()
    weights = dict.fromkeys(QUANTITIES if quantities is None else quantities, 1.0)
    names = [part for name in QUANTITIES if weights.get(name) for part in parts_of(name)]
    found = {name: Errors() for name in names}
    failed: dict[str, str] = {}
    frames = 0
    asked, training = [p for p in model.parameters() if p.requires_grad], [one for one in model.modules() if one.training]
    model.eval()
    for p in asked:
        p.requires_grad = False
    try:
        for batch in (one.beside(model) for one in batches):
            frames += len(batch)
            start = None if starts is None else starts.of(batch)
            prediction, bad = attempt(lambda b=batch, s=start: implicit(model, b, wanted(b, weights), s), batch)  # type: ignore[misc]
            failed |= bad
            if prediction is None:
                continue
            if starts is not None:
                starts.keep(prediction)
            for name in wanted(prediction.batch, weights):
                try:
                    _add(found, prediction, name, huber)
                except Undefined as error:
                    if quantities is not None:
                        raise
                    warnings.warn(f"not evaluated of some frames: {error}", stacklevel=2)
                    for s in prediction.batch.having(name):
                        with suppress(Undefined):
                            _add(found, prediction, name, huber, [s])
    finally:
        for p in asked:
            p.requires_grad_()
        for module in training:
            module.training = True
    numbers = torch.tensor([[one.n, one.squares, one.sizes, one.penalties] for one in found.values()], dtype=torch.float64)
    everywhere = {name: why for one in world.gathered(failed) for name, why in one.items()}
    count = int(world.sum(torch.tensor(frames)))
    for one, row in zip(found.values(), world.sum(numbers).tolist(), strict=True):
        one.n, one.squares, one.sizes, one.penalties = row
    return Evaluation({k: v for k, v in found.items() if v.n}, count, everywhere)


def _add(
    found: dict[str, Errors], prediction: Prediction, name: str, huber: float | None, which: Sequence[int] | None = None
) -> None:
    for part, l, value, label in divided(prediction, name, which):  # noqa: E741
        wrong = (value - label).detach()
        shown = label - _of_free_atoms(prediction) if name == "energy" else label
        penalties = float(penalty(wrong / scale_of(name, l), huber).mean()) * wrong.numel()
        found[part].add(shown.reshape(-1), wrong.reshape(-1), penalties)


def _of_free_atoms(prediction: Prediction) -> Tensor:
    """The E0 that the model knows, of the atoms of each frame that has an energy, on the average."""
    structure, functional = prediction.response.density.structure, prediction.response.problem.functional
    known = [term.atoms for term in functional if isinstance(term, ShortRange) and term.atoms is not None]
    total = sum((structure.total(atoms(structure)) for atoms in known), structure.positions.new_zeros(len(structure)))
    return (total / structure.counts)[prediction.batch.having("energy")].detach()
