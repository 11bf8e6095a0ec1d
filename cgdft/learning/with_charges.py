"""Surroundings and charge together: what atoms of one surroundings but another charge state do otherwise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from cgdft.learning.environment import Environment
from cgdft.structure import Structure


class WithCharges(Environment):
    """(h_i, q_i): the features of an environment, and the charges of multipoles that are functions of it.

    Args:
        environment: of the atoms.
        multipoles: a module structure -> p, (n_atoms, size), such as the reference density of an ansatz.
    """

    def __init__(self, environment: Environment, multipoles: Callable[[Structure], Tensor]) -> None:
        super().__init__()
        self.surroundings, self.multipoles = environment, multipoles
        self.elements, self.cutoff = environment.elements, environment.cutoff
        self.irreps = environment.irreps + o3.Irreps("1x0e")

    @property
    def origin(self) -> Environment:
        """That of the surroundings."""
        return self.surroundings.origin

    def features(self, structure: Structure) -> Float[Tensor, "n_atoms features"]:
        """(n_atoms, irreps.dim)."""
        return torch.cat([self.surroundings(structure), self.multipoles(structure)[:, :1]], 1)
