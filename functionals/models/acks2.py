"""Atom-condensed Kohn-Sham approximated to second order: a model of the response of independent electrons beside Coulomb's law.

Charges: labelled.
Source: verstraelen2013
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cgdft.ansatz import CoefficientsLike, ResponseModes
from cgdft.basis import Multipoles
from cgdft.electrostatics.pairs import near_pairs
from cgdft.functionals.electronegativity import Electronegativity
from cgdft.functionals.hardness import Hardness
from cgdft.functionals.hartree import Hartree
from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH
from cgdft.model import Model
from cgdft.pair_parameter import PairParameter, PairParameterLike
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.space import Entries
from cgdft.structure import Structure


class BondSoftness(nn.Module):
    """L of X = -L L^T, X_ij = b_ij, X_ii = -sum_j b_ij: the column sqrt(b_ij) (e_i - e_j) for each pair nearer than c_ij.

    b_ij = s (r / c_ij)^3 (1 - r / c_ij)^6,  c_ij = (c_i + c_j) / 2, so that bonds form and break smoothly.

    Args:
        softness: s, e^2 / hartree, >= 0: a number, a dict per pair of elements, or a module; see `PairParameter`.
        cutoff: c_i, bohr: a number, per element, per atom, or a module.

    Source: of b_ij, the ReaxFF of LAMMPS (`fix acks2/reaxff`).
    """

    def __init__(self, softness: PairParameterLike, cutoff: ParameterLike) -> None:
        super().__init__()
        self.softness = PairParameter(softness, "softness", non_negative=True)
        self.cutoff = AtomParameter(cutoff, "cutoff", positive=True)

    def forward(self, structure: Structure) -> Entries:
        """L, (n_atoms, n_modes), one column for each pair and image."""
        cutoff = self.cutoff(structure)
        i, j, apart = near_pairs(structure, float(cutoff.detach().max()), both=False)
        x = 2 * apart.norm(dim=1) / (cutoff[i] + cutoff[j])
        bond = x < 1
        i, j, x = i[bond], j[bond], x[bond]
        root = self.softness(structure, torch.stack([i, j], 1)) ** 0.5 * x**1.5 * (1 - x) ** 3
        column = torch.arange(len(root), device=root.device)
        return Entries(torch.cat([i, j]), column.repeat(2), torch.cat([root, -root]), len(root), root[:, None] * apart[bond])


def ACKS2(
    factor: Tensor | Entries | Callable[[Structure], Tensor | Entries],
    chi: ParameterLike = CHI,
    hardness: ParameterLike = HARDNESS,
    width: ParameterLike = WIDTH,
    p0: CoefficientsLike | None = None,
) -> Model:
    """E = min_q max_u sum_i chi_i q_i + J_i q_i^2 / 2 + sum_(i<j) q_i q_j J_ij(r) + u.(q - q0) + u.X u / 2,  X = -L L^T.

    The u_i are potentials; the maximum is x^2 / 2 with q = q0 + L x, so that no saddle point is left to solve for.

    Args:
        factor: L, (n_atoms, n_modes), columns of no charge: a tensor or a module, such as `BondSoftness`.
        chi, hardness, width: of the atoms, hartree / e, hartree / e^2, bohr; default: QEq's.
        p0: q0, charges of the independent electrons, e; default: the total charge shared equally.

    Source: T. Verstraelen, P. W. Ayers, V. Van Speybroeck, M. Waroquier, J. Chem. Phys. 138, 074108 (2013).
    """
    return Model(
        Hartree(self_interaction=False) + Electronegativity(chi) + Hardness(hardness),
        Multipoles(lmax=0, width=width),
        ResponseModes(factor, p0),
        name="ACKS2",
        references=("verstraelen2013",),
    )


def example(structure: Structure) -> Model:
    """Softnesses of 10 e^2 / hartree at most between atoms nearer than 6 bohr."""
    return ACKS2(BondSoftness(3000.0, 6.0))
