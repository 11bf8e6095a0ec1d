"""What a solver sees of a response law: potentials that densities make, and the answers to them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cgdft.density import Density
from cgdft.derivatives.probe import Probe
from cgdft.problems.problem import KEPT, Problem
from cgdft.response_law import GrandPotential, Response, ResponseLaw
from cgdft.slopes import slope

if TYPE_CHECKING:
    from cgdft.basis import Multipoles
    from cgdft.constraint import Constraint
    from cgdft.functional import Functional
    from cgdft.structure import Structure

#: Newton steps for the charges of an answer, and to what they are met, e beside the softness of the law.
NEWTON, CHARGES = 50, 1e-13
#: Part of a softness that a step may leave of it.
SATURATED = 1e-3
#: Derivatives that are taken of an answer at most: two of an observable, and two more by users.
ORDERS = 4


class LawProblem(Problem):
    """Densities p = F(R, v - sum_k lambda_k a_k - sum_k V_k a_k) that answer to a potential v, with a_k.p = c_k.

    lambda_k are the potentials of fixed charges, V_k the given ones. `SelfConsistency` and
    `Recursion` say which v.

    Raises:
        ValueError: a law without an energy.
    """

    ansatz: Response

    def __init__(
        self,
        structure: Structure,
        basis: Multipoles,
        functional: Functional,
        ansatz: Response,
        constraints: list[Constraint],
        readout: Functional | None = None,
    ) -> None:
        super().__init__(structure, basis, functional, ansatz, constraints, readout)
        self.ansatz, self.law = ansatz, ansatz.law
        if readout is None and not isinstance(self.law, GrandPotential):
            raise ValueError(
                "`readout` must be given with a response law, which has no energy of its own; or give a GrandPotential"
            )

    @property
    def orders_behind(self) -> int:
        """One: what is reported is not written as a stationary function."""
        return 1

    def potentials(
        self, p: Float[Tensor, "n_atoms size"], multipliers: Float[Tensor, "n_structures n_rows"], probe: Probe | None = None
    ) -> Float[Tensor, "n_atoms size"]:
        """What acts on each coefficient, (n_atoms, size), hartree / (e bohr^l)."""
        rho = self.nothing.at(p)
        v = torch.zeros_like(p)
        for term in self.functional:
            v = v + term.gradient(rho)
        for row in self.held:
            assert row.potential is not None
            v = v - row.potential[self.structure.index, None] * row.weights
        v = self.shifted(v, multipliers)
        if probe is None:
            return v
        field = (probe.field[:, None] @ self.structure.open_projector)[:, 0][self.structure.index]
        felt = torch.cat([(field * self.structure.positions).sum(1, keepdim=True), field, field.new_zeros(len(field), 5)], 1)
        v = v - self.basis.padded(felt[:, : self.basis.shells]) + probe.potential
        for k, row in enumerate(self.held):
            v = v - probe.voltage[self.structure.index, k, None] * row.weights
        return v

    def answer(self, v: Float[Tensor, "n_atoms size"]) -> Float[Tensor, "n_atoms size"]:
        """F(R, v), (n_atoms, size)."""
        if isinstance(self.law, ResponseLaw):
            return self._given(v, v.shape)
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            v = v if v.requires_grad else v.detach().requires_grad_()
            return slope(self._given(v, (self.n,)), v, graph=graph)

    def _given(self, v: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What the law gives.

        Raises:
            ValueError: of another shape.
        """
        found = self.law(self.structure, v)
        if not isinstance(found, Tensor) or tuple(found.shape) != tuple(shape):
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            way = "the coefficients of each atom" if len(shape) == 2 else "structure.total(x) of one value x for each atom"
            raise ValueError(f"`{type(self.law).__name__}` must return {tuple(shape)}, {way}, got {got}")
        return found

    def shifted(self, v: Float[Tensor, "n_atoms size"], multipliers: Float[Tensor, "n_structures n_rows"]) -> Tensor:
        """v - sum_k lambda_k a_k."""
        for k, row in enumerate(self.fixed):
            v = v - multipliers[self.structure.index, k, None] * row.weights
        return v

    def equilibrate(self, bare: Float[Tensor, "n_atoms size"]) -> Float[Tensor, "n_structures n_rows"]:
        """lambda such that the answer to v - sum_k lambda_k a_k has the charges asked for.

        Newton's method without a graph, as far as it leads (see `unmet`), then chord steps with one, each of which makes one
        more order of derivatives exact.
        """
        multipliers = bare.new_zeros(self.n, len(self.fixed))
        if not len(self.fixed):
            return multipliers

        def missing(multipliers: Tensor, v: Tensor) -> Tensor:
            return self.excess(self.answer(self.shifted(v, multipliers)).reshape(-1))

        def softness_at(multipliers: Tensor) -> tuple[Tensor, Tensor]:
            """What is missing, and its derivative by the multipliers; where the law has none, nothing that moves."""
            with torch.enable_grad():
                given = multipliers.detach().requires_grad_()
                rest = missing(given, bare.detach())
                rows = [slope(rest[:, k], given, keep=True) for k in range(len(self.fixed))]
            rest, found = rest.detach(), torch.stack(rows, 1).detach()
            known = rest.isfinite().all(1) & found.isfinite().all((1, 2))
            return rest.nan_to_num(torch.inf), torch.where(known[:, None, None], found, 0.0)

        rest, softness = softness_at(multipliers)
        step = torch.zeros_like(multipliers)
        for _ in range(NEWTON):
            if bool((rest.abs() <= CHARGES * (1 + softness.abs().sum((1, 2)))[:, None]).all()):
                break
            newton = -(torch.linalg.pinv(softness) @ rest.nan_to_num()[..., None])[..., 0]
            step = torch.where((step == 0).all(1, keepdim=True), newton, step)
            trial = multipliers + step
            left, softer = softness_at(trial)
            closer = left.abs().amax(1, keepdim=True) < rest.abs().amax(1, keepdim=True)
            saturated = softer.abs().sum((1, 2)) < SATURATED * softness.abs().sum((1, 2))  # from where no step leads back
            closer = closer & ~(saturated & (left.abs() > KEPT).any(1))[:, None]
            multipliers, rest = torch.where(closer, trial, multipliers), torch.where(closer, left, rest)
            softness = torch.where(closer[..., None], softer, softness)
            step = torch.where(closer, 0.0, 0.5 * step)  # less of it, until it leads closer
        own = softness.diagonal(dim1=1, dim2=2)[self.rows.active]
        if len(own) and bool((own < -KEPT).all()):
            raise ValueError(
                f"`{type(self.law).__name__}` must answer to a higher potential with less charge (a grand potential is concave "
                "in v), got more: turn its sign"
            )
        for _ in range(ORDERS if torch.is_grad_enabled() else 0):
            step = torch.linalg.pinv(softness) @ missing(multipliers, bare)[..., None]
            multipliers = multipliers - step[..., 0]
        return multipliers

    def unmet(self, p: Float[Tensor, "n_atoms size"]) -> Bool[Tensor, " n_structures"]:
        """Structures to which the law gives other charges than those asked for, whatever the multipliers."""
        return ~(self.excess(p.reshape(-1)).abs() <= KEPT).all(1)

    def value(
        self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"], probe: Probe
    ) -> Float[Tensor, " n_structures"]:
        """The energy, less the work of the batteries, hartree."""
        rho = self.density(x)
        if self.readout is not None:
            return self.readout.energy(rho) - self.work(rho)
        return self._internal(rho, multipliers, probe) + self.functional.energy(rho) - self.work(rho)

    def energies(
        self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]
    ) -> dict[str, Float[Tensor, " n_structures"]]:
        """The energy term by term, hartree; that of what answers, G(p), as "Response"."""
        rho = self.density(x)
        if self.readout is not None:
            return self.readout.energies(rho)
        return {**self.functional.energies(rho), "Response": self._internal(rho, multipliers, Probe.of(self))}

    def _internal(self, rho: Density, multipliers: Tensor, probe: Probe) -> Tensor:
        """G(p) = Omega_s(v) - v.p at the potential that makes p."""
        v = self.felt(rho, multipliers, probe)
        return self._given(v, (self.n,)) - self.structure.total((v * rho.coefficients).sum(1))

    def determined(self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]) -> list[Tensor]:
        """The energy, the answer and the charges."""
        p = self.space.coefficients(x)
        rho = self.density(x)
        energy = self._given(self.potentials(p, multipliers), (self.n,)) if self.readout is None else self.readout.energy(rho)
        return [energy, self.answer(self.potentials(p, multipliers)), self.excess(x)]

    @abstractmethod
    def felt(self, rho: Density, multipliers: Tensor, probe: Probe) -> Tensor:
        """The potential to which a density is the answer, (n_atoms, size)."""
