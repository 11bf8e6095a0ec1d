"""The rule for parameters of pairs of atoms, as `AtomParameter` is for those of atoms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Union

import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float, Int
from torch import Tensor, nn

from cgdft.parameter import as_number, as_tensor, check_range, keep

if TYPE_CHECKING:
    from cgdft.structure import Structure

#: What a parameter of pairs may be given as.
PairParameterLike = Union[float, Mapping[tuple[str, str], "float | Tensor"], Tensor, "Callable[[Structure, Tensor], Tensor]"]


class PairParameter(nn.Module):
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

    def __init__(self, value: PairParameterLike, name: str, positive: bool = False, non_negative: bool = False) -> None:
        super().__init__()
        self.name, self.positive, self.non_negative = name, positive, non_negative
        self.module: nn.Module | Callable[[Structure, Tensor], Tensor] | None = None
        self.table: nn.ParameterDict | None = None
        self.elements: dict[str, float | Tensor] = {}
        self.value: Tensor | None
        given: Any = as_tensor(value)
        if isinstance(given, Mapping):
            self.value = None
            learnt: dict[str, nn.Parameter] = {}
            for pair, one in given.items():
                if not (isinstance(pair, tuple) and len(pair) == 2 and all(_is_element(symbol) for symbol in pair)):
                    raise ValueError(f"`{name}` must be keyed by pairs of chemical symbols, such as ('O', 'H'), got {pair!r}")
                key = "-".join(sorted(pair))
                if key in self.elements or key in learnt:
                    raise ValueError(f"`{name}` must have one value for a pair of elements, got two for {key}")
                (learnt if isinstance(one, nn.Parameter) else self.elements)[key] = one
                self._check(as_number(one, f"`{name}` of {key}"), f"`{name}` of {key}")
            self.table = nn.ParameterDict(learnt) if learnt else None
        elif isinstance(given, Tensor):
            keep(self, given, name)
            self._check(given, f"`{name}`")
        elif callable(given):
            self.value, self.module = None, given
        else:
            number = as_number(given, f"`{name}`", "a number, a dict per pair of elements, a tensor per pair or a module")
            self._check(number, f"`{name}`")
            self.register_buffer("value", number)

    def forward(self, structure: Structure, pairs: Int[Tensor, "n_pairs 2"]) -> Float[Tensor, " n_pairs"]:
        """The value of every pair, (n_pairs,)."""
        n, like = len(pairs), structure.positions
        if self.module is None and self.value is None:
            return self._by_elements(structure, pairs)
        found = self.value if self.module is None else as_tensor(self.module(structure, pairs))
        per_pair = isinstance(found, Tensor) and (found.shape == (n,) or (self.module is None and found.ndim == 0))
        if not isinstance(found, Tensor) or not per_pair or found.is_complex():
            got = f"a {found.dtype} of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ValueError(f"`{self.name}` must give real numbers, (n_pairs,) = ({n},), got {got}")
        if self.module is not None or found.requires_grad:
            self._check(found, f"`{self.name}`")
        return found.to(like).expand(n)

    def _by_elements(self, structure: Structure, pairs: Tensor) -> Tensor:
        values = {**self.elements, **(dict(self.table.items()) if self.table is not None else {})}
        z = structure.numbers[pairs].sort(dim=1).values
        present, kind = (z[:, 0] * len(chemical_symbols) + z[:, 1]).unique(return_inverse=True)
        names = ["-".join(sorted(chemical_symbols[k] for k in divmod(one, len(chemical_symbols)))) for one in present.tolist()]
        missing = [name for name in names if name not in values]
        if missing:
            raise ValueError(
                f"`{self.name}` must have a value for every pair of elements, got none for {', '.join(missing)} (given: "
                f"{', '.join(values)}); add {{{tuple(missing[0].split('-'))}: ...}}"
            )
        like = structure.positions
        if not names:
            return like.new_zeros(0)
        each = torch.stack([torch.as_tensor(values[name], dtype=like.dtype, device=like.device) for name in names])
        for name, one in zip(names, each, strict=True):
            self._check(one, f"`{self.name}` of {name}")
        return each[kind]

    def _check(self, value: Tensor, what: str) -> None:
        check_range(value, what, self.positive, self.non_negative)

    def extra_repr(self) -> str:
        """How `print` shows it."""
        if self.value is not None:
            return f"{self.value.item():.6g}" if self.value.ndim == 0 else f"{tuple(self.value.shape)} per pair"
        return "of the environment" if self.module is not None else f"for {', '.join([*self.elements, *(self.table or {})])}"


def _is_element(symbol: Any) -> bool:
    return symbol in atomic_numbers and symbol != "X"
