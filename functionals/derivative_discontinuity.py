"""The energy of an atom or fragment straight between whole charges, as exact density-functional theory has it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.terms import Term


class DerivativeDiscontinuity(Term):
    """E = sum_F (I_F + A_F) q_F / 2 + (I_F - A_F) s(q_F),  s straight between n^2 / 2 at all whole charges n.

    Of each fragment F with charge q_F: slope I for 0 < q < 1, A for -1 < q < 0; each further electron costs I - A more. Within
    `smoothing` of a whole charge the kink is a polynomial with three continuous derivatives; elsewhere E is straight, and at
    whole charges E is that of the parabola.

    Args:
        ionisation, affinity: I > A, hartree: numbers, per element, per atom, or modules; of a fragment, the mean of its atoms.
        smoothing: e, above 0 and at most 1/2.
        fragments: a number for each atom that atoms of one fragment share (a tensor or a module); default: every atom is one.
            Fragments of different structures of a batch are different.

    Raises:
        ValueError: `smoothing` out of range; at the call, an affinity that is not below the ionisation energy.

    Source: J. P. Perdew, R. G. Parr, M. Levy, J. L. Balduz, Phys. Rev. Lett. 49, 1691 (1982).
    """

    convex = True

    def __init__(
        self,
        ionisation: ParameterLike,
        affinity: ParameterLike,
        smoothing: float = 0.05,
        fragments: ParameterLike | None = None,
    ) -> None:
        super().__init__()
        if not (isinstance(smoothing, int | float) and 0 < smoothing <= 0.5):
            raise ValueError(f"`smoothing` must be above 0 and at most 0.5 e, got {smoothing!r}")
        self.ionisation, self.affinity = AtomParameter(ionisation, "ionisation"), AtomParameter(affinity, "affinity")
        self.smoothing, self.local, self.extensive = smoothing, fragments is None, fragments is None
        self.fragments = None if fragments is None else AtomParameter(fragments, "fragments")

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """Sum over the fragments of each structure, hartree."""
        structure = rho.structure
        ionisation, affinity = self.ionisation(structure), self.affinity(structure)
        if not (ionisation.detach() > affinity.detach()).all():
            raise ValueError(
                f"`affinity` must be below `ionisation`, got {affinity.tolist()[:4]} and {ionisation.tolist()[:4]}"
            )
        q, index = rho.charges, structure.index
        if self.fragments is not None:
            pairs, fragment = torch.stack([index, self.fragments(structure)], 1).unique(dim=0, return_inverse=True)
            index = pairs[:, 0].long()
            q, ionisation, affinity = (_sum(one, fragment, len(index)) for one in (q, ionisation, affinity))
            count = torch.bincount(fragment)
            ionisation, affinity = ionisation / count, affinity / count
        energy = 0.5 * (ionisation + affinity) * q + (ionisation - affinity) * self._straight(q)
        return _sum(energy, index, len(structure))

    def _straight(self, q: Tensor) -> Tensor:
        """n^2 / 2 at whole n, straight between; (n^2 + 2 n x + |x|) / 2 with x = q - n and |x| smoothed."""
        n = q.detach().round()
        x = q - n
        u2 = (x / self.smoothing) ** 2
        smooth = self.smoothing / 16 * u2 * (15 - 5 * u2 + u2 * u2)
        wide = x.detach().abs() >= self.smoothing
        bend = torch.where(wide, x.abs() - 5 / 16 * self.smoothing, smooth)
        return n * n / 2 + n * x + bend / 2


def _sum(values: Tensor, place: Tensor, n: int) -> Tensor:
    return values.new_zeros(n).index_add(0, place, values)
