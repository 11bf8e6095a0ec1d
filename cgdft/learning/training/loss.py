"""The loss: squared errors in units of what counts as one, weighted, over the labels that there are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cgdft.learning.data.frames import Batch
from cgdft.learning.data.quantities import QUANTITIES
from cgdft.learning.training.prediction import Prediction

#: What else than a label may have a weight: residuals of the direct way, with what counts as one.
EXTRA = {"stationarity": 1e-2}


def errors(prediction: Prediction, quantity: str) -> Tensor:
    """Prediction less label of all frames of the batch that have it, flat; energies per atom, hartree; others in their unit."""
    batch = prediction.batch
    structures = batch.having(quantity)
    found = prediction.get(quantity, structures)
    labels = [batch.frames[s].labels[quantity] for s in structures]
    if isinstance(found, list):
        return torch.cat([(one - label.to(one)).reshape(-1) for one, label in zip(found, labels, strict=True)])
    per_atom = QUANTITIES[quantity].shape[:1] == ("n",)
    if quantity == "multipoles":
        known = min(found.shape[1], min(label.shape[1] for label in labels))
        return (found[:, :known] - torch.cat([label[:, :known] for label in labels]).to(found)).reshape(-1)
    label = torch.cat(labels) if per_atom else torch.stack(labels)
    difference = found - label.to(found)
    if quantity == "energy":
        difference = difference / batch.structure.counts[structures]
    return difference.reshape(-1)


def parts(prediction: Prediction, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Weighted mean squared errors by name, of quantities that have a weight and a label in this batch."""
    found = {}
    for name, weight in weights.items():
        if name in EXTRA:
            if name in prediction.extra:
                found[name] = weight * (prediction.extra[name] / EXTRA[name]).square().mean()
        elif weight and prediction.batch.having(name):
            found[name] = weight * (errors(prediction, name) / QUANTITIES[name].scale).square().mean()
    return found


def wanted(batch: Batch, weights: Mapping[str, float]) -> list[str]:
    """The quantities of a batch that enter the loss."""
    return [name for name in batch.quantities if weights.get(name, 0.0)]
