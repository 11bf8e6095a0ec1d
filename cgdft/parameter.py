"""One rule for every parameter of a term, a basis or an ansatz: number, value per element, value per atom, or module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float
from torch import Tensor, nn

from cgdft.finite import finite
from cgdft.memo import once

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgdft.structure import Structure

#: What a parameter may be given as.
ParameterLike = Union[
    float, Mapping[str, "float | Tensor"], Tensor, "Sequence[float]", "NDArray[Any]", "Callable[[Structure], Tensor]"
]


def as_tensor(value: Any) -> Any:
    """Copies of arrays and sequences of numbers as tensors; everything else as it is."""
    return torch.tensor(value, dtype=torch.float64) if isinstance(value, np.ndarray | list | tuple) else value


class AtomParameter(nn.Module):
    """A quantity x_i per atom, given in one of four ways; calling it on a structure gives (n_atoms,).

    Args:
        value: a number; a dict per element (`{"O": 8.7 * eV}`; its values may be `nn.Parameter`); a tensor or array per atom;
            or a module (any callable) structure -> (n_atoms,).
        name: how messages call it.
        positive: values must be greater than zero.
        non_negative: values must be at least zero.

    Raises:
        TypeError, ValueError: a value of another kind, not a number, not positive where it must be; at the call: an element
            without a value, a tensor of another length.
    """

    def __init__(self, value: ParameterLike, name: str, positive: bool = False, non_negative: bool = False) -> None:
        super().__init__()
        self.name, self.positive, self.non_negative = name, positive, non_negative
        self.module: nn.Module | Callable[[Structure], Tensor] | None = None
        self.table: nn.ParameterDict | None = None
        self.elements: dict[str, float | Tensor] = {}
        self.value: Tensor | None
        given: Any = as_tensor(value)
        if isinstance(given, Mapping):
            self.value = None
            unknown = [symbol for symbol in given if symbol not in atomic_numbers or symbol == "X"]
            if unknown:
                pairs = "; values per pair of elements are those of a PairParameter" if isinstance(unknown[0], tuple) else ""
                raise ValueError(f"`{name}` must be keyed by chemical symbols, got {unknown[0]!r}{pairs}")
            self.elements = {s: v for s, v in given.items() if not isinstance(v, nn.Parameter)}
            learnt = {s: v for s, v in given.items() if isinstance(v, nn.Parameter)}
            self.table = nn.ParameterDict(learnt) if learnt else None
            for symbol, v in given.items():
                self._check(as_number(v, f"`{name}` of {symbol}"), f"`{name}` of {symbol}")
        elif isinstance(given, Tensor):
            keep(self, given, name)
            self._check(given, f"`{name}`")
        elif callable(given):
            if type(given).__hash__ is None:
                raise TypeError(
                    f"`{name}` must be hashable, as functions are; of a dataclass say @dataclass(eq=False), got {given!r}"
                )
            self.value, self.module = None, given
        else:
            number = as_number(given, f"`{name}`", "a number, a dict per element, a tensor per atom or a module")
            self._check(number, f"`{name}`")
            self.register_buffer("value", number)

    def forward(self, structure: Structure) -> Float[Tensor, " n_atoms"]:
        """The value of every atom, (n_atoms,)."""
        if self.value is not None:
            if self.value.requires_grad:
                self._check(self.value, f"`{self.name}`")
            value = self.value.to(structure.positions.dtype)
            if value.ndim == 0:
                return value.expand(structure.n_atoms)
            self._check_shape(value, structure)
            return value
        if self.module is not None:
            value = once(self.module, structure, lambda: self.module(structure))  # type: ignore[misc]
            self._check_shape(value, structure)
            self._check(value, f"`{self.name}`")
            return value.to(structure.positions.dtype)
        return self._by_element(structure)

    def at(self, structure: Structure) -> AtomParameter:
        """The same parameter with its values for this structure kept."""
        fixed = copy.copy(self)
        fixed.__dict__.pop("value", None)
        kept = {"value": self(structure)}
        fixed.__dict__.update(_modules={}, _parameters={}, _buffers=kept, module=None, table=None, elements={})
        return fixed

    def _by_element(self, structure: Structure) -> Tensor:
        values = {**self.elements, **(dict(self.table.items()) if self.table is not None else {})}
        present, kind = once("elements", structure, lambda: _elements(structure), graph=False)
        missing = [chemical_symbols[z] for z in present if chemical_symbols[z] not in values]
        if missing:
            raise ValueError(
                f"`{self.name}` must have a value for every element, got none for {', '.join(missing)} "
                f"(given: {', '.join(values)}); add {{'{missing[0]}': ...}}, or take a model that has it (EEQ: H to Rn)"
            )
        like = structure.positions.detach()
        chosen = [values[chemical_symbols[z]] for z in present]
        if not any(isinstance(v, Tensor) for v in chosen):
            return like.new_tensor(chosen)[kind]
        each = torch.stack([torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in chosen])
        for z, one in zip(present, each, strict=True):
            self._check(one, f"`{self.name}` of {chemical_symbols[z]}")
        return each[kind]

    def _check_shape(self, value: Tensor, structure: Structure) -> None:
        if not isinstance(value, Tensor) or value.is_complex():
            got = f"a {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise TypeError(
                f"`{self.name}` must be a module that gives a tensor of real numbers, ({structure.n_atoms},), got {got}"
            )
        if value.shape != (structure.n_atoms,):
            raise ValueError(f"`{self.name}` must be (n_atoms,) = ({structure.n_atoms},), got shape {tuple(value.shape)}")

    def _check(self, value: Tensor, what: str) -> None:
        check_range(value, what, self.positive, self.non_negative)

    def extra_repr(self) -> str:
        """How `print` shows it."""
        if self.value is not None:
            return f"{self.value.item():.6g}" if self.value.ndim == 0 else f"{tuple(self.value.shape)} per atom"
        if self.module is not None:
            return "of the environment"
        return f"for {', '.join([*self.elements, *(self.table or {})])}"


def as_number(value: Any, what: str, wanted: str = "a real number") -> Tensor:
    """A real number as a tensor, ().

    Raises:
        TypeError: something else than what is `wanted`.
    """
    try:
        if isinstance(value, str):
            raise TypeError
        number = value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)
    except (TypeError, ValueError):
        number = torch.zeros(0)
    if number.ndim or number.is_complex():
        raise TypeError(f"{what} must be {wanted}, got {value!r}")
    return number.double()


def keep(module: nn.Module, value: Tensor, name: str) -> None:
    """`module.value`: a parameter if it is one, else a buffer in floating point; a TypeError of complex numbers."""
    if value.is_complex():
        raise TypeError(f"`{name}` must be of real numbers, got {value.dtype}")
    if isinstance(value, nn.Parameter):
        module.value = value
    else:
        module.register_buffer("value", value if value.is_floating_point() else value.double())


def check_range(value: Tensor, what: str, positive: bool, non_negative: bool) -> None:
    """Raise a ValueError where a value is not finite, or not positive or non-negative though it must be."""
    value = value.detach()
    if not finite(value):
        raise ValueError(f"{what} must be finite, got {value[~torch.isfinite(value)].flatten()[0]}")
    if (positive and not (value > 0).all()) or (non_negative and not (value >= 0).all()):
        wanted = "greater than" if positive else "at least"
        which = f" as number {int(value.argmin())}" if value.ndim else ""
        raise ValueError(f"{what} must be {wanted} zero, got {float(value.min())}{which}")


def _elements(structure: Structure) -> tuple[list[int], Tensor]:
    """The atomic numbers present, and which of them each atom has, (n_atoms,)."""
    present, kind = structure.numbers.unique(return_inverse=True)
    return present.tolist(), kind
