"""The answer of atoms whose hardness grows with the charge, and of their dipoles, to potentials."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.response_law import GrandPotential
from cgdft.structure import Structure


class StiffeningResponse(GrandPotential):
    """Omega_s = sum_i eta s^2 (sqrt(1 + u^2) - 1 - u asinh u) - alpha v_i1 . v_i1 / 2,   u = (v_i + chi_i) / (eta_i s_i),

    so that q_i = -s_i asinh u_i and d_i = -alpha_i v_i1: dual to chi q + `Stiffening` + d . d / (2 alpha).

    Args:
        chi: hartree / e; eta: hartree / e^2, > 0; scale: s, e, > 0; alpha: bohr^3, >= 0, used where the basis has dipoles. Each
            a number, per element, per atom, or a module.
    """

    def __init__(self, chi: ParameterLike, eta: ParameterLike, scale: ParameterLike = 1.0, alpha: ParameterLike = 0.0) -> None:
        super().__init__()
        self.chi, self.alpha = AtomParameter(chi, "chi"), AtomParameter(alpha, "alpha", non_negative=True)
        self.eta = AtomParameter(eta, "eta", positive=True)
        self.scale = AtomParameter(scale, "scale", positive=True)

    def forward(self, structure: Structure, v: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n_structures"]:
        """Omega_s, (n_structures,), hartree."""
        eta, scale = self.eta(structure), self.scale(structure)
        u = (v[:, 0] + self.chi(structure)) / (eta * scale)
        energy = eta * scale**2 * (u**2 / (1 + (1 + u**2).sqrt()) - u * torch.asinh(u))
        return structure.total(energy - self.alpha(structure) * (v[:, 1:4] ** 2).sum(1) / 2)
