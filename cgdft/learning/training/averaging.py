"""The moving average of the weights, which is what is validated and kept."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cgdft.model import Model


class Average:
    """w' <- d w' + (1 - d) w after each step, with d = min(decay, (1 + n) / (10 + n)) after n steps; w' = w after the first.

    Args:
        model: whose weights are averaged.
        decay: 0 for the weights themselves.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.model.requires_grad_(requires_grad=False)

    @property
    def model(self) -> Model:
        """The model with the average of the weights, which require no gradient."""
        found = self.average.module
        assert isinstance(found, Model)
        return found

    def update(self, model: nn.Module) -> None:
        """After a step of the model."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.average.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self.average.update_parameters(model)
