"""One rule for every parameter of a term, a basis or an ansatz: number, value per element, value per atom, or module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Union

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float
from torch import Tensor, nn

from cgdft.finite import finite, joined, refuse_parameters
from cgdft.memo import once

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgdft.structure import Structure

#: In the name that a state_dict has for a number of a table, before that of its kind.
NUMBERS = "numbers"
#: What a parameter may be given as.
ParameterLike = Union[
    float, Mapping[str, "float | Tensor"], Tensor, "Sequence[float]", "NDArray[Any]", "Callable[[Structure], Tensor]"
]


def as_tensor(value: Any, name: str) -> Any:
    """Arrays and sequences of numbers or tensors as tensors, of numbers copies; everything else as it is."""
    value = joined(value, name)
    return torch.tensor(value, dtype=torch.float64) if isinstance(value, np.ndarray | list | tuple) else value


class Parameter(nn.Module, ABC):
    """A quantity of each of some things, given in one of four ways; see `AtomParameter` and `PairParameter`."""

    #: Of what, what a table is keyed by, and what else it may be given as, in messages.
    each: ClassVar[str]
    keyed: ClassVar[str]
    wanted: ClassVar[str]

    def __init__(self, value: Any, name: str, positive: bool = False, non_negative: bool = False) -> None:
        super().__init__()
        self.name, self.positive, self.non_negative = name, positive, non_negative
        self.module: Callable[..., Tensor] | None = None
        self.table: nn.ParameterDict | None = None
        self.elements: dict[str, float | Tensor] = {}
        self.value: Tensor | None
        refuse_parameters(name, value)
        given: Any = as_tensor(value, name)
        if isinstance(given, Mapping):
            self.value = None
            learnt: dict[str, nn.Parameter] = {}
            for kind, one in given.items():
                key = self.key(kind)
                if key in self.elements or key in learnt:
                    raise ValueError(f"`{name}` must have one value for each {self.keyed}, got two for {key}")
                (learnt if isinstance(one, nn.Parameter) else self.elements)[key] = one
                self._check(as_number(one, f"`{name}` of {key}"), f"`{name}` of {key}")
            self.table = nn.ParameterDict(learnt) if learnt else None
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
            number = as_number(given, f"`{name}`", self.wanted)
            self._check(number, f"`{name}`")
            self.register_buffer("value", number)

    @abstractmethod
    def key(self, kind: Any) -> str:
        """What a table calls a kind by; a ValueError of none."""

    def of_kinds(self, names: Sequence[str], like: Tensor) -> Float[Tensor, " n_kinds"]:
        """Values of the table, (n_kinds,).

        Raises:
            ValueError: a kind that it does not have.
        """
        values = {**self.elements, **(dict(self.table.items()) if self.table is not None else {})}
        missing = [name for name in names if name not in values]
        if missing:
            raise ValueError(
                f"`{self.name}` must have a value for every {self.keyed}, got none for {', '.join(missing)} "
                f"(given: {', '.join(values)}); add {{{self.literal(missing[0])}: ...}}, or take a model that has it: see "
                "`cgdft models`"
            )
        chosen = [values[name] for name in names]
        if not any(isinstance(one, Tensor) for one in chosen):
            return like.new_tensor(chosen)
        each = torch.stack([torch.as_tensor(one, dtype=like.dtype, device=like.device) for one in chosen])
        for name, one in zip(names, each, strict=True):
            self._check(one, f"`{self.name}` of {name}")
        return each

    def literal(self, name: str) -> str:
        """How a kind is written in a table."""
        return repr(name)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """With the numbers of the table, of which torch knows nothing."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for kind, one in self.elements.items():
            destination[f"{prefix}{NUMBERS}.{kind}"] = as_number(one, self.name).detach()

    def _load_from_state_dict(
        self,
        state: Mapping[str, Any],
        prefix: str,
        metadata: Any,
        strict: bool,
        missing: list[str],
        unexpected: list[str],
        errors: list[str],
    ) -> None:
        found = len(unexpected)
        super()._load_from_state_dict(state, prefix, metadata, strict, missing, unexpected, errors)
        names = {f"{prefix}{NUMBERS}.{kind}": kind for kind in self.elements}
        unexpected[found:] = [name for name in unexpected[found:] if name not in names]
        missing += [name for name in names if strict and name not in state]
        for name in names.keys() & state.keys():
            self._check(state[name], f"`{self.name}` of {names[name]}")
            self.elements[names[name]] = float(state[name])

    def _check(self, value: Tensor, what: str) -> None:
        check_range(value, what, self.positive, self.non_negative)

    def extra_repr(self) -> str:
        """How `print` shows it."""
        if self.value is not None:
            return f"{self.value.item():.6g}" if self.value.ndim == 0 else f"{tuple(self.value.shape)} per {self.each}"
        return "of the environment" if self.module is not None else f"for {', '.join([*self.elements, *(self.table or {})])}"


class AtomParameter(Parameter):
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

    each, keyed, wanted = "atom", "element", "a number, a dict per element, a tensor per atom or a module"

    def __init__(self, value: ParameterLike, name: str, positive: bool = False, non_negative: bool = False) -> None:
        super().__init__(value, name, positive, non_negative)

    def key(self, kind: Any) -> str:
        """A chemical symbol."""
        if kind in atomic_numbers and kind != "X":
            return str(kind)
        pairs = "; values per pair of elements are those of a PairParameter" if isinstance(kind, tuple) else ""
        raise ValueError(f"`{self.name}` must be keyed by chemical symbols, got {kind!r}{pairs}")

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
        present, kind = once("elements", structure, lambda: _elements(structure), graph=False)
        return self.of_kinds(present, structure.positions.detach())[kind]

    def at(self, structure: Structure) -> AtomParameter:
        """The same parameter with its values for this structure kept."""
        return AtomParameter(self(structure), self.name, self.positive, self.non_negative)

    def _check_shape(self, value: Tensor, structure: Structure) -> None:
        if not isinstance(value, Tensor) or value.is_complex():
            got = f"a {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise TypeError(
                f"`{self.name}` must be a module that gives a tensor of real numbers, ({structure.n_atoms},), got {got}"
            )
        if value.shape != (structure.n_atoms,):
            raise ValueError(f"`{self.name}` must be (n_atoms,) = ({structure.n_atoms},), got shape {tuple(value.shape)}")


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


class OutOfRange(ValueError):
    """A value that is not positive or non-negative though it must be."""


def check_range(value: Tensor, what: str, positive: bool, non_negative: bool) -> None:
    """Raise a ValueError where a value is not finite, `OutOfRange` where it is not positive or non-negative as it must be."""
    value = value.detach()
    if not finite(value):
        raise ValueError(f"{what} must be finite, got {value[~torch.isfinite(value)].flatten()[0]}")
    if (positive and not (value > 0).all()) or (non_negative and not (value >= 0).all()):
        wanted = "greater than" if positive else "at least"
        which = f" as number {int(value.argmin())}" if value.ndim else ""
        raise OutOfRange(f"{what} must be {wanted} zero, got {float(value.min())}{which}")


def _elements(structure: Structure) -> tuple[list[str], Tensor]:
    """The elements present, and which of them each atom is, (n_atoms,)."""
    present, kind = structure.numbers.unique(return_inverse=True)
    return [chemical_symbols[z] for z in present.tolist()], kind
