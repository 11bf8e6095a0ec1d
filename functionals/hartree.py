"""The classical Coulomb energy of the coarse density."""

from __future__ import annotations

import copy
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import EXPLICIT, ON_A_MESH, Density, sites_of
from cgdft.electrostatics.compiled import CompiledCoulomb
from cgdft.electrostatics.coulomb import Coulomb, Sites
from cgdft.electrostatics.multipole import gaussian_coulomb
from cgdft.memo import once
from cgdft.terms import Term

if TYPE_CHECKING:
    from cgdft.basis import Multipoles
    from cgdft.structure import Structure

#: Up to so many coefficients in an open and in a periodic structure, and numbers in all (1.6 GB), the operator is a matrix.
OPEN, PERIODIC, NUMBERS = 2000, 100, 200_000_000
#: Up to so many it does not matter how many of them are padding.
PADDED = 10_000_000
#: Twice as many in a periodic structure from this relative error on, as there are fewer waves and pairs; and twice as many of
#: l > 0, which share the phases of waves, and without self-interaction, as the matrix then tells whether there is a minimum.
ROUGH_MATRIX = 1e-7
#: In cells of so few of the narrowest widths hardly any wave is long, and errors of meshes are known relative to these.
FEW_WIDTHS = 5.5
#: From so many coefficients of an open structure on, compiled loops are worth loading for what the matrix does not give.
LOOPS = 400
#: Relative error of the operator with which solvers iterate.
ROUGH = 1e-3
#: Relative error by default of sums in float32, and their rounding.
IN_FLOAT32, IN_SINGLE = 1e-5, 3e-6


class Operator(Enum):
    """How the Coulomb operator is applied; all agree within the accuracy asked for."""

    DENSE = "as a matrix, by explicit sums over pairs and waves"
    EWALD = "by explicit sums over pairs and waves"
    MESH = "by sums over pairs and a particle mesh in torch: any device; each derivative by positions costs a digit"
    COMPILED = "by sums over pairs and a particle mesh in compiled loops: on the processor, open structures too"


class Hartree(Term):
    """E = 1/2 integral integral rho(r) rho(r') / |r - r'|, rho the Gaussian multipoles of the basis.

    Open structures exactly; slabs, wires and bulk by Ewald sums. A net charge in bulk has a uniform background; in slabs and
    wires it is felt as it is, and the potential of a far plane or line has no zero at infinity (`electrostatics/boundary.py`).

    Args:
        self_interaction: whether a multipole interacts with itself (q^2 / (2 sqrt(pi) sigma) for a charge). With it the
            Hessian is positive semidefinite; models that put it into their hardness leave it out.
        accuracy: relative error of potentials; default: 1e-12 of explicit sums, 1e-8 of those on a mesh.
        dtype: in which pairs and meshes are summed; torch.float32 reaches an accuracy of 1e-5 (the default then), on a mesh.
        operator: how it is applied; default: as a matrix up to 2000 coefficients in a structure (100 to 400 in a periodic one),
            in compiled loops above; in torch where a GPU holds the structure or widths are learned, and in cells of few widths.

    Raises:
        ValueError: an accuracy out of range, or out of reach of float32; at the call, an operator that cannot treat the
            structure.
    """

    quadratic = True

    def __init__(
        self,
        self_interaction: bool = True,
        accuracy: float | None = None,
        operator: Operator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        if accuracy is not None and not (isinstance(accuracy, int | float) and 1e-15 <= accuracy < 1):
            raise ValueError(f"`accuracy` must be between 1e-15 and 1, got {accuracy!r}")
        if operator is not None and not isinstance(operator, Operator):
            raise TypeError(f"`operator` must be an Operator, got {operator!r}")
        if dtype not in (torch.float64, torch.float32):
            raise TypeError(f"`dtype` must be torch.float64 or torch.float32, got {dtype!r}")
        if dtype == torch.float32 and operator in (Operator.DENSE, Operator.EWALD):
            raise ValueError(f"`operator` must be one with a mesh in float32, got {operator}")
        if dtype == torch.float32 and accuracy is not None and accuracy < IN_FLOAT32:
            raise ValueError(f"`accuracy` must be at least 1e-5 in float32, got {accuracy!r}; use float64")
        self.self_interaction, self.accuracy, self.operator, self.dtype = self_interaction, accuracy, operator, dtype
        self.convex = self_interaction

    def prepare(self, structure: Structure, basis: Multipoles) -> Term:
        """The Coulomb operator of these positions."""
        return _HartreeAt(self, structure, sites_of(structure, basis))

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """1/2 p . A . p of each structure, hartree."""
        return self.coulomb(rho.structure, rho.sites, self._chosen(rho.structure, rho.sites)).energy(rho.multipoles)

    def coulomb(
        self, structure: Structure, sites: Sites, operator: Operator, accuracy: float | None = None
    ) -> Coulomb | CompiledCoulomb:
        """The operator of given sites."""
        on_mesh = operator in (Operator.MESH, Operator.COMPILED)
        usual = EXPLICIT if not on_mesh else ON_A_MESH if self.dtype == torch.float64 else IN_FLOAT32
        accuracy = accuracy or self.accuracy or usual
        if on_mesh and sites.width.requires_grad:
            raise ValueError(f"`operator` must be one with derivatives by the widths, got {operator}; choose Operator.EWALD")
        large = operator is Operator.DENSE and int(structure.counts.max()) * sites.size >= LOOPS
        plain = structure.positions.device.type == "cpu" and not (structure.pbc.any() or sites.width.requires_grad)
        if operator is Operator.COMPILED or (large and plain):
            if structure.positions.device.type != "cpu":
                raise ValueError(f"`operator` must be one for {structure.positions.device}, got {operator}")
            dtype = np.float64 if self.dtype == torch.float64 else np.float32
            return CompiledCoulomb(structure, sites, self.self_interaction, accuracy, dtype)

        def made() -> Coulomb:
            itself, exact = self.self_interaction, accuracy
            return Coulomb(structure, sites, self_interaction=itself, accuracy=exact, mesh=on_mesh, dtype=self.dtype)

        return once((self, on_mesh, accuracy, sites.lmax, sites.width.detach().cpu().numpy().tobytes()), structure, made)

    def _chosen(self, structure: Structure, sites: Sites) -> Operator:
        if self.operator is not None:
            return self.operator
        n = int(structure.counts.max()) * sites.size
        rough = self.accuracy is not None and self.accuracy >= ROUGH_MATRIX
        doubled = (rough, sites.lmax > 0 or not self.self_interaction)
        most = OPEN if not structure.pbc.any() else PERIODIC * 2 ** sum(doubled)
        numbers, needed = len(structure) * n * n, sites.size**2 * int((structure.counts**2).sum())
        padded = numbers > max(PADDED, 4 * needed)
        if self.dtype == torch.float64 and n <= most and numbers <= NUMBERS and not padded:
            return Operator.DENSE
        if self.dtype == torch.float64 and (sites.width.requires_grad or _few_waves(structure, sites)):
            return Operator.EWALD
        return Operator.COMPILED if structure.positions.device.type == "cpu" else Operator.MESH


def _few_waves(structure: Structure, sites: Sites) -> bool:
    """Whether all are bulk in cells so small that a sum of all waves is short, and a mesh has few that it describes well."""
    if not structure.pbc.all():
        return False
    heights = 1 / torch.linalg.inv(structure.cell.detach()).norm(dim=1)
    return bool(heights.max() < FEW_WIDTHS * sites.width.detach().min())


class _HartreeAt(Term):
    """Hartree with its operator; as a matrix where that is chosen and no derivative by positions or widths is asked for."""

    quadratic = True

    def __init__(self, term: Hartree, structure: Structure, sites: Sites) -> None:
        super().__init__()
        self.term, self.structure, self.sites = (term,), structure, sites  # in a tuple: not a submodule
        # the kernels of slabs and wires are positive for neutral densities only: their zero of potential is not at infinity
        self.bounded = all(sum(axes) in (0, 3) for axes in structure.pbc.unique(dim=0).tolist())
        self.convex = term.self_interaction and self.bounded
        self.operator = term._chosen(structure, sites)
        self.coulomb = term.coulomb(structure, sites, self.operator)
        self.has_matrix = self.operator is Operator.DENSE
        moving = (structure.positions, structure.cell, sites.width)
        self.moving = torch.is_grad_enabled() and any(one.requires_grad for one in moving)
        if term.dtype == torch.float32:
            self.rounding = IN_SINGLE
        self._matrix: Tensor | None = None
        self._place = (structure.index, structure.local)

    @property
    def name(self) -> str:
        return "Hartree"

    @property
    def dense(self) -> Tensor | None:
        """The matrix (n_structures, n, n), made when first asked for; None where derivatives are asked for by what it is of."""
        if not self.has_matrix or (self.moving and torch.is_grad_enabled()):
            return None
        if self._matrix is None:
            exact = self.coulomb if isinstance(self.coulomb, Coulomb) else self.coulomb.differentiable()
            with torch.no_grad():
                self._matrix = exact.matrix()
        return self._matrix

    @property
    def evaluation(self) -> str:
        text = self.operator.value.split(":")[0]
        if isinstance(self.coulomb, CompiledCoulomb):
            plan = max(self.coulomb.plans, key=lambda one: one.error)  # the worst of a batch
            points = f"{' x '.join(map(str, plan.shape))} points, splines of order {plan.order}" if plan.shape else "no mesh"
            text += f"; {points}, estimated relative error {plan.error:.0e}"
        return text

    def energy(self, rho: Density) -> Tensor:
        p = rho.multipoles
        alone = self._matrix is None and not torch.is_grad_enabled()  # an energy and nothing else needs no matrix
        if alone or self.dense is None:
            return self.coulomb.energy(p)
        return 0.5 * rho.total((p * self._potential(p)).sum(1))

    def gradient(self, rho: Density) -> Tensor:
        return rho.basis.padded(self._potential(rho.multipoles))

    def curvature(self, rho: Density) -> Callable[[Tensor], Tensor]:
        basis = rho.basis
        return lambda v: basis.padded(self._potential(v[:, : basis.shells]))

    def approximate(self) -> Term:
        """In float32 on a coarser mesh."""
        if self.has_matrix or not isinstance(self.coulomb, CompiledCoulomb) or self.coulomb.accuracy >= ROUGH:
            return self
        rough = copy.copy(self)
        rough.coulomb = CompiledCoulomb(self.structure, self.sites, self.term[0].self_interaction, ROUGH, np.float32)
        return rough

    def _potential(self, p: Tensor) -> Tensor:
        dense = self.dense
        if dense is None:
            return self.coulomb.potential(p)
        n, size = dense.shape[1], p.shape[1]
        padded = p.new_zeros(len(dense), n // size, size).index_put(self._place, p)
        # from the left, which BLAS does faster for many matrices; the operator is symmetric
        return torch.bmm(padded.reshape(-1, 1, n), dense).reshape(-1, n // size, size)[self._place]

    def hessian(self, rho: Density) -> Tensor:
        if self.dense is not None:
            return _with_spin(self.dense, rho.basis)
        term: Hartree = self.term[0]
        exact = self.coulomb if isinstance(self.coulomb, Coulomb) else self.coulomb.differentiable()
        if exact.mesh:
            exact = term.coulomb(self.structure, self.sites, Operator.EWALD)  # type: ignore[assignment]
        return _with_spin(exact.matrix(), rho.basis)

    def diagonal(self, rho: Density) -> Tensor:
        return rho.basis.padded(self._itself) if self.term[0].self_interaction else torch.zeros_like(rho.coefficients)

    def lower_bound(self, rho: Density, neutral: bool) -> Tensor | None:
        if not (self.bounded or neutral):
            return None
        return torch.zeros_like(rho.coefficients) if self.term[0].self_interaction else -rho.basis.padded(self._itself)

    @property
    def _itself(self) -> Tensor:
        """The interaction of each multipole with itself, (n_atoms, size)."""
        width, lmax = self.sites.width, self.sites.lmax
        itself = gaussian_coulomb(torch.zeros_like(width), 1 / (4 * width**2), lmax)
        shells = [(itself[l] / (3 if l == 2 else 1))[:, None].expand(-1, 2 * l + 1) for l in range(lmax + 1)]  # noqa: E741
        return torch.cat(shells, 1)


def _with_spin(matrix: Tensor, basis: Multipoles) -> Tensor:
    """The same operator on all coefficients: none acts on the magnetisation."""
    if not basis.spin:
        return matrix
    more, atoms = basis.size - basis.shells, matrix.shape[1] // basis.shells
    parts = matrix.reshape(len(matrix), atoms, basis.shells, atoms, basis.shells)
    padded = torch.nn.functional.pad(parts, (0, more, 0, 0, 0, more))
    return padded.reshape(len(matrix), atoms * basis.size, atoms * basis.size)
