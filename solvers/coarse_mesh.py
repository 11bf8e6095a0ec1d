"""The long waves of a structure on a coarse mesh: their kernel K, and the spline S from the mesh to the sites."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from cgdft.electrostatics.boundary import Box
from cgdft.electrostatics.compiled_mesh import Array, CompiledMesh, mesh_axes
from cgdft.electrostatics.mesh import mesh_shape
from cgdft.electrostatics.open_kernel import COARSEST, margin
from cgdft.problems.minimisation import Minimisation

#: Spacing of the coarse mesh, bohr; order of its splines; fewest atoms of a structure with long waves.
SPACING, ORDER, FEWEST = 4.0, 3, 16
#: Waves are left alone on a mesh of more points than these, and of more than these an atom.
MOST_POINTS, MOST_OF_ATOM = 20_000, 300
#: Around an open structure, bohr; relative error of its kernel where that takes less.
VACUUM, ROUGH = 50.0, 1e-2
#: Length over width of a wire from which its own kernel is worth more than that of images, which is positive.
LONG = 8.0
#: Waves along each axis by which the self-interaction is integrated.
WAVES = 24


def coarse_meshes(problem: Minimisation) -> list[CoarseMesh]:
    """Those of all structures with long waves."""
    large = [s for s, count in enumerate(problem.structure.counts.tolist()) if count >= FEWEST]
    return [mesh for s in large if (mesh := _of_structure(problem, s)) is not None]


def _of_structure(problem: Minimisation, s: int) -> CoarseMesh | None:
    """The coarse mesh of a structure; None of one that is spread out in so much space that nearly all of it would be empty."""
    structure = problem.structure
    first, count = int(structure.first[s]), int(structure.counts[s])
    sites = slice(first, first + count)
    width = problem.basis.width(structure)[sites].detach().cpu()
    positions = structure.positions[sites].detach().cpu()
    smooth = float((width**2).mean().sqrt())
    cell, pbc = structure.cell[s].detach().cpu(), structure.pbc[s].cpu()
    most = max(MOST_POINTS, MOST_OF_ATOM * count)
    for _ in range(2):
        box = Box.around(cell, pbc, positions, 4 * smooth)
        less = _with_less_vacuum(box, positions)
        shape = [max(ORDER, n) for n in mesh_shape(less, SPACING)]
        if math.prod(shape) <= most:
            return CoarseMesh(s, sites, positions, smooth, less, shape)
        cell, positions = _nearer_images(box, positions)
    return None


def _nearer_images(box: Box, positions: Tensor) -> tuple[Tensor, Tensor]:
    """A cell with at most `VACUUM` between images, and positions that it does not cut through."""
    fractions, cell = positions @ torch.linalg.inv(box.cell), box.cell.clone()
    for axis in torch.nonzero(box.periodic).flatten().tolist():
        inside, order = (fractions[:, axis] % 1).sort()
        gaps = torch.cat([inside[1:], inside[:1] + 1]) - inside
        gap, before = gaps.max(0)
        length = float(1 - gap) + VACUUM / box.heights[axis]
        if length < 1:
            first = inside[(before + 1) % len(inside)]
            fractions[order, axis] = (inside - first) % 1
            cell[axis] *= length
    return cell, fractions @ box.cell


def _with_less_vacuum(box: Box, positions: Tensor) -> Box:
    """A box that is not nearly empty, where what it makes of the longest distances matters to few waves.

    An open structure has at most `VACUUM` around it; a wire that is not `LONG` times as long as wide has images beside it, with
    that between.
    """
    lengths = box.cell.norm(dim=1, keepdim=True)
    if box.folded:
        wide = box.widened(margin(SPACING / COARSEST, SPACING / COARSEST, ROUGH)).cell
        enough = (lengths / 2 + VACUUM) / wide.norm(dim=1, keepdim=True)
        return Box(enough.clamp(max=1.0) * wide, box.periodic, box.radius)
    directions = box.cell / lengths
    along = positions @ directions.T
    spans = torch.where(box.periodic, lengths[:, 0], along.max(0).values - along.min(0).values + VACUUM)
    if int(box.periodic.sum()) > 1 or spans[box.periodic] > LONG * spans[~box.periodic].max():
        return box
    return Box(spans[:, None] * directions, torch.ones_like(box.periodic), math.inf)


class CoarseMesh:
    """The coarse mesh of one structure.

    Attributes:
        structure: its number.
        sites: of the structure.
        points: of the mesh.
        kernel: K of the half of waves that a real transform keeps, not negative.
        itself: what the long waves of a charge do to itself, hartree / e^2.
    """

    def __init__(self, structure: int, sites: slice, positions: Tensor, smooth: float, box: Box, shape: list[int]) -> None:
        self.structure, self.sites, width = structure, sites, torch.full_like(positions[:, 0], smooth)
        self._mesh = CompiledMesh(positions, width, 0, box, shape, ORDER, np.float32)
        self.shape, self.points = self._mesh.shape, math.prod(shape)
        self.kernel = np.maximum(self._mesh.influence, 0)  # those cut or folded are negative for some
        self.itself = _itself(smooth, (1 / mesh_axes(box, shape).norm(dim=0)).tolist())

    def spread(self, charges: Array) -> Array:
        """S^T of charges (n, 1) of the sites."""
        return self._mesh.spread(charges)

    def take(self, values: Array) -> Array:
        """S of values on the mesh, (n, 1)."""
        return self._mesh.take(values)

    def vectors(self, sites: Array) -> Array:
        """Real vectors of each of some sites, (n, 2 K), of which S K S^T are the products."""
        waves = fft.rfftn(self._mesh.splines(sites), axes=(1, 2, 3), workers=self._mesh.threads)
        waves *= np.sqrt(self.kernel * (self._mesh.double / self.points).astype(np.float32))
        return waves.reshape(len(sites), -1).view(np.float32)


def _itself(width: float, spacings: list[float]) -> float:
    """Self-interaction of a Gaussian through the waves that a mesh carries, averaged over its places.

    integral d3k / (2 pi)^3 (4 pi / k^2) exp(-width^2 k^2) product over axes of U^2 / sum_m U_m^2, over the cell of the mesh.
    """
    k = [(np.arange(WAVES) + 0.5) * np.pi / (WAVES * h) for h in spacings]
    seen = []
    for h, one in zip(spacings, k, strict=True):
        power = [np.sinc(one * h / (2 * np.pi) + alias) ** (2 * ORDER) for alias in range(-2, 3)]
        seen.append(power[2] / sum(power))
    k2 = k[0][:, None, None] ** 2 + k[1][None, :, None] ** 2 + k[2][None, None, :] ** 2
    carried = seen[0][:, None, None] * seen[1][None, :, None] * seen[2][None, None, :]
    cell = math.prod(1 / (2 * WAVES * h) for h in spacings)
    return 8 * cell * float((4 * np.pi / k2 * np.exp(-(width**2) * k2) * carried).sum())
