"""Where solves begin: at the minima of the epoch before."""

from __future__ import annotations

import torch
from torch import Tensor

from cgdft.learning.data.frames import Batch
from cgdft.learning.training.prediction import Prediction


class Starts:
    """The last x of each frame by its name.

    Kept of models whose x of a structure adjoin; quadratic ones are solved by factorisation and gain nothing.
    """

    def __init__(self) -> None:
        self.known: dict[str, Tensor] = {}

    def of(self, batch: Batch) -> Tensor | None:
        """x of a batch; None if some frame is new."""
        found = [self.known.get(frame.name) for frame in batch.frames]
        known = [x for x in found if x is not None]
        return torch.cat(known).to(batch.structure.positions) if known and len(known) == len(found) else None

    def keep(self, prediction: Prediction) -> None:
        """Remember the minima of a batch."""
        problem = prediction.response.problem
        if prediction.minimum is None or not len(problem.index) or problem.functional.quadratic:
            return
        if (problem.index.diff() < 0).any():
            return
        parts = prediction.minimum.split(torch.bincount(problem.index, minlength=problem.n).tolist())
        for frame, x in zip(prediction.batch.frames, parts, strict=True):
            self.known[frame.name] = x.clone()
