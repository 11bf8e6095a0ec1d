"""The Coulomb operator between Gaussian multipoles: open space exactly, periodic structures by Ewald's method.

The interaction of two Gaussian charges of widths sigma_i, sigma_j is erf(a r) / r, a^2 = 1 / (2 (sigma_i^2 + sigma_j^2)).
With periodic axes it is divided, with smoother widths s_i = max(sigma_i, s), into

    [erf(a r) - erf(b r)] / r                             summed over the images within a cutoff, b^2 = 1 / (2 (s_i^2 + s_j^2))
    1/V sum_k K(k) exp(-(s_i^2 + s_j^2) k^2 / 2) exp(i k r)      summed over waves, K(k) the kernel of the boundary conditions
    -(2 pi / V) (s_i^2 - sigma_i^2 + s_j^2 - sigma_j^2)   in bulk, so that the average potential is zero, whatever the division.

Source: P. P. Ewald, Ann. Phys. 369, 253 (1921); Gaussian charges as in T. R. Gingrich, M. Wilson, Chem. Phys. Lett. 500,
178 (2010); multipoles as in W. Smith, CCP5 Newsletter 46, 18 (1998), in solid harmonics; boundaries: see `boundary`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cgdft.electrostatics.boundary import Box
from cgdft.electrostatics.mesh import Mesh, choose
from cgdft.electrostatics.multipole import gaussian_coulomb, pair_energy
from cgdft.electrostatics.pairs import Places, all_pairs, periodic_pairs, point_pairs
from cgdft.electrostatics.waves import CACHE, Centres, WaveSum, slices, waves_within

if TYPE_CHECKING:
    from cgdft.structure import Structure

#: Pairs of sites in open space held at once, some 15 numbers each with derivatives: 12 GB.
LARGEST = 100_000_000
#: Points of meshes, one for each width, held at once, some five numbers each with derivatives: 12 GB.
MESHES = 300_000_000
#: Time of one wave at one site over that of one pair; only the speed depends on it.
WAVE_COST = 0.05
#: Up to this many times the smallest width, a split costs more than the waves that resolve that width, of which there are
#: twice as many then: pairs and waves cost the same at the best split.
ALONE = 2 ** (1 / 3)


@dataclass(frozen=True, eq=False)
class Sites:
    """Centres of Gaussian multipoles: positions (n, 3), structure of each (n,), width of each (n,) >= 0, highest l."""

    positions: Float[Tensor, "n 3"]
    index: Int[Tensor, " n"]
    width: Float[Tensor, " n"]
    lmax: int

    @property
    def size(self) -> int:
        """Coefficients per site."""
        return (self.lmax + 1) ** 2


@dataclass(frozen=True, eq=False)
class _Waves:
    """The smooth part of one structure: by a mesh or by its waves."""

    structure: int
    targets: Int[Tensor, " nt"]
    sources: Int[Tensor, " ns"]
    target_width: Float[Tensor, " nt"]
    source_width: Float[Tensor, " ns"]
    box: Box
    sum: Mesh | WaveSum
    smoothed: bool


class Coulomb:
    """A(R): potential energy p . A . s of the multipoles s at `sources` in the field of p at `targets`.

    Everything that depends on the positions alone is computed here, once. Differentiable, to any order, in positions, widths
    and cell.

    Args:
        structure: gives cell and boundary conditions of each structure.
        sources: sites of the density: the atoms, or others, those of a structure adjoining.
        targets: sites where it is felt; default: the sources themselves.
        self_interaction: whether a multipole interacts with itself (not with its images).
        accuracy: relative truncation of the Ewald sums.
        mesh: whether the waves are summed on a mesh.
        dtype: in which pairs and mesh are summed; float32, with a mesh only, reaches an accuracy of 1e-5.

    Raises:
        ValueError: an accuracy that the dtype does not reach.
        ValueError: more pairs of sites in open space than memory holds; widths that need more pairs or waves in a cell.
    """

    def __init__(
        self,
        structure: Structure,
        sources: Sites,
        targets: Sites | None = None,
        self_interaction: bool = True,
        accuracy: float = 1e-12,
        mesh: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        if dtype == torch.float32 and not (mesh and accuracy >= 1e-5):
            raise ValueError(f"`accuracy` must be at least 1e-5 in float32, and on a mesh, got {accuracy!r}; use float64")
        self.same, self.mesh, self.dtype = targets is None, mesh, dtype
        self.structure, self.sources, self.targets = structure, sources, targets or sources
        periodic = structure.pbc.any(1)
        self.accuracy = accuracy
        self._range = decay(accuracy, self.sources.lmax + self.targets.lmax)
        for name, sites in (("sources", self.sources), ("targets", self.targets)):
            if (sites.index.diff() < 0).any():
                raise ValueError(
                    f"`{name}` must have the sites of each structure beside each other, got an index that descends; sort them"
                )
        self._check_size(periodic)
        pairs, images = [self._open_pairs(periodic)], []
        self.waves: list[_Waves] = []
        for s in torch.nonzero(periodic).flatten().tolist():
            split, box = self._split(s)
            if split or not self_interaction:
                i, j, shift = self._periodic_pairs(s, split, self_interaction)
                pairs.append((i, j))
                images.append((shift, shift.new_full((len(i),), split)))
            self.waves.append(self._waves_of(s, split, box))
        self.i, self.j = (torch.cat([two[k] for two in pairs]) for k in range(2))
        u, radial = self._kernels(len(pairs[0][0]), images, self_interaction)
        if self.same:  # of (i, j) and (j, i) there is one
            radial = torch.where(self.i == self.j, 0.5, 1.0) * radial
        self.u, self.radial = u.to(dtype), radial.to(dtype)

    def energy(self, p: Float[Tensor, "n size"]) -> Float[Tensor, " n_structures"]:
        """1/2 p . A . p of each structure, hartree."""
        return 0.5 * self.bilinear(p, p)

    def bilinear(self, p: Float[Tensor, "nt size_t"], s: Float[Tensor, "ns size_s"]) -> Float[Tensor, " n_structures"]:
        """p . A . s of each structure, hartree."""
        return self._bilinear(p, s, with_mesh=True)

    def _bilinear(self, p: Tensor, s: Tensor, with_mesh: bool) -> Tensor:
        energy = p.new_zeros(self.structure.n_structures)
        if len(self.i):
            pair = self._between(p, s)
            energy = energy.index_add(0, self.targets.index[self.i], pair.expand(len(self.i)).to(energy))
        for waves in self.waves:
            if with_mesh or isinstance(waves.sum, WaveSum):
                left = p[waves.targets]
                total = waves.sum.bilinear(left, left if p is s else s[waves.sources])
                energy = energy.index_add(0, waves.targets.new_tensor([waves.structure]), total[None])
            if waves.smoothed:
                energy = energy.index_add(0, waves.targets.new_tensor([waves.structure]), self._background(waves, p, s)[None])
        return energy

    def _between(self, p: Tensor, s: Tensor) -> Tensor:
        """p . T . s of each pair, both ways."""
        here, there = p.to(self.dtype), s.to(self.dtype)
        pair = pair_energy(_of(here, self.i), _of(there, self.j), self.u, self.radial)
        if not self.same:
            return pair
        return 2 * pair if p is s else pair + pair_energy(_of(there, self.i), _of(here, self.j), self.u, self.radial)

    def potential(self, s: Float[Tensor, "ns size_s"]) -> Float[Tensor, "nt size_t"]:
        """A . s: the energy's derivative by the multipoles at the targets (l = 0: potential, l = 1: its gradient, ...)."""
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            probe = s.new_zeros(len(self.targets.positions), self.targets.size, requires_grad=True)
            energy = self._bilinear(probe, s, with_mesh=graph).sum()
        felt = torch.autograd.grad(energy, probe, create_graph=graph)[0] if energy.requires_grad else torch.zeros_like(probe)
        if not graph:
            for waves in self.waves:
                if isinstance(waves.sum, Mesh):
                    felt[waves.targets] += waves.sum.potential(s[waves.sources])
        return felt

    def matrix(self) -> Float[Tensor, "n_structures n n"]:
        """A of each structure among its own sites, padded with zeros to the largest; coefficients of an atom adjoin."""
        size, counts = self.sources.size, torch.bincount(self.sources.index, minlength=self.structure.n_structures)
        n = int(counts.max()) * size
        local = torch.arange(len(self.sources.index), device=counts.device) - (counts.cumsum(0) - counts)[self.sources.index]
        matrix = self.u.new_zeros(self.structure.n_structures * n * n)
        unit = torch.eye(size, dtype=self.u.dtype, device=self.u.device)
        component = torch.arange(size, device=counts.device)
        for piece in slices(len(self.i), max(1, CACHE // size**2)):
            i, j = self.i[piece], self.j[piece]
            u, radial = self.u[:, None, None, piece], self.radial[:, piece]
            block = pair_energy(unit[:, :, None, None], unit[:, None, :, None], u, radial)
            row = (self.sources.index[i] * n + local[i] * size) + component[:, None]
            place = row[:, None] * n + (local[j] * size + component[:, None])[None]
            matrix.index_add_(0, place.flatten(), block.expand(place.shape).flatten())
        matrix = matrix.reshape(-1, n, n)
        matrix = matrix + matrix.transpose(1, 2)
        for waves in self.waves:
            explicit = waves.sum
            if isinstance(explicit, Mesh):
                here = Centres(self.sources.positions[waves.sources], waves.source_width)
                explicit = WaveSum(here, here, waves.box, self._range)
            block = explicit.matrix(size)
            if waves.smoothed:
                excess = self._excess_width(waves.sources, waves.source_width, self.sources)
                charge = unit[:1].repeat(1, len(excess))[0]
                shift = (excess[:, None] * unit[0]).flatten()
                block = block - self._per_volume(waves) * (shift[:, None] * charge + charge[:, None] * shift)
            padded = torch.nn.functional.pad(block, (0, n - len(block), 0, n - len(block)))
            matrix = matrix.index_add(0, waves.sources.new_tensor([waves.structure]), padded[None])
        return matrix

    def _check_size(self, periodic: Tensor) -> None:
        n = self.structure.n_structures
        here = torch.bincount(self.targets.index, minlength=n) * torch.bincount(self.sources.index, minlength=n)
        pairs = int(here[~periodic].sum())
        if pairs > LARGEST:
            raise ValueError(
                f"`structure` must have at most {LARGEST:g} pairs of sites in open space, where all of them are held at once, "
                f"got {pairs:g} ({int(here.max()) ** 0.5:.0f} sites in the largest structure); solve smaller batches or parts"
            )

    def _require_room(self, number: float, of: str, most: float = LARGEST) -> None:
        if number > most:
            width = self.sources.width.detach()
            raise ValueError(
                f"`width` must be such that sums over {of} fit into memory, got {number:.0e} of them for {len(width)} sites "
                f"with widths from {float(width.min()):.3g} to {float(width.max()):.3g} bohr; take fewer sites, widths "
                "that are less unlike, or another `operator` of Hartree"
            )

    def _open_pairs(self, periodic: Tensor) -> tuple[Tensor, Tensor]:
        if periodic.any():
            rows = torch.nonzero(~periodic[self.targets.index]).flatten()
            columns = torch.nonzero(~periodic[self.sources.index]).flatten()
            i, j = all_pairs(self.targets.index[rows], self.sources.index[columns])
            i, j = rows[i], columns[j]
        else:
            i, j = all_pairs(self.targets.index, self.sources.index)
        once = i <= j
        return (i[once], j[once]) if self.same else (i, j)

    def _split(self, s: int) -> tuple[float, Box]:
        """Width of the smooth part that makes the sums over pairs and waves equally dear, and the box of the waves."""
        here, there = self.sources.index == s, self.targets.index == s
        positions = torch.cat([self.sources.positions[here], self.targets.positions[there]])
        widths = torch.cat([self.sources.width[here], self.targets.width[there]]).detach()
        widest = float(widths.max())
        n, cell, pbc = max(1, int(here.sum())), self.structure.cell[s], self.structure.pbc[s]
        split = 0.0
        for _ in range(8 if not pbc.all() else 1):  # the box of a slab or wire depends on the split and the split on the box
            box = Box.around(cell, pbc, positions, 2 * self._range * max(split, widest))
            volume = float(box.volume.detach())
            split = float((volume**2 / n * WAVE_COST / (128 * math.pi**3)) ** (1 / 6))
            if self.mesh:  # pairs against mesh points 0.4 widths apart
                split = float((volume**2 / n**2 * 0.1 / (0.4**3 * 32 / 3 * math.pi * self._range**3)) ** (1 / 6))
        if split < ALONE * float(widths.min()):
            split = 0.0
        return split, Box.around(cell, pbc, positions, 2 * self._range * max(split, widest))

    def _kernels(self, first: int, images: list[tuple[Tensor, Tensor]], self_interaction: bool) -> tuple[Tensor, Tensor]:
        """u, (3, pairs), and the kernels of all pairs; those from `first` on have `images`, (shift, split), less the waves."""
        i, j = self.i, self.j
        t, w = self.targets.width[i], self.sources.width[j]
        u = _of(self.targets.positions, i) - _of(self.sources.positions, j)
        itself = i == j
        if images:
            shift, split = (torch.cat([two[k] for two in images]) for k in range(2))
            cells = self.structure.cell[self.sources.index[j[first:]]]
            u = torch.cat([u[:, :first], u[:, first:] - (shift[:, None] @ cells)[:, 0].T], 1)
            itself = torch.cat([itself[:first], itself[first:] & (shift == 0).all(1)])
        r2, order = _square(u), self.sources.lmax + self.targets.lmax
        radial = gaussian_coulomb(r2, 1 / (2 * (t**2 + w**2)), order)
        if self.same and not self_interaction:
            radial = torch.where(itself, 0.0, radial)
        if images:
            t, w = self._smooth(t[first:], split, True), self._smooth(w[first:], split)
            waves = gaussian_coulomb(r2[first:], 1 / (2 * (t**2 + w**2)), order)
            radial = torch.cat([radial[:, :first], radial[:, first:] - waves], 1)
        return u, radial

    def _periodic_pairs(self, s: int, split: float, self_interaction: bool) -> tuple[Tensor, Tensor, Tensor]:
        """(i, j, shift) of those in structure s that waves smoothed to a width `split` do not describe."""
        sources, targets = self.sources.width[self.sources.index == s], self.targets.width[self.targets.index == s]
        smooth = torch.cat([self._smooth(targets, split, True), self._smooth(sources, split)]).detach().max()
        cutoff = self._range * math.sqrt(2 * (split**2 + float(smooth) ** 2))
        tight = bool((sources < split).any())
        places = Places(self.sources.positions, self.sources.index, self.structure.cell, self.structure.pbc)
        self._require_room(tight * len(sources) * len(targets) * _images(self.structure, s, cutoff), "pairs")
        if not tight:  # the waves are everything
            i = j = torch.nonzero(self.sources.index == s).flatten()[: None if self.same else 0]
            shift = self.structure.cell.new_zeros(len(i), 3)
        elif self.same:
            i, j, shift = periodic_pairs(places, s, cutoff)
        else:
            rows = torch.nonzero(self.targets.index == s).flatten()
            i, j, shift = point_pairs(self.targets.positions[rows], places, s, cutoff)
            i = rows[i]
        itself = (i == j) & (shift == 0).all(1) if self.same else torch.zeros_like(i, dtype=torch.bool)
        needed = (self.sources.width[j] < split) | (self._smooth(self.targets.width[i], split, True) > self.targets.width[i])
        needed = needed if self_interaction else needed | itself
        needed = needed & (i <= j) if self.same else needed
        return i[needed], j[needed], shift[needed]

    def _smooth(self, width: Tensor, split: float | Tensor, target: bool = False) -> Tensor:
        """Widths in the wave sum. Targets of their own, such as points, stay as they are: smooth sources are enough."""
        return width if target and not self.same else width.clamp(min=split)

    def _waves_of(self, s: int, split: float, box: Box) -> _Waves:
        targets = torch.nonzero(self.targets.index == s).flatten()
        sources = torch.nonzero(self.sources.index == s).flatten()
        t, w = self._smooth(self.targets.width[targets], split, True), self._smooth(self.sources.width[sources], split)
        smoothed = bool((self.sources.width[sources] < split).any())
        if self.mesh:
            costs = (10.0 * len(sources) * (self.sources.lmax + 1) ** 2, 10.0)
            _, box, shape, order = choose(box, (float(w.min()), float(w.max())), self.sources.lmax, 0.5 * self.accuracy, *costs)
            self._require_room(len(w.unique()) * math.prod(shape), "points of a mesh for each width", MESHES)
            mesh = Mesh(self.sources.positions[sources], w, self.sources.lmax, box, shape, order, self.dtype)
            return _Waves(s, targets, sources, t, w, box, mesh, smoothed)
        if len(t) and len(w):
            self._require_room(waves_within(box, self._range, float(t.detach().min()), float(w.detach().min())), "waves")
        here = Centres(self.sources.positions[sources], w)
        there = here if self.same else Centres(self.targets.positions[targets], t)
        return _Waves(s, targets, sources, t, w, box, WaveSum(there, here, box, self._range), smoothed)

    def _excess_width(self, which: Tensor, width: Tensor, sites: Sites) -> Tensor:
        return width**2 - sites.width[which] ** 2

    def _per_volume(self, waves: _Waves) -> Tensor:
        return 2 * math.pi * waves.box.background / waves.box.volume

    def _background(self, waves: _Waves, p: Tensor, s: Tensor) -> Tensor:
        q, z = p[waves.targets, 0], s[waves.sources, 0]
        left = (self._excess_width(waves.targets, waves.target_width, self.targets) * q).sum()
        right = (self._excess_width(waves.sources, waves.source_width, self.sources) * z).sum()
        return -self._per_volume(waves) * (left * z.sum() + q.sum() * right)


def decay(accuracy: float, order: int) -> float:
    """x where x^order exp(-x^2), a Gaussian with the powers that `order` derivatives bring, falls below `accuracy`."""
    x2 = -math.log(accuracy)
    for _ in range(20):
        x2 = -math.log(accuracy) + 0.5 * order * math.log(max(x2, 1.0))
    return math.sqrt(x2)


def _images(structure: Structure, s: int, cutoff: float) -> float:
    """About how many cells there are within a cutoff of one."""
    cell, pbc = structure.cell[s].detach(), structure.pbc[s]
    heights = Box.around(cell, pbc, cell.new_zeros(1, 3), 1.0).heights
    return math.prod(max(1.0, 2 * cutoff / height) for height, periodic in zip(heights, pbc.tolist(), strict=True) if periodic)


def _of(p: Tensor, which: Tensor) -> Tensor:
    """Multipoles or positions of these sites, (size, n), from those of all, (n_sites, size)."""
    return p.T.gather(1, which.expand(p.shape[1], -1))


def _square(u: Tensor) -> Tensor:
    return (u * u).sum(0)
