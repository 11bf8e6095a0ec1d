"""A local functional that need not be quadratic and is convex by construction, whatever its weights."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.learning.environment import Environment
from cgdft.learning.heads import Perceptron, positive, softplus
from cgdft.structure import Structure
from cgdft.terms import Term


class ConvexLocal(Term):
    """E = sum_i s sum_k a_k [softplus(w_k q_i / s_q + v_k r_i + b_k) - softplus(b_k) - sigmoid(b_k) w_k q_i / s_q] / n,

    r_i = sqrt(1 + |d_i|^2 / s_d^2) - 1, with a_k > 0, v_k > 0, w_k of either sign and b_k functions of the environment.
    Softplus is convex and rises, r is convex: E is convex in (q, d), whatever the weights; at q = 0, d = 0 it has no slope.

    Args:
        environment: of the atoms.
        units: n, number of k.
        scale: s, hartree.
        charge, dipole: s_q and s_d, e and e bohr, over which it bends.
    """

    local = True
    convex = True
    sign: Tensor

    def __init__(
        self, environment: Environment, units: int = 8, scale: float = 0.1, charge: float = 0.5, dipole: float = 0.5
    ) -> None:
        super().__init__()
        self.environment, self.units, self.scale, self.charge, self.dipole = environment, units, scale, charge, dipole
        self.heads = Perceptron(environment, 4 * units)
        sign = torch.ones(units, dtype=torch.float64)
        sign[1::2] = -1.0
        self.register_buffer("sign", sign)

    def of_structure(self, structure: Structure) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """s a / n, w, v and b, (n_atoms, n) each."""
        a, w, v, b = self.heads(self.environment.invariants(structure)).chunk(4, 1)
        return self.scale * positive(a) / self.units, self.sign * positive(w), positive(v), b

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """(n_structures,), hartree."""
        a, w, v, b = self.known(rho)
        q = rho.charges[:, None] / self.charge
        d2 = (rho.dipoles**2).sum(1, keepdim=True) / self.dipole**2
        r = d2 / (1 + (1 + d2).sqrt())
        bend = softplus(w * q + v * r + b) - softplus(b) - torch.sigmoid(b) * w * q
        return rho.total((a * bend).sum(1))

    def gradient(self, rho: Density) -> Float[Tensor, "n_atoms size"]:
        """dE/dp."""
        by_charge, by_r, _, direction, _ = self._derivatives(rho)
        return _fitted(torch.cat([by_charge[:, None], by_r[:, None] * direction], 1), rho.basis.size)

    def blocks(self, rho: Density) -> Float[Tensor, "n_atoms size size"]:
        """d2E/dp_i dp_i, without a graph."""
        with torch.no_grad():
            return self._blocks(rho)

    def _blocks(self, rho: Density) -> Tensor:
        _, by_r, (qq, qr, rr), direction, root = self._derivatives(rho)
        outer = direction[:, :, None] * direction[:, None]
        bent = (torch.eye(3).to(outer) / self.dipole**2 - outer) / root[:, :, None]  # d2r/dd dd
        crossed = qr[:, None] * direction
        dipoles = rr[:, None, None] * outer + by_r[:, None, None] * bent
        upper = torch.cat([qq[:, None, None], crossed[:, None]], 2)
        return _fitted(torch.cat([upper, torch.cat([crossed[:, :, None], dipoles], 2)], 1), rho.basis.size, rho.basis.size)

    def _derivatives(self, rho: Density) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor], Tensor, Tensor]:
        """By q and r of each atom, (n_atoms,), first and second; dr/dd, (n_atoms, 3), and 1 + r, (n_atoms, 1)."""
        a, w, v, b = self.known(rho)
        w, d = w / self.charge, rho.dipoles / self.dipole
        d2 = (d * d).sum(1, keepdim=True)
        root = (1 + d2).sqrt()
        rising = torch.sigmoid(w * rho.charges[:, None] + v * d2 / (1 + root) + b)
        bend = a * rising * (1 - rising)
        first = (a * w * (rising - torch.sigmoid(b))).sum(1), (a * v * rising).sum(1)
        second = (bend * w * w).sum(1), (bend * w * v).sum(1), (bend * v * v).sum(1)
        return *first, second, d / (self.dipole * root), root


def _fitted(values: Tensor, *sizes: int) -> Tensor:
    """The last axes cut or filled with zeros to these lengths."""
    for axis, size in enumerate(sizes, start=1):
        values = values.narrow(axis, 0, min(size, values.shape[axis]))
    more = [(0, size - values.shape[axis]) for axis, size in enumerate(sizes, start=1)]
    return torch.nn.functional.pad(values, [n for pair in reversed(more) for n in pair])
