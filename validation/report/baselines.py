"""The models of `cgdft validate` where nothing else is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cgdft.validation.dft.reference import Reference
from cgdft.validation.report.merit import POINT_LIKE
from cgdft.validation.report.score import labels

if TYPE_CHECKING:
    from cgdft.model import Model


def fixed(lmax: int = 0, width: float = POINT_LIKE, definition: str | None = None) -> Callable[[Reference], Model]:
    """Reference -> model whose density is that reference's multipoles, to l = `lmax`: nothing responds.

    It is the best that multipoles of this definition can do for the potential, and has no response.

    Args:
        lmax: 0, 1 or 2.
        width: of the Gaussians in bohr.
        definition: of the multipoles, default the first.
    """

    def make(reference: Reference) -> Model:
        import torch

        from cgdft.functionals import LatentCharges

        name = "Fixed charges" if lmax == 0 else f"Fixed l <= {lmax}"
        moments = labels(reference, definition)
        model = LatentCharges(torch.from_numpy(moments[:, : (lmax + 1) ** 2].copy()), width, lmax, name)
        return model.replace(constraints=[])  # the charges add up but for the error of an integration grid

    return make


def demo_models(definition: str | None = None) -> list[Model | Callable[[Reference], Model]]:
    """QEq, QEq with dipoles, and the reference's own charges (l = 0) and charges with dipoles (l <= 1), held fixed."""
    from cgdft.functionals import QEq, QEqDipoles

    return [QEq(), QEqDipoles(), fixed(0, definition=definition), fixed(1, definition=definition)]
