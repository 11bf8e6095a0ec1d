"""The magnetisation's answer to potentials that differ for the two spins, beside any answer of the charge density."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.response_law import GrandPotential
from cgdft.structure import Structure


class SpinResponse(GrandPotential):
    """Omega_s(v) = Omega_s(v of charges) - sum_i |v of the magnetisation|^2 / (2 eta_S,i), so that m_i = -v_i / eta_S,i.

    Dual to the functional of the charge density's answer + `SpinHardness`.

    Args:
        charges: the grand potential of the charge density.
        eta: eta_S, hartree, > 0: a number, per element, per atom, or a module.
    """

    def __init__(self, charges: GrandPotential, eta: ParameterLike) -> None:
        super().__init__()
        self.charges, self.eta = charges, AtomParameter(eta, "eta", positive=True)

    def forward(self, structure: Structure, v: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n_structures"]:
        """Omega_s, (n_structures,), hartree."""
        charge, spin = v.chunk(2, dim=1)
        energy: Tensor = self.charges(structure, charge) - structure.total((spin**2).sum(1) / (2 * self.eta(structure)))
        return energy
