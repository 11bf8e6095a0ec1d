"""The particle mesh of `mesh.py` in compiled loops: real transforms by scipy, threads, derivatives in closed form.

With phi the potential on the mesh, made once for each density, and m the multipoles of a site in mesh coordinates,

    energy of a site   sum_c m_c D_c phi(u)        its derivative by u   sum_c m_c (D_c grad phi)(u)

and the derivative by the cell follows from u, m and the influence function, whose graph torch has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from cgdft.electrostatics.boundary import Box, square
from cgdft.electrostatics.mesh_waves import reciprocal, waves_of
from cgdft.electrostatics.multipole import QUADRUPOLE
from cgdft.electrostatics.spline import COUNT, POWERS, table
from cgdft.electrostatics.threads import in_threads, shares

Array = NDArray[Any]


class Field(NamedTuple):
    """A density in waves, smoothed by widths if there are several, and its potential on the mesh, for each width."""

    waves: Array
    potential: list[Array]


class Pull(NamedTuple):
    """Derivatives of p . A . s by mesh coordinates, (n, 3), of the potentials felt, (n, COUNT[lmax]), and the waves of both."""

    slope: Array
    at_p: Array
    at_s: Array
    waves: tuple[Array, Array]


class CompiledMesh:
    """A for multipoles at given positions in a periodic box.

    Args:
        positions: (n, 3), bohr.
        width: (n,), bohr, > 0.
        lmax: highest multipole.
        box: cell and kernel.
        shape: mesh points along each axis, each at least `order`.
        order: of the splines, at least 3 + lmax.
        dtype: of the mesh.
    """

    def __init__(
        self, positions: Tensor, width: Tensor, lmax: int, box: Box, shape: list[int], order: int, dtype: Any = np.float64
    ) -> None:
        from cgdft.electrostatics import mesh_loops, wave_loops  # numba, which small structures do without

        self.loops, self.wave_loops = mesh_loops, wave_loops
        self.shape, self.order, self.lmax, self.dtype = tuple(shape), order, lmax, np.dtype(dtype)
        self.threads = torch.get_num_threads()
        counts = np.array(shape, dtype=np.float64)
        to_mesh = mesh_axes(box, shape).detach()
        self.to_mesh, self.frame = to_mesh.numpy(), frame(to_mesh, lmax).numpy()
        u = (positions.detach() @ to_mesh).numpy()
        u = u - np.floor(u / counts) * counts
        u[u >= counts] = 0.0
        corner = u.astype(np.int64)
        self.sorted = np.argsort(corner[:, 0] * shape[1] + corner[:, 1], kind="stable")
        self.u = np.ascontiguousarray(u[self.sorted])
        self.plane = corner[self.sorted, 0]
        self.widths, group = np.unique(width.detach().numpy()[self.sorted], return_inverse=True)
        self.own = float(self.widths[0]) ** 2  # in the influence function
        self.rows = [np.flatnonzero(group == g) for g in range(len(self.widths))]
        self.waves = waves_of(box.detached, self.shape, order, self.dtype, self.widths)
        self.influence, self.smooth, self.double = self.waves.influence, self.waves.smooth, self.waves.double

    def field(self, s: Array) -> Field:
        """Of the multipoles s (n, size)."""
        waves = self._density(s)
        fields = []
        for g in range(len(self.rows)):
            weighted = waves * self.influence
            if self.smooth:
                weighted *= self.smooth[g]
            plane = fft.ifftn(weighted, axes=(0, 1), workers=self.threads, overwrite_x=True)
            fields.append(fft.irfft(plane, self.shape[2], workers=self.threads, overwrite_x=True))
        return Field(waves, fields)

    def nothing(self) -> Field:
        """The field of no density."""
        zero = np.zeros(self.shape, self.dtype)
        return Field(np.zeros_like(self.influence), [zero] * len(self.rows))

    def _density(self, s: Array) -> Array:
        """The density in waves, each width with its excess over the narrowest, which is in the influence function."""
        m = (s @ self.frame)[self.sorted]
        total: Array | None = None
        for g, rows in enumerate(self.rows):
            waves = fft.rfftn(self._spread(rows, m), workers=self.threads)
            if self.smooth:
                waves *= self.smooth[g]
            total = waves if total is None else np.add(total, waves, out=total)
        assert total is not None
        return total

    def spread(self, moments: Array) -> Array:
        """Charges (n, 1) on the mesh; `take` is the transpose."""
        return np.ascontiguousarray(self._spread(np.arange(len(self.u)), moments[self.sorted]))

    def splines(self, sites: Array) -> Array:
        """What a charge of one at each of some sites is on the mesh, (n, *shape)."""
        place, halo, one = np.argsort(self.sorted)[sites], self.order - 1, np.ones((len(self.u), 1))
        meshes = np.zeros((len(sites), *self.shape[:2], self.shape[2] + halo), self.dtype)
        for mesh, k in zip(meshes, place.tolist(), strict=True):
            self._parallel(self.loops.spread, 0, mesh, self.u, one, [(k, k + 1)])
        meshes[..., :halo] += meshes[..., self.shape[2] :]
        return meshes[..., : self.shape[2]]

    def take(self, mesh: Array) -> Array:
        """Values of a function on the mesh at the sites, (n, 1)."""
        return self.gather([mesh], 0)

    def gather(self, fields: list[Array], derivatives: int) -> Array:
        """Derivatives by the mesh coordinates of the potential at each site, (n, COUNT[derivatives])."""
        result = np.empty((len(self.u), COUNT[derivatives]))
        for g, rows in enumerate(self.rows):
            u = self.u if len(self.rows) == 1 else np.ascontiguousarray(self.u[rows])
            found = np.empty((len(rows), COUNT[derivatives]))
            self._parallel(self.loops.gather, derivatives, fields[g], u, found, shares(len(rows), self.threads))
            result[self.sorted[rows]] = found
        return result

    def potential(self, s: Array) -> Array:
        """A . s, (n, size)."""
        return self.felt(self.field(s))

    def felt(self, field: Field) -> Array:
        """The potential at the sites and its derivatives, (n, size)."""
        return self.gather(field.potential, self.lmax) @ self.frame.T

    def pull(self, p: Array, s: Array, fields: tuple[Field, Field]) -> Pull:
        """Derivatives of p . A . s by the mesh coordinates of the sites.

        Args:
            fields: of p and of s; the same object if p is s.
        """
        count, same = COUNT[self.lmax], fields[0] is fields[1]
        total: Array = np.zeros((len(p), 3))
        felt = []
        for moments, field in [(p, fields[1])] if same else [(p, fields[1]), (s, fields[0])]:
            found = self.gather(field.potential, self.lmax + 1)
            m = moments @ self.frame
            for axis in range(3):
                total[:, axis] += (1 + same) * (m * found[:, NEXT[:count, axis]]).sum(1)
            felt.append(found[:, :count])
        total -= total.mean(0)  # forces add up to zero, as on no mesh
        return Pull(total, felt[0], felt[-1], (fields[0].waves, fields[1].waves))

    def by_position(self, pull: Pull) -> Array:
        """Derivatives by the positions, (n, 3)."""
        return pull.slope @ self.to_mesh.T

    def by_cell(self, p: Array, s: Array, pull: Pull, positions: Tensor, box: Box) -> Tensor:
        """Derivatives of p . A . s by the cell of the box, which requires a gradient, (3, 3)."""
        with torch.enable_grad():
            to_mesh = mesh_axes(box, self.shape)
            axes = to_mesh.detach().requires_grad_()
            turned = frame(axes, self.lmax)
            slope, at_p, at_s = (torch.from_numpy(one) for one in (pull.slope, pull.at_p, pull.at_s))
            surrogate = ((positions.detach() @ axes) * slope).sum()
            surrogate = (
                surrogate + ((torch.from_numpy(p) @ turned) * at_p).sum() + ((torch.from_numpy(s) @ turned) * at_s).sum()
            )
            (by_axes,) = torch.autograd.grad(surrogate, axes)
            (by_cell,) = torch.autograd.grad((to_mesh * by_axes).sum(), box.cell, retain_graph=True)
            return by_cell + self._slope_of_waves(p, s, pull, box)

    def _slope_of_waves(self, p: Array, s: Array, pull: Pull, box: Box) -> Tensor:
        """Derivative by the cell of the waves' energy; their phases do not depend on it."""
        left, right = pull.waves
        broad = []  # the densities, each width with its square: derivatives by k^2
        for moments in ((p,) if p is s else (p, s)) if self.smooth else ():
            m = (moments @ self.frame)[self.sorted]
            parts = zip(self.rows, self.smooth, self.widths, strict=True)
            spread = ((self._spread(rows, m), (w**2 - self.own) * smooth) for rows, smooth, w in parts)
            waves = (fft.rfftn(one, workers=self.threads) * factor for one, factor in spread)
            broad.append(sum(waves))
        if box.background:
            return self._slope_of_bulk(left, right, broad, box.detached)
        by_cell = torch.zeros_like(box.cell)
        for part, k in self.waves.planes(box):
            ratio = torch.from_numpy((self.waves.ratio(part) * self.double).reshape(-1))
            k2 = square(k)
            weight = box.kernel(k, k2) / box.volume * ratio * torch.exp(-self.own * k2)
            value = weight @ _overlap(left[part], right[part])
            if broad:
                slope = _overlap(left[part], broad[-1][part]) + _overlap(broad[0][part], right[part])
                value = value - 0.5 * (weight.detach() * slope) @ k2
            by_cell += torch.autograd.grad(value, box.cell, retain_graph=True)[0]
        return by_cell

    def _slope_of_bulk(self, left: Array, right: Array, broad: list[Array], box: Box) -> Tensor:
        planes = shares(self.shape[0], self.threads)
        found = np.zeros((len(planes), 3, 3))
        to_k = reciprocal(box).numpy()

        def add(p: Array, s: Array, kernel: float, width: float) -> None:
            def run(share: tuple[int, int]) -> None:
                sums = found[planes.index(share)]
                self.wave_loops.strained(to_k, self.influence, p, s, self.double, kernel, width, self.shape[:2], sums, *share)

            in_threads(run, planes, self.threads)

        add(left, right, 1.0, self.own)
        if broad:
            add(left, broad[-1], 0.0, 0.5)
            add(broad[0], right, 0.0, 0.5)
        by_strain = torch.from_numpy(found.sum(0)) / math.prod(self.shape)
        return torch.linalg.inv(box.cell).T @ by_strain

    def _spread(self, rows: Array, m: Array) -> Array:
        nx, ny, nz = self.shape
        halo = self.order - 1
        mesh = np.zeros((nx, ny, nz + halo), self.dtype)
        one = len(self.rows) == 1
        u, moments, plane = (a if one else np.ascontiguousarray(a[rows]) for a in (self.u, m, self.plane))
        # a site reaches order - 1 planes on: blocks of planes that do not adjoin never write to the same point
        blocks = 2 * self.threads if nx >= 2 * self.threads * self.order else 1
        ends = np.searchsorted(plane, np.linspace(0, nx, blocks + 1))
        shares = list(pairwise(ends.tolist()))
        for phase in (shares[::2], shares[1::2]):
            self._parallel(self.loops.spread, self.lmax, mesh, u, moments, phase)
        mesh[:, :, :halo] += mesh[:, :, nz:]
        return mesh[:, :, :nz]

    def _parallel(
        self, loop: Callable[..., None], derivatives: int, mesh: Array, u: Array, moments: Array, shares: list[tuple[int, int]]
    ) -> None:
        order, d = (0,) * self.order, (0,) * derivatives
        rows = table(self.order, derivatives).astype(self.dtype)

        def run(share: tuple[int, int]) -> None:
            loop(order, d, mesh, rows, u, moments, *share)

        in_threads(run, shares, self.threads)


def _overlap(a: Array, b: Array) -> Tensor:
    return torch.from_numpy(np.real(np.conj(a) * b).astype(np.float64).reshape(-1))


#: NEXT[c, axis] is the place of derivative c taken once more along an axis.
NEXT = np.array(
    [
        [next(d for d, q in enumerate(POWERS) if (q == p + np.eye(3, dtype=int)[axis]).all()) for axis in range(3)]
        for p in POWERS[: COUNT[2]]
    ]
)


def mesh_axes(box: Box, shape: Any) -> Tensor:
    """T with u = R T in mesh units, (3, 3)."""
    return torch.linalg.inv(box.cell) * torch.tensor(list(shape), dtype=torch.float64)


def frame(to_mesh: Tensor, lmax: int) -> Tensor:
    """F, (size, COUNT[lmax]): p F are the factors of the derivatives by mesh coordinates in the energy of multipoles p."""
    rows = [torch.ones(1, 1, dtype=torch.float64)]
    if lmax > 0:
        rows.append(to_mesh)
    if lmax > 1:
        second = to_mesh.T @ (QUADRUPOLE.to(to_mesh) / 3) @ to_mesh
        pairs = [np.flatnonzero(p).tolist() * (2 // np.count_nonzero(p)) for p in POWERS[4:10]]
        rows.append(torch.stack([second[:, a, b] * (1 if a == b else 2) for a, b in pairs], 1))
    return torch.block_diag(*rows)
