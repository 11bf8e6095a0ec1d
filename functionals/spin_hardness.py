"""What it costs an atom to have its spins turned: the second-order term of the magnetisation."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.terms import Term


class SpinHardness(Term):
    """E = 1/2 sum_i eta_S,i |m_il|^2, m the magnetisation. No term is linear: without a magnetic field E is even in m.

    Spin goes where this is soft: with a total spin S and nothing else, m_i = S (1 / eta_S,i) / sum_j (1 / eta_S,j).

    Args:
        eta: eta_S, hartree / bohr^(2 l), > 0: a number, per element, per atom, or a module.
        l: the multipoles it acts on.

    Raises:
        ValueError: `eta` not positive; `l` not 0, 1, 2; at the call, a basis without spin or without multipoles of this l.

    Source: M. Galvan, A. Vela, J. L. Gazquez, J. Phys. Chem. 92, 6470 (1988).
    """

    quadratic = True
    local = True
    convex = True

    def __init__(self, eta: ParameterLike, l: int = 0) -> None:  # noqa: E741
        super().__init__()
        if isinstance(l, bool) or l not in (0, 1, 2):
            raise ValueError(f"`l` must be 0, 1 or 2, got {l!r}")
        self.l = l
        self.eta = AtomParameter(eta, "eta", positive=True)

    @property
    def name(self) -> str:
        """SpinHardness, with its l where that is not 0."""
        return "SpinHardness" if self.l == 0 else f"SpinHardness l={self.l}"

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """1/2 sum_i eta_S,i |m_il|^2 of each structure, hartree."""
        if not rho.basis.spin or rho.basis.lmax < self.l:
            raise ValueError(
                f"`l` must be in a spin-resolved basis, got SpinHardness(l={self.l}) with Multipoles(lmax={rho.basis.lmax}, "
                f"spin={rho.basis.spin})"
            )
        shell = rho.magnetisation[:, self.l**2 : (self.l + 1) ** 2]
        return rho.total(0.5 * self.eta(rho.structure) * (shell * shell).sum(1))
