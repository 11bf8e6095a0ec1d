"""Constraints: a linear charge a . q with its conjugate potential V = dE/dq; give one, the solver returns the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Union

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.finite import finite, numbers_of, require_tensor
from cgdft.naming import distinct

if TYPE_CHECKING:
    from cgdft.basis import Multipoles
    from cgdft.structure import Structure

#: One number, or one per structure of a batch.
PerStructure = float | Sequence[float] | Tensor
#: Atoms: numbers within their structure (of each structure of a batch), a mask (n_atoms,), or a function structure -> mask.
Atoms = Union[Sequence[int], Tensor, "Callable[[Structure], Tensor]"]


@dataclass(frozen=True, eq=False)
class Row:
    """a.p of every structure: `weights` a (n_atoms, size), and either its value or its potential, (n_structures,).

    The charge of some atoms without either is what other fixed charges leave of the structure's (see `settled`).
    """

    name: str
    weights: Float[Tensor, "n_atoms size"]
    charge: Float[Tensor, " n_structures"] | None = None
    potential: Float[Tensor, " n_structures"] | None = None

    @cached_property
    def plain(self) -> bool:
        """Whether it is the charge of some atoms, or their spin: each weight is 0 or 1."""
        return bool(((self.weights == 0) | (self.weights == 1)).all())

    @property
    def of_atoms(self) -> bool:
        """Whether it is a sum or difference of charges of atoms: all weights but zeros are of one size."""
        sizes = self.weights.detach().abs()
        return bool(((sizes == 0) | (sizes == sizes.max())).all())


class Constraint(ABC):
    """Says which linear charges of a structure are fixed, or held at a potential."""

    @abstractmethod
    def rows(self, structure: Structure, basis: Multipoles) -> list[Row]:
        """The linear charges of this structure."""

    def charged(self, structure: Structure) -> Structure:
        """The structure with the total charge that this constraint gives it in place of its own, if it does."""
        return structure


@dataclass(frozen=True, eq=False)
class TotalCharge(Constraint):
    """Q = sum_i q_i is fixed, or the whole is held at a potential V = dE/dQ (grand canonical; Q is then the answer).

    Args:
        charge: Q, e, one or per structure, which takes the place of the structure's for all of the model; default: that of the
            structure.
        potential: V, hartree / e, instead of a charge; p0 and terms that depend on a total charge have the structure's.

    Raises:
        ValueError: both given.
    """

    charge: PerStructure | None = None
    potential: PerStructure | None = None

    def __post_init__(self) -> None:
        if self.charge is not None and self.potential is not None:
            raise ValueError(f"`charge` or `potential` must be left out of TotalCharge, got {self.charge} and {self.potential}")

    def rows(self, structure: Structure, basis: Multipoles) -> list[Row]:
        """One row of ones."""
        charge = None if self.potential is not None else structure.charge
        if self.charge is not None:
            given = _per_structure(self.charge, "charge", structure)
            charge = torch.where(given == structure.charge, structure.charge, given)
        weights = basis.padded(torch.ones_like(structure.positions[:, :1]))
        return [_row("total", weights, charge, self.potential, structure)]

    def charged(self, structure: Structure) -> Structure:
        """With Q where it is given; small changes of the structure's charge are of Q, which is in its place."""
        if self.charge is None:
            return structure
        given, own = _per_structure(self.charge, "charge", structure), structure.charge
        same = bool((given == own).all()) and not given.requires_grad
        return structure if same else structure.charged(given + (own - own.detach()))


@dataclass(frozen=True, eq=False)
class TotalSpin(Constraint):
    """S = sum_i m_i, the number of unpaired electrons of a spin-resolved density, is fixed, or held at a potential.

    Args:
        spin: S, one or per structure; default: that of the structure.
        potential: dE/dS, hartree, instead of a spin.

    Raises:
        ValueError: both given; at the call, a basis without spin.
    """

    spin: PerStructure | None = None
    potential: PerStructure | None = None

    def __post_init__(self) -> None:
        if self.spin is not None and self.potential is not None:
            raise ValueError(f"`spin` or `potential` must be left out of TotalSpin, got {self.spin} and {self.potential}")

    def rows(self, structure: Structure, basis: Multipoles) -> list[Row]:
        """One row of ones on the spin moments."""
        if not basis.spin:
            raise ValueError("`basis` must be spin-resolved for TotalSpin, got one without spin; give Multipoles(spin=True)")
        weights = structure.positions.new_zeros(structure.n_atoms, basis.size)
        weights[:, basis.shells] = 1.0
        spin = structure.spin if self.spin is None and self.potential is None else self.spin
        return [_row("spin", weights, spin, self.potential, structure)]


@dataclass(frozen=True, eq=False)
class FragmentCharge(Constraint):
    """The charge of some atoms is fixed, or they are held at a potential V (an electrode).

    Args:
        atoms: numbers of the atoms within their structure (of each structure of a batch), a mask (n_atoms,), or a function
            structure -> mask.
        charge: e, one or per structure.
        potential: V = dE/dq, hartree / e, instead of a charge; of a fragment of a fixed charge, such as TotalCharge(), the
            difference to that of the rest.
        name: how `solution.potentials` calls it; with a number where another one is called so.

    Raises:
        ValueError: both or neither of charge and potential given, a name that means something else; at the call, an atom out
            of range.
    """

    atoms: Atoms
    charge: PerStructure | None = None
    potential: PerStructure | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if (self.charge is None) == (self.potential is None):
            raise ValueError(
                f"one of `charge` and `potential` must be given to FragmentCharge, got charge={self.charge}, "
                f"potential={self.potential}"
            )
        if self.name in ("total", "spin"):
            raise ValueError(f"`name` must not be that of another constraint, got {self.name!r} of a FragmentCharge")

    def rows(self, structure: Structure, basis: Multipoles) -> list[Row]:
        """One row: 1 on the atoms of the fragment."""
        mask = basis.padded(mask_of(self.atoms, structure)[:, None])
        return [_row(self.name or f"fragment {_short(self.atoms)}", mask, self.charge, self.potential, structure)]


@dataclass(frozen=True, eq=False)
class PotentialDifference(Constraint):
    """V_first - V_second is held by a battery between two fragments, whose charge together is fixed.

    Args:
        first, second: atoms, as for FragmentCharge.
        difference: V_first - V_second, hartree / e, one or per structure.
        charge: of both together, e, one or per structure; default: what other fixed charges leave of the structure's.
        name: how `solution.potentials` calls the pair: "between NAME" is the difference, "both of NAME" the mean of both
            potentials; default: after the atoms.

    Raises:
        ValueError: no difference; at the call, fragments without an atom or that share one.
    """

    first: Atoms
    second: Atoms
    difference: PerStructure
    charge: PerStructure | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if self.difference is None:
            raise ValueError("`difference` must be given, V_first - V_second in hartree / e, got None")

    def rows(self, structure: Structure, basis: Multipoles) -> list[Row]:
        """The sum of both charges, fixed, and half of their difference, at a potential."""
        one, two = (basis.padded(mask_of(atoms, structure)[:, None]) for atoms in (self.first, self.second))
        for name, mask in (("first", one), ("second", two)):
            if (none := ~(structure.total(mask.sum(1)) > 0)).any():
                raise ValueError(
                    f"`{name}` must be some atoms in each structure, got none in structure {int(none.int().argmax())}"
                )
        if (one * two).any():
            raise ValueError(f"`first` and `second` must not share atoms, got {_short(self.first)} and {_short(self.second)}")
        pair = self.name or f"{_short(self.first)} and {_short(self.second)}"
        difference = _per_structure(self.difference, "difference", structure)
        return [
            _row(f"both of {pair}", one + two, self.charge, None, structure),
            Row(f"between {pair}", (one - two) / 2, potential=difference),
        ]


def mask_of(atoms: Atoms, structure: Structure) -> Float[Tensor, " n_atoms"]:
    """1 on the atoms named, 0 elsewhere.

    Raises:
        TypeError: atoms that are named otherwise.
        ValueError: an empty list, a number twice or out of range.
    """
    if isinstance(atoms, str | slice | set | dict):
        raise TypeError(
            f"`atoms` must be numbers of atoms, a mask or a function structure -> mask, got {atoms!r}; elements are chosen by "
            "lambda structure: structure.numbers == 11"
        )
    given = numbers_of("atoms", atoms(structure) if callable(atoms) else atoms, None, structure.index.device)
    if given.dtype == torch.bool:
        if given.shape != (structure.n_atoms,):
            raise ValueError(f"`atoms` as a mask must be ({structure.n_atoms},), got shape {tuple(given.shape)}")
        return given.to(structure.positions.dtype)
    fewest = int(structure.counts.min())
    if given.ndim != 1 or not len(given) or given.is_floating_point():
        raise ValueError(f"`atoms` must be a list of atom numbers, got {given.tolist()}")
    if int(given.min()) < 0 or int(given.max()) >= fewest:
        raise ValueError(f"`atoms` must be from 0 to {fewest - 1}, the atoms of the structure, got {_short(given)}")
    if len(given.unique()) != len(given):
        raise ValueError(f"`atoms` must name each atom once, got {_short(given)}")
    mask = torch.zeros_like(structure.positions[:, 0])
    mask[(structure.first[:, None] + given).flatten()] = 1.0
    return mask


def _short(atoms: Atoms) -> str:
    if callable(atoms):
        return str(getattr(atoms, "__name__", "function")).strip("<>")
    values = torch.as_tensor(atoms)
    numbers = (torch.nonzero(values).flatten() if values.dtype == torch.bool else values).tolist()
    return "[" + ", ".join(map(str, numbers[:4])) + (", ...]" if len(numbers) > 4 else "]")


def _per_structure(value: PerStructure, what: str, structure: Structure) -> Float[Tensor, " n_structures"]:
    tensor = numbers_of(what, value, structure.positions.dtype, structure.positions.device)
    if tensor.ndim > 1 or (tensor.ndim == 1 and len(tensor) != len(structure)):
        raise ValueError(f"`{what}` must be one number or ({len(structure)},), got shape {tuple(tensor.shape)}")
    if not finite(tensor):
        raise ValueError(f"`{what}` must be finite, got {tensor.tolist()}")
    return tensor.expand(len(structure))


def _row(name: str, weights: Tensor, charge: PerStructure | None, potential: PerStructure | None, structure: Structure) -> Row:
    given = {"charge": charge, "potential": potential}
    values = {what: _per_structure(value, what, structure) for what, value in given.items() if value is not None}
    return Row(name, weights, **values)


def settled(rows: Sequence[Row], structure: Structure, size: int, kept: Float[Tensor, " n_atoms"]) -> list[Row]:
    """Rows with names of their own, and those without a charge given what the other fixed charges leave of the structure's.

    Args:
        size: coefficients of an atom.
        kept: charges that the ansatz does not change, e.

    Raises:
        TypeError, ValueError: a row that is none, or whose attributes are not what they must be.
        ValueError: fragments that share some, but not all, of their atoms; atoms held at two potentials, or both held and
            fixed; fixed charges that add up to another total than that of a charged structure.
    """
    named: dict[str, Row] = {}
    for row in rows:
        row = replace(row) if isinstance(row, Row) else row  # whose weights may have changed since it was asked
        _check_row(row, structure, size)
        name = distinct(row.name, named)
        named[name] = row if name == row.name else replace(row, name=name)
    found = list(named.values())
    if found:
        held = torch.stack([(row.weights != 0).flatten() for row in found])
        _check_places(found, held)
        return _shared_out(found, held, structure, kept)
    return found


def _check_row(row: Row, structure: Structure, size: int) -> None:
    if not isinstance(row, Row):
        raise TypeError(f"`rows` of a constraint must give a list of cgdft.Row, got {row!r} in it")
    each = {"weights": (structure.n_atoms, size), "charge": (len(structure),), "potential": (len(structure),)}
    for what, shape in each.items():
        one = getattr(row, what)
        if one is not None or what == "weights":
            require_tensor(f"`{what}` of the Row {row.name}", one, shape, structure.positions)
            if not finite(one):
                raise ValueError(f"`{what}` of the Row {row.name} must be finite, got NaN or infinity")
    if row.name in ("total", "spin") and not (row.plain and (row.weights != 0).any(1).all()):
        raise ValueError(f"`name` of a Row must not be {row.name!r}, which is that of another constraint")
    if row.charge is None and row.potential is None and not row.plain:
        raise ValueError(f"`charge` or `potential` must be given of the Row {row.name}, got neither")
    if row.charge is not None and row.potential is not None:
        raise ValueError(f"`charge` or `potential` must be left out of the Row {row.name}, got both")


def _check_places(rows: list[Row], held: Tensor) -> None:
    """That no two charges of atoms overlap in part, and none has two potentials; `held` (n_rows, n) says what is in which."""
    if len(rows) < 2:
        return
    at_potentials = [k for k, row in enumerate(rows) if row.potential is not None and row.of_atoms]
    for k in (k for k in at_potentials if rows[k].plain):
        if twice := [j for j in at_potentials if j != k and (held[j] & held[k]).any()]:
            raise ValueError(
                f"`constraints` must say of each atom one potential, got {rows[k].name} beside {rows[twice[0]].name}; give "
                "disjoint fragments a potential each"
            )
    plain = [k for k, row in enumerate(rows) if row.plain]
    rows, held = [rows[k] for k in plain], held[plain]
    shared, count = held.to(torch.float32) @ held.to(torch.float32).T, held.sum(1)
    partly = torch.nonzero((shared > 0) & (shared < count) & (shared < count[:, None])).tolist()
    if partly:
        one, two = partly[0]
        raise ValueError(
            f"`constraints` must not overlap, got {rows[one].name} and {rows[two].name}, which share atoms in part; several "
            "electrodes are a FragmentCharge(potential=...) each, within a TotalCharge()"
        )
    for k in (k for k, row in enumerate(rows) if row.potential is not None):
        inside = [j for j in range(len(rows)) if j != k and shared[k, j] == count[k]]
        if wrong := [j for j in inside if count[j] == count[k]]:
            raise ValueError(
                f"`constraints` must say of each atom one potential or one charge, got {rows[k].name} held within "
                f"{rows[wrong[0]].name}; give disjoint fragments a potential each"
            )


def _shared_out(rows: list[Row], held: Tensor, structure: Structure, kept: Tensor) -> list[Row]:
    """What the rows without a charge get, and whether fragments add up to the charge of the structure.

    A charge that is given for the whole takes the place of the structure's.
    """
    fixed = [k for k, row in enumerate(rows) if row.potential is None and row.weights[:, 0].any() and row.plain]
    whole = fixed
    if len(fixed) > 1:
        places = held[fixed].to(torch.float32)
        inside = (places @ places.T == places.sum(1)).fill_diagonal_(False).any(0)
        whole = [k for k, within in zip(fixed, inside.tolist(), strict=True) if not within]
    told, left = torch.zeros_like(structure.charge), [k for k in fixed if rows[k].charge is None]
    for k in whole:
        told = told if (charge := rows[k].charge) is None else told + charge
    if len(left) > 1:
        names = " and ".join(rows[k].name for k in left)
        raise ValueError(f"`charge` must be given, of {names}: what is left of the structure's can be that of one of them only")
    of_charges = held.reshape(len(rows), *rows[0].weights.shape)[:, :, 0]
    for k in left:
        elsewhere = structure.total(torch.where(of_charges[whole].any(0), 0.0, kept))
        rows[k] = replace(rows[k], charge=structure.charge - told - elsewhere)
    off = told.detach() - structure.charge.detach()
    wrong = torch.nonzero((off.abs() > 1e-6) & (structure.charge.detach() != 0)).flatten().tolist()
    if wrong and not left and whole and of_charges[whole].any(0).all() and not of_charges[whole].all(1).any():
        told, asked = told.detach()[wrong[0]], structure.charge.detach()[wrong[0]]
        raise ValueError(
            f"`constraints` must add up to the charge of the structure, got fixed charges of {float(told):g} e in all and "
            f"one of {float(asked):g} e; change either"
        )
    return rows
