"""What surrounds an atom, as numbers that turn with it: the one protocol between networks and functionals."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from e3nn.o3 import Irreps
from jaxtyping import Float
from torch import Tensor, nn

from cgdft.memo import once
from cgdft.structure import Structure


class Environment(nn.Module, ABC):
    """structure -> features of every atom, (n_atoms, irreps.dim), that turn with the structure as e3nn's `irreps` say.

    A subclass states `features`; calling it computes them once for all heads that ask for the same structure.

    Attributes:
        irreps: how the features turn, e3nn's notation ("32x0e + 32x1o").
        elements: chemical symbols that it knows; others are an error.
        cutoff: beyond which one message does not see, bohr.
    """

    irreps: Irreps
    elements: tuple[str, ...]
    cutoff: float

    @abstractmethod
    def features(self, structure: Structure) -> Float[Tensor, "n_atoms features"]:
        """(n_atoms, irreps.dim), invariant to translation and differentiable by positions and cell."""

    def forward(self, structure: Structure) -> Float[Tensor, "n_atoms features"]:
        """The features, from memory where they are known.

        Raises:
            ValueError: an element that it does not know.
        """
        unknown = sorted(set(structure.symbols) - set(self.elements))
        if unknown:
            raise ValueError(
                f"`structure` must be of the elements {', '.join(self.elements)} that the model was made for, got "
                f"{', '.join(unknown)}"
            )
        found: Tensor = once(self, structure, lambda: self.features(structure))
        return found

    def invariants(self, structure: Structure) -> Float[Tensor, "n_atoms invariants"]:
        """The features that do not turn, (n_atoms, n_invariants), in the precision of the weights."""

        def cut() -> Tensor:
            h = self(structure)
            parts = zip(self.irreps, self.irreps.slices(), strict=True)
            return torch.cat([h[:, here] for (_, ir), here in parts if ir.l == 0 and ir.p == 1], 1).to(self.precision)

        found: Tensor = once((self, "invariants"), structure, cut)
        return found

    @property
    def origin(self) -> Environment:
        """The one that a training saves: itself, or what it is made of."""
        return self

    @property
    def n_invariants(self) -> int:
        """Number of the features that do not turn."""
        return sum(mul for mul, ir in self.irreps if ir.l == 0 and ir.p == 1)

    @property
    def precision(self) -> torch.dtype:
        """Of the weights; float64 of an environment without any."""
        return next((p.dtype for p in self.parameters()), torch.float64)
