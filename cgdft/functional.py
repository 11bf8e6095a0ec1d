"""A functional: a sum of terms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

from cgdft.density import Density
from cgdft.terms import MADE, Term, checked_energy, named

if TYPE_CHECKING:
    from cgdft.basis import Multipoles
    from cgdft.structure import Structure


class Functional(nn.Module):
    """E[rho; R] = sum of terms, each any term of the package or of the user's own; written `Hartree() + Hardness(...)`."""

    def __init__(self, terms: Iterable[Term]) -> None:
        super().__init__()
        terms = list(terms)
        for one in terms:
            if not isinstance(one, Term):
                raise TypeError(f"`terms` must be cgdft.Term objects, got {one!r}; {MADE}")
            if "_modules" not in vars(one):
                raise TypeError(
                    f"`{type(one).__name__}` must call super().__init__() first in its __init__, got a term that did not"
                )
        self.terms = nn.ModuleList(terms)

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.terms)

    def __add__(self, other: Term | Functional) -> Functional:
        if isinstance(other, Term):
            other = Functional([other])
        if not isinstance(other, Functional):
            if isinstance(other, nn.Module) and hasattr(other, "__radd__"):
                return NotImplemented  # of a model, which has the rest
            raise TypeError(f"what is added must be a cgdft.Term or Functional, got {other!r}; {MADE}")
        return Functional([*self, *other])

    def __radd__(self, other: int) -> Functional:
        """0 + functional, as in sum(terms)."""
        if type(other) is not int or other:
            raise TypeError(f"what is added must be a cgdft.Term or Functional, got {other!r}; {MADE}")
        return self

    @property
    def quadratic(self) -> bool:
        """Whether every term is."""
        return all(one.quadratic for one in self)

    def prepare(self, structure: Structure, basis: Multipoles) -> Functional:
        """Every term with all that depends on the structure alone computed once."""
        return Functional([one.prepare(structure, basis) for one in self])

    def energies(self, rho: Density) -> dict[str, Float[Tensor, " n_structures"]]:
        """Energy of each term, (n_structures,), hartree, by name."""
        return {name: checked_energy(one, rho) for name, one in named(self).items()}

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """Sum of all terms, (n_structures,), hartree."""
        return sum(self.energies(rho).values(), rho.coefficients.new_zeros(len(rho.structure)))
