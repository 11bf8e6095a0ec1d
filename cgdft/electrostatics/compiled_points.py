"""Potential and its derivatives at points in space, by pairs and a mesh: what a large structure does to where no atom is.

A source of width S seen by a point has the factor exp(-S^2 k^2 / 2): on the mesh source and point share it, the point with the
width s / sqrt(2) and the source with the rest. What sources narrower than s have beyond that is a sum over the atoms near each
point.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.electrostatics.boundary import Box
from cgdft.electrostatics.compiled_mesh import CompiledMesh
from cgdft.electrostatics.coulomb import Sites, decay
from cgdft.electrostatics.division import POINT, SITE, STEPS, Surroundings
from cgdft.electrostatics.mesh import choose
from cgdft.electrostatics.multipole import gaussian_coulomb, pair_energy
from cgdft.electrostatics.pairs import point_pairs

if TYPE_CHECKING:
    from cgdft.structure import Structure

#: Measured times, ns: of a point with an atom near it, beside a mesh and of its density alone; of a point with any atom in
#: explicit sums.
PAIR, GAUSSIAN, EXPLICIT = 1000.0, 650.0, 100.0
#: A Gaussian is nothing beyond so many widths, in space as among waves.
ENDS = 9.0
#: Widths of sources that have a mesh each; of more, all have the widest.
MESHES = 8


def felt_at(
    structure: Structure,
    s: int,
    sites: Sites,
    p: Float[Tensor, "n size"],
    points: Float[Tensor, "m 3"],
    lmax: int,
    accuracy: float = 1e-8,
    kind: type[Box] = Box,
) -> Float[Tensor, "m felt"] | None:
    """Potential (l = 0) and derivatives (l = 1, ...) up to `lmax` of structure s at points, (m, (lmax + 1)^2), without a graph.

    None where explicit sums are faster: of few atoms, or of densities, which end; and where these would need pairs.

    Args:
        sites, p: the atoms of the whole batch and their multipoles.
        accuracy: relative error.
        kind: of box, for another kernel than Coulomb's.
    """
    here = sites.index == s
    positions, width, mine = sites.positions[here].detach(), sites.width[here].detach(), p[here].detach()
    cell, pbc, top = structure.cell[s].detach(), structure.pbc[s], max(lmax, sites.lmax)
    everything = torch.cat([positions, points])
    reach, around = decay(accuracy, lmax + sites.lmax), Surroundings(Box.around(cell, pbc, positions, 2.0), positions)
    best: tuple[float, float, Box, list[int], int] | None = None
    narrow, wide, many = float(width.min()), float(width.max()), len(width.unique()) > MESHES
    if many and kind is not Box:
        return None
    region = max(float(Box.around(cell, pbc, points, 0.0).volume) / 2 ** int((~pbc).sum()), 1e-300)

    def near(cutoff: float) -> float:
        """About how many atoms are near a point, among atoms or spread out."""
        return min(around.within(cutoff) + 1, len(positions) * 4 / 3 * math.pi * cutoff**3 / region)

    for step in range(STEPS if kind is Box else 1):
        smooth = (wide if many else narrow) * 1.2**step
        own = smooth / math.sqrt(2)
        box = kind.around(cell, pbc, everything, math.sqrt(2) * reach * max(smooth, wide))
        each = len(everything) * SITE * (top + 1)
        meshes = len(width.clamp(min=smooth).unique())
        point = POINT[torch.float64] * meshes
        powers = top + (kind is not Box)  # of k: Coulomb's kernel has two less
        ends = own, math.sqrt(max(smooth, wide) ** 2 - own**2)
        cost, box, shape, order = choose(box, ends, powers, 0.5 * accuracy, each, point)
        narrower = float((width < smooth).double().mean())
        pairs = len(points) * near(math.sqrt(2) * reach * smooth) * narrower * PAIR if narrower else 0.0
        if best is not None and pairs > best[0]:
            break
        cost += pairs
        if best is None or cost < best[0]:
            best = cost, smooth, box, shape, order
    assert best is not None
    cost, smooth, box, shape, order = best
    everywhere = len(positions) * EXPLICIT if not pbc.any() else math.inf
    spheres = float((4 / 3 * math.pi * (ENDS * width) ** 3).sum()) / region
    nearby = min(around.within(ENDS * wide) + 1, spheres) * GAUSSIAN if kind is not Box else math.inf
    if cost > len(points) * min(everywhere, nearby):
        return None
    rest = (width.clamp(min=smooth) ** 2 - 0.5 * smooth**2).sqrt()
    widths = torch.cat([rest, torch.full_like(points[:, 0], smooth / math.sqrt(2))])
    widths[torch.isclose(widths, widths[-1], rtol=1e-12)] = widths[-1]
    mesh = CompiledMesh(everything, widths, top, box, shape, order)
    sources = torch.zeros(len(everything), (top + 1) ** 2, dtype=torch.float64)
    sources[: len(positions), : mine.shape[1]] = mine
    size = (lmax + 1) ** 2
    felt = torch.from_numpy(mesh.potential(sources.numpy())[len(positions) :, :size].copy())
    if box.background:
        beyond = (smooth**2 - width**2).clamp(min=0.0)
        felt[:, 0] -= 2 * math.pi / float(box.volume) * float((beyond * mine[:, 0]).sum())
    if narrow < smooth:
        atoms = torch.nonzero(here & (sites.width.detach() < smooth)).flatten()
        i, j, shift = point_pairs(points, structure, s, math.sqrt(2) * reach * smooth, atoms)
        u = points[i] - structure.positions[j].detach() - shift @ cell
        r2, order = (u * u).sum(1), lmax + sites.lmax
        radial = gaussian_coulomb(r2, 1 / (2 * sites.width[j].detach() ** 2), order)
        radial = radial - gaussian_coulomb(r2, torch.full_like(r2, 1 / (2 * smooth**2)), order)
        there = p.detach().T[:, j]
        for c, unit in enumerate(torch.eye(size, dtype=torch.float64)):
            felt[:, c].index_add_(0, i, pair_energy(unit[:, None], there, u.T, radial))
    return felt
