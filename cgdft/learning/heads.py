"""Heads: parameters of terms and reference densities as functions of the environment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor, nn

from cgdft.electrostatics.pairs import fading
from cgdft.learning.environment import Environment
from cgdft.learning.message_passing import BESSEL, bessel
from cgdft.parameter import AtomParameter
from cgdft.structure import Structure

#: Width of the perceptrons on features.
HIDDEN = 32
#: Of what must be positive, relative to its start.
FLOOR = 1e-3


class Scalar(nn.Module):
    """x_i = start + scale f(invariants of h_i), a positive one start g(scale f): (n_atoms,), for any parameter of a term.

    g is 1 at 0, grows in proportion to x and never falls below 0.001.

    Args:
        environment: of the atoms.
        start: a number, one per element ({"H": 0.5, "O": 0.4}), or a function structure -> (n_atoms,): around which x
            varies, before training by a part of `scale`.
        scale: of the variation, in the parameter's unit; of a positive one relative to `start`.
        positive: whether x > 0 by construction.
    """

    def __init__(
        self,
        environment: Environment,
        start: float | Mapping[str, float | Tensor] | Callable[[Structure], Tensor] = 0.0,
        scale: float = 0.1,
        positive: bool = False,
    ) -> None:
        super().__init__()
        self.environment, self.scale, self.positive = environment, scale, positive
        self.start: float | Callable[[Structure], Tensor] = (
            AtomParameter(start, "start", positive=positive) if isinstance(start, Mapping) else start
        )
        self.readout = Perceptron(environment, 1)

    def forward(self, structure: Structure) -> Float[Tensor, " n_atoms"]:
        """(n_atoms,)."""
        change = self.scale * self.readout(self.environment.invariants(structure))[:, 0]
        start = self.start(structure) if callable(self.start) else self.start
        return start * positive(change) if self.positive else start + change


class Coefficients(nn.Module):
    """p_i = A h_i, equivariant: (n_atoms, (lmax + 1)^2), in the order of the basis; for `Fixed`, `LocalMultipoles` and p0.

    Args:
        environment: of the atoms, with features up to l = `lmax`.
        lmax: highest multipole.
        scale: of charges (e) and, times bohr^l, of higher multipoles, before training.
    """

    def __init__(self, environment: Environment, lmax: int = 1, scale: float = 0.1) -> None:
        super().__init__()
        self.environment, self.scale = environment, scale
        self.charges = Perceptron(environment, 1)
        self.higher = Higher(environment, lmax)

    def forward(self, structure: Structure) -> Float[Tensor, "n_atoms size"]:
        """(n_atoms, (lmax + 1)^2)."""
        charges = self.charges(self.environment.invariants(structure))
        return self.scale * torch.cat([charges, self.higher(structure)], 1)


class Higher(o3.Linear):  # type: ignore[misc]
    """A h_i, equivariant, of l = 1 to `lmax`: (n_atoms, (lmax + 1)^2 - 1), in the order of the basis.

    Args:
        environment: of the atoms, with features up to l = `lmax`.
        lmax: highest multipole, 0 or more.
    """

    def __init__(self, environment: Environment, lmax: int) -> None:
        if lmax > environment.irreps.lmax:
            raise ValueError(f"`lmax` must be among the features, got {lmax} with {environment.irreps}")
        irreps = o3.Irreps([(1, (l, (-1) ** l)) for l in range(1, lmax + 1)])  # noqa: E741
        super().__init__(environment.irreps, irreps)
        self.environment = environment
        self.to(environment.precision)

    def forward(self, structure: Structure) -> Float[Tensor, "n_atoms higher"]:
        """(n_atoms, (lmax + 1)^2 - 1), float64."""
        found: Tensor = super().forward(self.environment(structure).to(self.environment.precision)).double()
        return found


class Shares(nn.Module):
    """f_i of an added charge: a charge g(h_i) > 0, about 1 before training, and its dipole f_i,0 A h_i.

    Args:
        environment: of the atoms, with features up to l = `lmax`.
        lmax: 0 or more.
        scale: of dipoles, bohr, before training.
    """

    def __init__(self, environment: Environment, lmax: int = 1, scale: float = 0.1) -> None:
        super().__init__()
        self.scale = scale
        self.charges = Scalar(environment, 1.0, 1.0, positive=True)
        self.higher = Higher(environment, lmax)

    def forward(self, structure: Structure) -> Float[Tensor, "n_atoms size"]:
        """(n_atoms, (lmax + 1)^2), of any norm."""
        charges = self.charges(structure)[:, None]
        return charges * nn.functional.pad(self.scale * self.higher(structure), (1, 0), value=1.0)


class PassedHead(nn.Module):
    """f_ij = s f(h_i, h_j, r_ij) of ordered pairs, zero at the cutoff: (n_pairs,), for `LocalSplitCharges`.

    Args:
        environment: of the atoms.
        cutoff: bohr.
        scale: e, before training.
    """

    def __init__(self, environment: Environment, cutoff: float, scale: float = 0.05) -> None:
        super().__init__()
        self.environment, self.cutoff, self.scale = environment, cutoff, scale
        self.pair = PairFunctions(environment, 1)

    def forward(self, structure: Structure, i: Tensor, j: Tensor, apart: Tensor) -> Float[Tensor, " n_pairs"]:
        """(n_pairs,), e."""
        invariants = self.environment.invariants(structure)
        return self.scale * self.pair(invariants, i, j, apart, self.cutoff)[:, 0] * fading(apart, self.cutoff)


class PairFunctions(nn.Module):
    """Functions of two environments and the distance, not symmetric in them.

    Args:
        environment: of the atoms.
        n: number of functions.
    """

    def __init__(self, environment: Environment, n: int) -> None:
        super().__init__()
        width = environment.n_invariants
        self.radial = nn.Sequential(nn.Linear(BESSEL, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN, bias=False))
        self.first, self.second = nn.Linear(width, HIDDEN), nn.Linear(width, HIDDEN)
        self.last = nn.Linear(HIDDEN, n, bias=False)
        self.to(environment.precision)

    def forward(
        self, invariants: Tensor, i: Tensor, j: Tensor, apart: Tensor, cutoff: float, both: bool = False
    ) -> Float[Tensor, "n_pairs n"]:
        """f(h_i, h_j, r_ij), (n_pairs, n), of invariants of atoms i and j and the vectors between them, bohr.

        Args:
            both: f(h_i, h_j, r_ij) + f(h_j, h_i, r_ij) in its place.
        """
        length = (apart * apart).sum(1).sqrt()
        waves = bessel(length / cutoff).to(invariants.dtype)
        first, second = self.first(invariants), self.second(invariants)
        seen = nn.functional.silu(first.index_select(0, i) + second.index_select(0, j))
        if both:
            seen = seen + nn.functional.silu(first.index_select(0, j) + second.index_select(0, i))
        found: Tensor = self.last(seen * self.radial(waves)).double()
        return found


class Perceptron(nn.Module):
    """n functions of invariants, with one hidden layer.

    Args:
        environment: that the invariants are of.
        n: number of functions.
    """

    def __init__(self, environment: Environment, n: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(environment.n_invariants, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, n))
        self.to(environment.precision)

    def forward(self, invariants: Float[Tensor, "n_atoms invariants"]) -> Float[Tensor, "n_atoms n"]:
        """(n_atoms, n), float64."""
        found: Tensor = self.layers(invariants).double()
        return found


def positive(x: Tensor) -> Tensor:
    """f + (1 - f) ln(1 + (e - 1) exp(x)), f = 0.001: 1 at 0, x for large x, never below f."""
    return FLOOR + (1 - FLOOR) * softplus(x + math.log(math.expm1(1.0)))


def softplus(x: Tensor) -> Tensor:
    """ln(1 + exp(x)), to rounding: torch takes it for x beyond 20 by default, which is 2e-9 away."""
    return nn.functional.softplus(x, threshold=60.0)
