"""The rule for parameters of pairs of atoms, as `AtomParameter` is for those of atoms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Union

from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float, Int
from torch import Tensor

from cgdft.parameter import Parameter, as_tensor

if TYPE_CHECKING:
    from cgdft.structure import Structure

#: What a parameter of pairs may be given as.
PairParameterLike = Union[float, Mapping[tuple[str, str], "float | Tensor"], Tensor, "Callable[[Structure, Tensor], Tensor]"]


class PairParameter(Parameter):
    """A quantity k_ij = k_ji per pair of atoms; calling it on a structure and pairs (n_pairs, 2) gives (n_pairs,).

    Args:
        value: a number; a dict per pair of elements (`{("O", "H"): 0.1}`; its values may be `nn.Parameter`); a tensor per pair;
            or a module (any callable) (structure, pairs) -> (n_pairs,).
        name: how messages call it.
        positive: values must be greater than zero.
        non_negative: values must be at least zero.

    Raises:
        TypeError, ValueError: a value of another kind, not a number, not positive where it must be, or two for one pair; at the
            call: elements without a value, a tensor of another length.
    """

    each, keyed, wanted = "pair", "pair of elements", "a number, a dict per pair of elements, a tensor per pair or a module"

    def __init__(self, value: PairParameterLike, name: str, positive: bool = False, non_negative: bool = False) -> None:
        super().__init__(value, name, positive, non_negative)

    def key(self, kind: Any) -> str:
        """Two chemical symbols, in order."""
        if not (isinstance(kind, tuple) and len(kind) == 2 and all(one in atomic_numbers and one != "X" for one in kind)):
            raise ValueError(f"`{self.name}` must be keyed by pairs of chemical symbols, such as ('O', 'H'), got {kind!r}")
        return "-".join(sorted(kind))

    def literal(self, name: str) -> str:
        """A tuple."""
        return str(tuple(name.split("-")))

    def forward(self, structure: Structure, pairs: Int[Tensor, "n_pairs 2"]) -> Float[Tensor, " n_pairs"]:
        """The value of every pair, (n_pairs,)."""
        n, like = len(pairs), structure.positions
        if self.module is None and self.value is None:
            return self._by_elements(structure, pairs)
        found = self.value if self.module is None else as_tensor(self.module(structure, pairs), self.name)
        per_pair = isinstance(found, Tensor) and (found.shape == (n,) or (self.module is None and found.ndim == 0))
        if not isinstance(found, Tensor) or not per_pair or found.is_complex():
            got = f"a {found.dtype} of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ValueError(f"`{self.name}` must give real numbers, (n_pairs,) = ({n},), got {got}")
        if self.module is not None or found.requires_grad:
            self._check(found, f"`{self.name}`")
        return found.to(like).expand(n)

    def _by_elements(self, structure: Structure, pairs: Tensor) -> Tensor:
        z = structure.numbers[pairs].sort(dim=1).values
        present, kind = (z[:, 0] * len(chemical_symbols) + z[:, 1]).unique(return_inverse=True)
        both = [divmod(one, len(chemical_symbols)) for one in present.tolist()]
        return self.of_kinds([self.key(tuple(chemical_symbols[k] for k in one)) for one in both], structure.positions)[kind]
