"""The loss: squared errors in units of what counts as one, or less of large ones, weighted, over the labels that there are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from cgdft.derivatives.observables import Undefined
from cgdft.learning.data.frames import Batch
from cgdft.learning.data.quantities import QUANTITIES, parts_of, scale_of
from cgdft.learning.training.prediction import Prediction

#: What else than a label may have a weight, with what counts as one: residuals of the direct way, and what of the total charge
#: `SharedExcess` shares, e, of which what is far apart would take its part.
EXTRA = {"stationarity": 1e-2, "excess": 5e-3}


def compared(prediction: Prediction, quantity: str, which: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
    """Prediction and label of all frames of the batch that have it, of the same shape: energies per atom, others in their unit.

    Of susceptibilities those between multipoles that both have; susceptibilities and potentials flat. Multipoles as far as the
    model has them; those that a frame lacks are NaN in the label. Stress among periodic directions, flat.

    Args:
        which: of the frames, by their places; default: all.
    """
    batch = prediction.batch
    structures = batch.having(quantity) if which is None else list(which)
    found = prediction.get(quantity, structures)
    labels = [batch.frames[s].labels[quantity] for s in structures]
    if isinstance(found, list):
        if quantity == "susceptibility":
            atoms = batch.structure.counts[structures].tolist()
            both = [_common(one, label, n) for one, label, n in zip(found, labels, atoms, strict=True)]
            found, labels = [one for one, _ in both], [label for _, label in both]
        return torch.cat([one.reshape(-1) for one in found]), torch.cat([label.reshape(-1) for label in labels]).to(found[0])
    if quantity == "multipoles":
        known = min(found.shape[1], max(label.shape[1] for label in labels))
        pad, nan = torch.nn.functional.pad, math.nan
        padded = [pad(label[:, :known], (0, max(0, known - label.shape[1])), value=nan) for label in labels]
        return found[:, :known], torch.cat(padded).to(found)
    per_atom = QUANTITIES[quantity].shape[:1] == ("n",)
    label = (torch.cat(labels) if per_atom else torch.stack(labels)).to(found)
    if quantity == "energy":
        counts = batch.structure.counts[structures]
        return found / counts, label / counts
    if quantity == "stress":  # across a slab or wire there is none, whatever codes write
        axes = [_along(batch.structure.cell[s], batch.structure.pbc[s]) for s in structures]
        flat = [[(f @ one @ f.T).reshape(-1) for f, one in zip(axes, ones, strict=True)] for ones in (found, label)]
        return torch.cat(flat[0]), torch.cat(flat[1])
    return found, label


def _along(cell: Tensor, pbc: Tensor) -> Tensor:
    """Orthonormal rows that span the periodic directions; x, y and z of bulk."""
    return torch.eye(3).to(cell) if pbc.all() else torch.linalg.qr(cell[pbc].detach().T)[0].T


def _common(one: Tensor, two: Tensor, atoms: int) -> tuple[Tensor, Tensor]:
    """Of two matrices between coefficients of the same atoms, (k n, k n) with k of their own, the coefficients of both."""
    sizes = len(one) // atoms, len(two) // atoms
    known = min(sizes)
    first, second = (
        matrix.reshape(atoms, size, atoms, size)[:, :known, :, :known] for matrix, size in zip((one, two), sizes, strict=True)
    )
    return first, second


def penalty(wrong: Tensor, huber: float | None = None) -> Tensor:
    """2 h^2 (sqrt(1 + x^2 / h^2) - 1) of each row, x^2 its mean square: x^2 where x is small, linear beyond h; x^2 without h.

    A row is a vector or a tensor, so that nothing changes where all is turned. After P. J. Huber, Ann. Math. Stat. 35, 73
    (1964), in the smooth form of P. Charbonnier et al., IEEE Trans. Image Process. 6, 298 (1997).

    Args:
        wrong: errors in units of what counts as one, (n, ...).
        huber: h; None: squares.
    """
    squares = wrong.square().reshape(len(wrong), -1).mean(1)
    if huber is None:
        return squares
    return 2 * squares / (1 + (1 + squares / huber**2).sqrt())


def parts(prediction: Prediction, weights: Mapping[str, float], huber: float | None = None) -> dict[str, Tensor]:
    """Weighted means of the penalty by name, of quantities that have a weight and a label in this batch.

    Multipoles of each l have a mean of their own: dipoles beside charges leave these their weight.
    """
    return {name: mean for name, (mean, _) in measured(prediction, weights, huber).items()}


def measured(prediction: Prediction, weights: Mapping[str, float], huber: float | None = None) -> dict[str, tuple[Tensor, int]]:
    """The same, and of how many numbers each is the mean."""
    found = {}
    for name, weight in weights.items():
        if name in EXTRA:
            if name in prediction.extra:
                left = prediction.extra[name]
                found[name] = weight * penalty(left / EXTRA[name], huber).mean(), left.numel()
        elif weight and prediction.batch.having(name):
            try:
                both = list(divided(prediction, name))
            except Undefined as error:
                raise Undefined(f"{error}; or leave {name} out of `weights`") from error
            for part, l, value, label in both:  # noqa: E741
                found[part] = weight * penalty((value - label) / scale_of(name, l), huber).mean(), label.numel()
    return found


def divided(
    prediction: Prediction, quantity: str, which: Sequence[int] | None = None
) -> Iterator[tuple[str, int, Tensor, Tensor]]:
    """(name, l, prediction, label) of what errors are told by, where there is any: of multipoles each l, apart."""
    value, label = compared(prediction, quantity, which)
    if quantity != "multipoles":
        if label.numel():
            yield quantity, 0, value, label
        return
    for l, part in enumerate(parts_of(quantity)):  # noqa: E741
        columns = slice(l**2, (l + 1) ** 2)
        known = torch.nonzero(~label[:, columns].isnan().any(1)).flatten()
        if label[known, columns].numel():
            yield part, l, value[known, columns], label[known, columns]


def wanted(batch: Batch, weights: Mapping[str, float]) -> list[str]:
    """The quantities of a batch that enter the loss."""
    return [name for name in batch.quantities if weights.get(name, 0.0)]
