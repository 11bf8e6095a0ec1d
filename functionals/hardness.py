"""The second-order local term: chemical hardness of charges, inverse polarizability of dipoles and quadrupoles."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.terms import Term


class Hardness(Term):
    """E = 1/2 sum_i eta_i |p_il|^2.

    Without the self-interaction of Hartree, which adds that of the Gaussians, eta is for l = 0 the chemical hardness of an
    atom, d2E/dq2 = I - A (the source has half of it), for l = 1 the inverse of its dipole polarizability, for l = 2 of its
    quadrupole polarizability alpha_2 (three times Buckingham's C).

    Args:
        eta: hartree / e^2 (l = 0), 1 / bohr^3 (l = 1), 1 / bohr^5 (l = 2), >= 0: a number, per element, per atom, or a module.
        l: the multipoles it acts on.

    Raises:
        ValueError: `eta` negative; `l` not 0, 1, 2; at the call, a basis without multipoles of this l.

    Source: R. G. Parr, R. G. Pearson, J. Am. Chem. Soc. 105, 7512 (1983).
    """

    quadratic = True
    local = True
    convex = True

    def __init__(self, eta: ParameterLike, l: int = 0) -> None:  # noqa: E741
        super().__init__()
        if isinstance(l, bool) or l not in (0, 1, 2):
            raise ValueError(f"`l` must be 0, 1 or 2, got {l!r}")
        self.l = l
        self.eta = AtomParameter(eta, "eta", non_negative=True)

    @property
    def name(self) -> str:
        """Hardness, with its l where that is not 0."""
        return "Hardness" if self.l == 0 else f"Hardness l={self.l}"

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """1/2 sum_i eta_i |p_il|^2 of each structure, hartree."""
        if rho.basis.lmax < self.l:
            raise ValueError(f"`l` must be in the basis, got Hardness(l={self.l}) with Multipoles(lmax={rho.basis.lmax})")
        return rho.total(0.5 * self.eta(rho.structure) * (rho.shell(self.l) ** 2).sum(1))
