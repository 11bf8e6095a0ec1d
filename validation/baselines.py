"""The models of `cgdft validate` where nothing else is asked for."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cgdft.validation.merit import POINT_LIKE
from cgdft.validation.reference import Reference

if TYPE_CHECKING:
    from cgdft.model import Model


def fixed(lmax: int = 0, width: float = POINT_LIKE) -> "Callable[[Reference], Model]":
    """Reference -> model whose density is that reference's multipoles by its first definition, to l = `lmax`: nothing responds.

    It is the best that multipoles of this definition can do for the potential, and has no response.
    Arguments: `lmax` 0, 1 or 2; `width` of the Gaussians in bohr.
    """

    def make(reference: Reference) -> "Model":
        import torch

        from cgdft.functionals import LatentCharges

        name = "Fixed charges" if lmax == 0 else f"Fixed l <= {lmax}"
        model = LatentCharges(torch.from_numpy(reference.multipoles[:, : (lmax + 1) ** 2].copy()), width, lmax, name)
        return model.replace(constraints=[])  # the charges add up but for the error of an integration grid

    return make


def demo_models() -> "list[Model | Callable[[Reference], Model]]":
    """QEq, QEq with dipoles, and the reference's own charges (l = 0) and charges with dipoles (l <= 1), held fixed."""
    from cgdft.functionals import QEq, QEqDipoles

    return [QEq(), QEqDipoles(), fixed(0), fixed(1)]
