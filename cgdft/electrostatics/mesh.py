"""The smooth part of the Coulomb operator on a mesh, in O(N log N): spread, transform, multiply, transform back, gather.

A multipole h_lm(d/dR) g_00(r - R; s) is spread with the derivatives of a product of cardinal B-splines M_n in its place, and

    p . A . p' = 1/V sum_k G(k) exp(-(s_i^2 + s_j^2) k^2 / 2) rho(k)^* rho'(k),    G = K U^2 / (sum_m U(k_m)^2)^2,

with K the kernel of the boundary conditions, U the transform of the spline and k_m the aliases of k: the influence function
with the least mean square error. Sites of one width share a mesh. A is symmetric to rounding, since gathering is the transpose
of spreading, and everything is differentiable to any order that the splines allow.

Source: U. Essmann et al., J. Chem. Phys. 103, 8577 (1995); R. W. Hockney, J. W. Eastwood, Computer Simulation Using Particles
(1988), sec. 8-3; V. Ballenegger, J. J. Cerda, C. Holm, J. Chem. Theory Comput. 8, 936 (2012), eq. 22.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor

from cgdft.electrostatics.boundary import Box
from cgdft.electrostatics.mesh_error import ORDERS, coarsest_spacing
from cgdft.electrostatics.multipole import QUADRUPOLE, theta
from cgdft.electrostatics.open_kernel import margin
from cgdft.electrostatics.spline import deconvolution, splines

#: Mesh values held at once while the potential is gathered.
CHUNK = 20_000_000


class Mesh:
    """A for multipoles at given positions in a periodic box.

    Args:
        positions: (n, 3), bohr.
        width: (n,), bohr, > 0; without a gradient.
        lmax: highest multipole.
        box: cell and kernel.
        shape: mesh points along each axis.
        order: of the splines, at least 3 + lmax.
        dtype: of the mesh; what goes in and comes out is float64.
    """

    def __init__(
        self,
        positions: Float[Tensor, "n 3"],
        width: Float[Tensor, " n"],
        lmax: int,
        box: Box,
        shape: list[int],
        order: int,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.shape, self.order, self.lmax, self.dtype = shape, order, lmax, dtype
        counts = torch.tensor(shape, dtype=positions.dtype, device=positions.device)
        self.to_mesh = torch.linalg.inv(box.cell) * counts
        centre = positions.mean(0)  # is where it is: forces add up to zero, as on no mesh
        u = (positions - centre) @ self.to_mesh + centre.detach() @ self.to_mesh.detach()
        whole = u.detach().floor()
        self.weights = [w.to(dtype) for w in splines(u - whole, order, lmax)]  # (n, 3, order) each
        steps = torch.arange(1 - order, 1, device=u.device)
        index = (whole.long()[:, :, None] + steps) % counts.long()[:, None]
        self.place = (index[:, 0, :, None, None] * shape[1] + index[:, 1, None, :, None]) * shape[2] + index[
            :, 2, None, None, :
        ]
        self.widths, self.group = torch.unique(width.detach(), return_inverse=True)
        self._transform(box)

    def bilinear(self, p: Float[Tensor, "n size"], s: Float[Tensor, "n size"]) -> Float[Tensor, ""]:
        """p . A . s, hartree."""
        left = self._density(p)
        right = left if p is s else self._density(s)
        return (self.influence * (left.conj() * right).real).sum(dtype=torch.float64)

    def potential(self, s: Float[Tensor, "n size"]) -> Float[Tensor, "n size"]:
        """A . s, without a graph: the transpose of spreading, applied to the potential on the mesh."""
        rho = self._density(s) * self.influence / self.half
        result = torch.zeros_like(s)
        for g in range(len(self.widths)):
            field = torch.fft.irfftn(self.smooth[g] * rho, s=self.shape).reshape(-1) * math.prod(self.shape)
            rows = torch.nonzero(self.group == g).flatten()
            for piece in rows.split(max(1, CHUNK // self.order**3)):
                result[piece] = self._gather(field, piece)
        return result

    def _gather(self, field: Tensor, rows: Tensor) -> Tensor:
        local = field[self.place[rows].flatten()].reshape(len(rows), self.order, self.order, self.order)
        weights = [w[rows] for w in self.weights]

        def felt(a: int, b: int, c: int) -> Tensor:
            flat = torch.einsum("nijk,nk->nij", local, weights[c][:, 2])
            return torch.einsum("nij,nj,ni->n", flat, weights[b][:, 1], weights[a][:, 0])

        parts = [felt(0, 0, 0)[:, None].to(torch.float64)]
        if self.lmax > 0:
            slope = torch.stack([felt(*[int(axis == a) for a in range(3)]) for axis in range(3)], 1).to(torch.float64)
            parts.append(slope @ self.to_mesh.T)
        if self.lmax > 1:
            second = [[felt(*[int(c == a) + int(c == b) for c in range(3)]) for b in range(3)] for a in range(3)]
            curved = torch.stack([torch.stack(row, 1) for row in second], 1).to(torch.float64)
            cartesian = self.to_mesh @ curved @ self.to_mesh.T
            parts.append(torch.einsum("nab,mab->nm", cartesian, QUADRUPOLE.to(cartesian) / 3))
        return torch.cat(parts, 1)

    def _density(self, p: Tensor) -> Tensor:
        """rho(k) on the half of the mesh that a real transform keeps."""
        total = torch.zeros_like(self.influence, dtype=self.dtype.to_complex())
        values = self._values(p.to(self.dtype), self.to_mesh.to(self.dtype))
        for g in range(len(self.widths)):
            mine = self.group == g
            mesh = values.new_zeros(math.prod(self.shape)).index_add(0, self.place[mine].flatten(), values[mine].flatten())
            total = total + self.smooth[g] * torch.fft.rfftn(mesh.reshape(self.shape))
        return total

    def _values(self, p: Tensor, to_mesh: Tensor) -> Tensor:
        """What each site adds to its mesh points, (n, order, order, order)."""

        def product(a: int, b: int, c: int) -> Tensor:
            x, y, z = (self.weights[d][:, axis] for axis, d in enumerate((a, b, c)))
            return x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]

        def times(c: Tensor, w: Tensor) -> Tensor:
            return c[:, None, None, None] * w

        values = times(p[:, 0], product(0, 0, 0))
        if self.lmax > 0:
            d = p[:, 1:4] @ to_mesh
            for axis in range(3):
                orders = [int(axis == a) for a in range(3)]
                values = values + times(d[:, axis], product(*orders))
        if self.lmax > 1:
            q = to_mesh.T @ theta(p.T).movedim(2, 0) @ to_mesh
            for a in range(3):
                for b in range(a, 3):
                    orders = [int(axis == a) + int(axis == b) for axis in range(3)]
                    values = values + times((1 if a == b else 2) * q[:, a, b], product(*orders))
        return values

    def _transform(self, box: Box) -> None:
        device = box.cell.device
        whole = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64, device=device) for n in self.shape]
        whole[2] = torch.arange(self.shape[2] // 2 + 1, dtype=torch.float64, device=device)
        m = torch.stack(torch.meshgrid(*whole, indexing="ij"), -1)
        k = 2 * math.pi * m @ torch.linalg.inv(box.cell).T
        k2 = (k * k).sum(-1)
        x, y, z = (torch.from_numpy(deconvolution(n, self.order)).to(device) for n in self.shape)
        ratio = x[:, None, None] * y[:, None] * z[: self.shape[2] // 2 + 1]
        half = torch.full_like(k2, 2.0)  # a wave stands for its opposite, which a real transform leaves out
        half[..., 0] = 1.0
        if self.shape[2] % 2 == 0:
            half[..., -1] = 1.0
        kernel = box.kernel(k.reshape(-1, 3), k2.reshape(-1)).reshape(k2.shape)
        self.half, self.influence = half.to(self.dtype), (half * kernel * ratio / box.volume).to(self.dtype)
        self.smooth = [torch.exp(-0.5 * w**2 * k2).to(self.dtype) for w in self.widths]


def mesh_shape(box: Box, spacing: float) -> list[int]:
    """Mesh points along each axis for planes of points at most `spacing` (bohr) apart."""
    return [next_fast_len(max(4, math.ceil(height / spacing)), real=True) for height in box.heights]


def choose(
    box: Box,
    widths: tuple[float, float],
    lmax: int,
    accuracy: float,
    site_cost: float = 1.0,
    point_cost: float = 1.0,
) -> tuple[float, Box, list[int], int]:
    """The cheapest mesh that reaches a relative accuracy: its cost, box, shape and order of spline.

    Args:
        box: around the sites; in open space without its margin.
        widths: smallest and largest of the sites, bohr.
        site_cost: of all sites for one mesh point around each.
        point_cost: of one mesh point, times the binary logarithm of their number.

    Raises:
        ValueError: an accuracy out of reach.
    """
    best: tuple[float, Box, list[int], int] | None = None
    around = box.widened(margin(*widths, accuracy))
    for order in ORDERS:
        spacing = coarsest_spacing(order, lmax, accuracy, box.cosines) if order >= 3 + lmax else None
        if spacing is None:
            continue
        shape = [max(order, points) for points in mesh_shape(around, spacing * widths[0])]
        points = math.prod(shape)
        cost = order**3 * site_cost + points * math.log2(points) * point_cost
        if best is None or cost < best[0]:
            best = cost, around, shape, order
    if best is None:
        raise ValueError(f"`accuracy` must be one that a mesh reaches with l = {lmax}, got {accuracy!r}; allow more")
    return best
