"""The Coulomb operator of `coulomb.py` on the processor: pairs and mesh in compiled loops, first derivatives in closed form.

Everything that depends on the positions alone is computed once; then an application is a sum over pairs, a spread, two
transforms and a gather. Derivatives of derivatives by positions are those of `Coulomb`, which is built when they are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cgdft.electrostatics.boundary import Box
from cgdft.electrostatics.compiled_mesh import CompiledMesh, Field, Pull
from cgdft.electrostatics.compiled_pairs import CompiledPairs
from cgdft.electrostatics.coulomb import Coulomb, Sites, decay
from cgdft.electrostatics.division import NOTHING, ROUNDING, Plan, cost_of_all_pairs, divide
from cgdft.electrostatics.pairs import all_pairs, neighbours
from cgdft.slopes import slope

if TYPE_CHECKING:
    from cgdft.structure import Structure

Array = NDArray[Any]
#: All pairs of an open structure that cost less, ns, are taken without a look at other divisions, which takes longer.
WORTH = 1e6


@dataclass(frozen=True, eq=False)
class _Part:
    """A structure, or small ones in open space: sites, division, the squares of widths that the smooth part has in excess."""

    s: int
    sites: slice | Array
    plan: Plan
    mesh: CompiledMesh | None
    pairs: CompiledPairs | None
    excess: Array


class CompiledCoulomb:
    """A(R) among the sites of a density: potential energy p . A . s of its multipoles; on the processor.

    Args:
        structure: gives cell and boundary conditions of each structure.
        sites: of the density: the atoms; widths without a gradient.
        self_interaction: whether a multipole interacts with itself (not with its images).
        accuracy: relative error of potentials.
        dtype: in which sums are held; float32 reaches an accuracy of 1e-5.

    Raises:
        ValueError: an accuracy that the dtype does not reach; a mesh that does not fit into memory; sites beside the atoms.
    """

    def __init__(
        self, structure: Structure, sites: Sites, self_interaction: bool = True, accuracy: float = 1e-8, dtype: Any = np.float64
    ) -> None:
        if np.dtype(dtype) == np.float32 and accuracy < 1e-5:
            raise ValueError(f"`accuracy` must be at least 1e-5 in float32, got {accuracy!r}; use float64")
        if sites.positions is not structure.positions and not torch.equal(sites.positions, structure.positions):
            raise ValueError("`sites` must be the atoms of `structure`; `Coulomb` has others too")
        self.structure, self.sites = structure, sites
        self.self_interaction, self.accuracy = self_interaction, accuracy
        with _looking:
            same = next((one for one in _alive if one.holds(structure, sites, self_interaction, accuracy, dtype)), None)
        self._sums = same or _Sums(structure, sites, self_interaction, accuracy, dtype)
        with _looking:
            _alive.add(self._sums)

    def energy(self, p: Float[Tensor, "n size"]) -> Float[Tensor, " n_structures"]:
        """1/2 p . A . p of each structure, hartree."""

        def slope(g: Tensor, cell: bool) -> Tensor:
            if torch.is_grad_enabled():
                return _slope_with_graph(self, lambda exact: (g * exact.energy(p)).sum(), cell)
            weight, values = g if cell else g[self.structure.index, None], p.detach().numpy()
            return 0.5 * (weight[:, None, None] if cell else weight) * self._sums.slope(values, values, cell)

        return self._movable(_Energy.apply(self, p), slope)  # type: ignore[no-untyped-call]

    def bilinear(self, p: Float[Tensor, "n size"], s: Float[Tensor, "n size"]) -> Float[Tensor, " n_structures"]:
        """p . A . s of each structure, hartree."""
        return self.structure.total((p * self.potential(s)).sum(1))

    def potential(self, s: Float[Tensor, "n size"]) -> Float[Tensor, "n size"]:
        """A . s: potential (l = 0), its gradient (l = 1), ... felt by each multipole."""

        def slope(g: Tensor, cell: bool) -> Tensor:
            if torch.is_grad_enabled():
                return _slope_with_graph(self, lambda exact: exact.bilinear(g, s).sum(), cell)
            return self._sums.slope(g.detach().numpy(), s.detach().numpy(), cell)

        return self._movable(_Potential.apply(self, s), slope)  # type: ignore[no-untyped-call]

    def differentiable(self, structure: Structure | None = None, sites: Sites | None = None) -> Coulomb:
        """The same operator with derivatives of every order; by positions and cell of these, where they are given."""
        structure, sites = structure or self.structure, sites or self.sites
        return Coulomb(structure, sites, self_interaction=self.self_interaction, accuracy=min(self.accuracy, 1e-6))

    def _movable(self, value: Tensor, slope: Callable[[Tensor, bool], Tensor]) -> Tensor:
        """A value with derivatives by positions and cell."""
        structure = self.structure
        for at, cell in ((structure.positions, False), (structure.cell, True)):
            if at.requires_grad and (structure.pbc.any() or not cell):
                value = value + _Slope.apply(at, torch.zeros_like(value), slope, cell)  # type: ignore[no-untyped-call]
        return value

    @property
    def plans(self) -> list[Plan]:
        """How the sums of each structure are divided."""
        return self._sums.plans


class _Sums:
    """The numbers behind `CompiledCoulomb`, without graph; shared by those of the same positions."""

    def __init__(self, structure: Structure, sites: Sites, self_interaction: bool, accuracy: float, dtype: Any) -> None:
        self.at = [one.clone() for one in _numbers(structure, sites)]
        self.positions, self.cell, self.width, self.pbc = self.at[:4]
        self.lmax = sites.lmax
        self.settings = (self_interaction, accuracy, np.dtype(dtype))
        self.parts: list[_Part] = []
        self.last: tuple[Array, Array, list[Field | None]] | None = None
        self.last_pulls: tuple[tuple[Array, ...], list[Pull | None], list[tuple[Array, Array]]] | None = None
        self.plans: list[Plan] = []
        small = ~structure.pbc.any(1) & (cost_of_all_pairs(structure.counts, self.lmax) <= WORTH)
        if small.any():
            self.parts.append(self._together(structure, torch.nonzero(small[structure.index]).flatten()))
        ends = np.concatenate([[0], np.cumsum(structure.counts.numpy())]).tolist()
        for s, (start, stop) in enumerate(pairwise(ends)):
            if small[s]:
                self.plans.append(self.parts[0].plan)
                continue
            here = slice(start, stop)
            positions, width = self.positions[here], self.width[here]
            plan = divide(self.cell[s], structure.pbc[s], positions, width, self.lmax, accuracy, dtype)
            self.plans.append(plan)
            if not plan.shape:
                self.parts.append(self._together(structure, torch.arange(start, stop)))
                continue
            smooth = width.clamp(min=plan.split)
            mesh = CompiledMesh(positions, smooth, self.lmax, plan.box, plan.shape, plan.order, dtype)
            pairs = None
            tight = bool((width < plan.split).any())
            if tight or not self_interaction:
                cutoff = decay(accuracy, 2 * self.lmax) * math.sqrt(2 * (plan.split**2 + float(smooth.max()) ** 2))
                apart = neighbours(structure, s, cutoff, both=False) if tight else None
                pairs = CompiledPairs(apart, width, smooth, self.lmax, self_interaction, dtype)
            excess = (smooth**2 - width**2).numpy()
            self.parts.append(_Part(s, here, plan, mesh, pairs, excess))

    def _together(self, structure: Structure, rows: Tensor) -> _Part:
        """The sites `rows` of small open structures, with all pairs within each of these."""
        index, positions, width = structure.index[rows], self.positions[rows], self.width[rows]
        i, j = all_pairs(index, index)
        i, j = i[i < j], j[i < j]
        apart = i.numpy().astype(np.int32), j.numpy().astype(np.int32), (positions[i] - positions[j]).numpy()
        pairs = CompiledPairs(apart, width, torch.full_like(width, NOTHING), self.lmax, self.settings[0], self.settings[2])
        s = int(index[0])
        plan = Plan(NOTHING, Box.around(self.cell[s], structure.pbc[s], positions[index == s], 0.0), [], 0, ROUNDING)
        return _Part(s, rows.numpy(), plan, None, pairs, np.zeros(len(rows)))

    def holds(self, structure: Structure, sites: Sites, self_interaction: bool, accuracy: float, dtype: Any) -> bool:
        """Whether these are the numbers of a structure."""
        same = zip(self.at, _numbers(structure, sites), strict=True)
        settings = (self_interaction, accuracy, np.dtype(dtype))
        return self.settings == settings and self.lmax == sites.lmax and all(torch.equal(one, two) for one, two in same)

    def fields(self, s: Array) -> tuple[Array, list[Field | None]]:
        """A . s and the fields it came from; the last ones are kept."""
        if not s.any():
            return np.zeros_like(s), [None if part.mesh is None else part.mesh.nothing() for part in self.parts]
        last = self.last
        if last is not None and np.array_equal(last[0], s):
            return last[1], last[2]
        self.last = last = None  # a mesh or two less while those of s are made
        felt = np.empty_like(s)
        fields: list[Field | None] = []
        for part in self.parts:
            mine = s[part.sites]
            field, value = None, np.zeros_like(mine)
            if part.mesh is not None:
                field = part.mesh.field(mine)
                value = part.mesh.felt(field)
            if part.pairs is not None:
                value += part.pairs.potential(mine)
            if part.plan.box.background:
                q, per_volume = mine[:, 0], 2 * math.pi / float(part.plan.box.volume)
                value[:, 0] -= per_volume * (part.excess * q.sum() + (part.excess * q).sum())
            felt[part.sites] = value
            fields.append(field)
        self.last = s.copy(), felt, fields
        return felt, fields

    def slope(self, p: Array, s: Array, cell: bool) -> Tensor:
        """Derivatives of p . A . s, summed over structures, by the positions, (n, 3), or by the cells, (n_structures, 3, 3)."""
        return self._by_cell(p, s) if cell else self._by_position(p, s)

    def _by_position(self, p: Array, s: Array) -> Tensor:
        total = np.empty((len(p), 3))
        for part, pull, (near, _) in zip(self.parts, *self._pulls(p, s), strict=True):
            total[part.sites] = near if pull is None or part.mesh is None else near + part.mesh.by_position(pull)
        return torch.from_numpy(total)

    def _by_cell(self, p: Array, s: Array) -> Tensor:
        total = torch.zeros_like(self.cell)
        for part, pull, (near, by_strain) in zip(self.parts, *self._pulls(p, s), strict=True):
            positions, pbc = self.positions[part.sites], self.pbc[part.s]
            if part.mesh is None or pull is None or not pbc.any():
                continue
            mine = p[part.sites]
            other = mine if p is s else s[part.sites]
            with torch.enable_grad():
                cell = self.cell[part.s].clone().requires_grad_()
                tail = 2 * decay(self.settings[1], 2 * self.lmax) * max(part.plan.split, float(self.width[part.sites].max()))
                box = Box.around(cell, pbc, positions, tail)
                by_box = part.mesh.by_cell(mine, other, pull, positions, box)
                excess, q, z = part.excess, mine[:, 0], other[:, 0]
                moment = box.background * float((excess * q).sum() * z.sum() + q.sum() * (excess * z).sum())
                surrogate = (box.cell * by_box).sum() - 2 * math.pi * moment / box.volume
                total[part.s] = torch.autograd.grad(surrogate, cell)[0]
            if part.pairs is not None:
                # pairs see R_i - R_j - shift . cell: a strain moves them as it moves positions and cell together
                apart = torch.from_numpy(by_strain) - positions.T @ torch.from_numpy(near)
                total[part.s] += torch.linalg.pinv(self.cell[part.s]).T @ apart
        return total

    def _pulls(self, p: Array, s: Array) -> tuple[list[Pull | None], list[tuple[Array, Array]]]:
        """Of each structure the pull of its mesh, and derivatives of its pairs by positions and strain; the last are kept."""
        key = (p,) if p is s else (p, s)
        kept = self.last_pulls
        if kept is not None and len(kept[0]) == len(key) and all(map(np.array_equal, kept[0], key)):
            return kept[1], kept[2]
        right = self.fields(s)[1]
        left = right if p is s else self.fields(p)[1]
        pulls, pairs = [], []
        for part, one, two in zip(self.parts, left, right, strict=True):
            mine = p[part.sites]
            other = mine if p is s else s[part.sites]
            pulls.append(None if part.mesh is None or one is None or two is None else part.mesh.pull(mine, other, (one, two)))
            nothing = np.zeros((len(mine), 3)), np.zeros((3, 3))
            pairs.append(nothing if part.pairs is None else part.pairs.slopes(mine, other))
        self.last_pulls = tuple(one.copy() for one in key), pulls, pairs
        return pulls, pairs


_alive: WeakSet[_Sums] = WeakSet()
_looking = Lock()


def _numbers(structure: Structure, sites: Sites) -> list[Tensor]:
    """Everything that the sums depend on."""
    return [structure.positions.detach(), structure.cell.detach(), sites.width.detach(), structure.pbc, structure.index]


class _Potential(torch.autograd.Function):
    """s -> A . s; symmetric, so it is its own adjoint."""

    @staticmethod
    def forward(ctx: Any, operator: CompiledCoulomb, s: Tensor) -> Tensor:
        ctx.operator = operator
        return torch.from_numpy(operator._sums.fields(s.detach().numpy())[0].copy())

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor]:
        return None, ctx.operator.potential(g)


class _Energy(torch.autograd.Function):
    """p -> 1/2 p . A . p of each structure."""

    @staticmethod
    def forward(ctx: Any, operator: CompiledCoulomb, p: Tensor) -> Tensor:
        ctx.operator = operator
        ctx.save_for_backward(p)
        felt = torch.from_numpy(operator._sums.fields(p.detach().numpy())[0])
        return 0.5 * operator.structure.total((p * felt).sum(1))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor]:
        (p,) = ctx.saved_tensors
        return None, g[ctx.operator.structure.index, None] * ctx.operator.potential(p)


class _Slope(torch.autograd.Function):
    """Zero, whose derivative by positions or cell is computed where it is asked for.

    Torch asks a function for its derivatives by all inputs together; those by multipoles are wanted more often, and alone. As
    multipoles are no input here, slopes see what they depend on by themselves, for the next derivative.
    """

    @staticmethod
    def forward(ctx: Any, at: Tensor, zero: Tensor, slope: Callable[[Tensor, bool], Tensor], cell: bool) -> Tensor:
        ctx.slope, ctx.cell = slope, cell
        return zero

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.slope(g, ctx.cell), None, None, None


def _slope_with_graph(operator: CompiledCoulomb, value: Callable[[Coulomb], Tensor], cell: bool) -> Tensor:
    """Derivative of a value by positions or cell at given multipoles, which may depend on them as well."""
    name = "cell" if cell else "positions"
    by = getattr(operator.structure, name)
    by = by.view_as(by)
    structure = operator.structure.holding(**{name: by})
    exact = operator.differentiable(structure, replace(operator.sites, positions=structure.positions))
    return slope(value(exact), by, graph=True)
