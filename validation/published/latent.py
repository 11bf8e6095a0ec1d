"""The density that a trained model claims, latent charges included, and how it goes with what it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cgdft.ansatz import Fixed
from cgdft.functionals.models.local_multipoles import SharedExcess
from cgdft.learning import Frame
from cgdft.learning.data.frames import Batch
from cgdft.learning.training.evaluation import Errors
from cgdft.model import Model
from cgdft.structure import Structure


def claimed(model: Model, architecture: str, validation: Sequence[Frame]) -> Model | None:
    """The model whose density is to be compared; None of one without any.

    The latent charges of LES enter their energy in pairs, so that their common sign is arbitrary, and their sum is free: here
    they are shifted alike to the total charge, and their sign is that of the dipoles of the validation frames. Energies of
    what is returned mean nothing for them.
    """
    if architecture == "local":
        return None
    if architecture != "les":
        return model
    assert isinstance(model.ansatz, Fixed)
    assert callable(model.ansatz.p0)
    latent = model.ansatz.p0

    def of_sign(sign: float) -> Model:
        def signed(structure: Structure) -> Tensor:
            charges: Tensor = latent(structure)
            return sign * charges

        return model.replace(ansatz=Fixed(SharedExcess(signed)))

    same = of_sign(1.0)
    batch = Batch.of(validation)
    with torch.no_grad():
        found = same(batch.structure).dipole
    along = (found * torch.stack([frame.labels["dipole"] for frame in validation])).sum()
    return same if along >= 0 else of_sign(-1.0)


def correlation(errors: Errors) -> float:
    """Pearson's r^2 of predictions and labels, all components together; NaN where predictions are all the same."""
    label = torch.cat(errors.labels)
    found = label + torch.cat(errors.wrong)
    return float(torch.corrcoef(torch.stack([label, found]))[0, 1] ** 2)
