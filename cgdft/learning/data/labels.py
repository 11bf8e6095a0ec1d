"""ASE's Atoms as frames: which keys hold which label, in which units, and which charge is meant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from cgdft.charge_state import check_parity, stated_charge, stated_spin
from cgdft.learning.data.frames import Frame
from cgdft.learning.data.quantities import QUANTITIES, UNITS, parts_of
from cgdft.learning.data.units import multiplier
from cgdft.structure import Structure

#: Names under which a frame states its charge and its unpaired electrons, where none is told.
STATED = {"charge": ("charge", "total_charge"), "spin": ("spin",)}
#: What an array of charges by some definition is called.
CHARGES = "_charges"
#: What names of labels are made of, or words of them are, and names in ASE's files that are of none.
SPEAKING = (
    *("energy", "force", "stress", "virial", "dipole", "quadrupole", "multipole", "charge", "polariz", "spin", "multiplicity"),
    *("fermi", "susceptib"),
)
SHORT = frozenset({"bec", "born", "esp", "mu"})
OTHERS = frozenset({"initial_charges", "energies", "stresses"})
#: What of a polarizability may be antisymmetric, by steps of finite fields.
SKEW = 0.05
#: Arrays of multipoles that do not say by which definition.
UNNAMED = ("multipoles", "charges")


@dataclass(frozen=True)
class Reading:
    """How frames of ASE's Atoms are read: told keys and units, and the charge of frames that state none.

    Raises:
        ValueError: a key or unit of something that is no label.
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    charge: float | None = None

    def __post_init__(self) -> None:
        for name, told, known in (
            ("keys", self.keys, {**UNITS, **STATED}),
            ("units", self.units, UNITS),
        ):
            for quantity in told:
                if quantity not in known:
                    raise ValueError(f"`{name}` must be of {', '.join(known)}, got one of {quantity!r}")
        if "virial" in (key := self.keys.get("stress", "").lower()) and "stress" not in key:
            raise ValueError(
                f"`keys` must name stresses for stress, eV/angstrom^3, got {self.keys['stress']}: virials are stresses times "
                "the volume of the cell, most with the other sign; write stress = -virial / volume into the file"
            )
        for quantity, unit in self.units.items():
            multiplier(unit, quantity)

    def unit(self, quantity: str) -> str:
        """In which unit the files have this label."""
        return self.units.get(quantity, UNITS[quantity][1])

    def names(self, quantity: str) -> tuple[str, ...]:
        """The keys under which a label, charge or spin is sought."""
        if quantity in self.keys:
            return (self.keys[quantity].removesuffix(".T"),)
        return QUANTITIES[quantity].names if quantity in QUANTITIES else STATED.get(quantity, ())

    def unread(self, names: Iterable[str], definitions: Sequence[str]) -> list[str]:
        """Of the names in files those that speak of labels and are those of none."""
        usual = {name for one in QUANTITIES.values() for name in one.names}.union(*STATED.values())
        known = {name for label in (*UNITS, *STATED) for name in self.names(label)} | usual | OTHERS
        parts = {part for one in definitions for part in _parts(one)}
        speak = {name for name in names if any(word in name.lower() for word in SPEAKING) or SHORT & {*name.lower().split("_")}}
        found = {name for name in speak if "weight" not in name.lower()}
        energies = found & {*self.names("energy")}
        return sorted(found - known - parts - {*definitions} - ({"free_energy"} if energies else set()))

    def stated(self, atoms: Atoms, what: str) -> float | None:
        """Total charge or spin that a frame states, else None; raises ValueError where it states two."""
        rule = stated_charge if what == "charge" else stated_spin
        told: list[float | None] = [atoms.info[key] for key in self.names(what) if atoms.info.get(key) is not None]
        found = {rule(atoms, value) for value in (told if what in self.keys and told else [None])}
        if len(found) > 1:
            raise ValueError(
                f"`{what}` must be one number, got {sorted(map(str, found))}; set `keys` of the data to {{{what}: ...}}, "
                "the one that is meant"
            )
        return found.pop()

    def frame(self, atoms: Atoms, name: str, definition: str | None) -> Frame:
        """The frame of Atoms with those labels that it has.

        Raises:
            ValueError: two different values of one label, labels of wrong shape, or an invalid structure; with its name.
        """
        try:
            charge, spin = self.stated(atoms, "charge"), self.stated(atoms, "spin")
            structure = Structure.from_ase(atoms, self.charge if charge is None else charge, spin)
            if spin is not None and any(atoms.info.get(key) is not None for key in self.names("spin")):
                check_parity(atoms, float(structure.charge), spin)
            labels = {}
            for quantity, one in QUANTITIES.items():
                raw = self._multipoles(atoms, definition) if quantity == "multipoles" else self._value(atoms, quantity)
                if raw is None or one.periodic not in (None, bool(atoms.pbc.any())):
                    continue
                value = shaped(raw, quantity, len(atoms))
                if self.keys.get(quantity, "").endswith(".T"):
                    value = value.swapaxes(-1, -2)
                labels[quantity] = torch.from_numpy(np.array(self._atomic(value, quantity)))
            if "potential" in labels and (points := self._value(atoms, "points")) is not None:
                labels["points"] = torch.from_numpy(
                    np.asarray(points, dtype=np.float64).reshape(-1, 3) * multiplier(self.unit("points"), "points")
                )
            check_labels(labels, len(atoms))
        except (ValueError, TypeError) as error:
            raise ValueError(f"frame {name}: {error}") from error
        return Frame(name, structure, labels)

    def _value(self, atoms: Atoms, quantity: str) -> Any:
        found: dict[str, Any] = {key: one for key in self.names(quantity) if (one := held(atoms, key)) is not None}
        first: Any = next(iter(found.values()), None)
        for key, one in found.items():
            if (
                one is not first
                and np.shape(one := shaped(one, quantity, len(atoms))) == np.shape(known := shaped(first, quantity, len(atoms)))
                and not np.allclose(one, known, rtol=1e-9, atol=0, equal_nan=True)
            ):
                raise ValueError(
                    f"`{quantity}` must be told once, got different values in {', '.join(found)}; set `keys` of "
                    f"the data to {{{quantity}: {key}}}, or another"
                )
        return first

    def _multipoles(self, atoms: Atoms, definition: str | None) -> Any:
        if "multipoles" in self.keys:
            return held(atoms, self.keys["multipoles"])
        if definition is None:
            return None
        if definition == "multipoles":
            return held(atoms, definition)
        names = _parts(definition)
        shells = {name: one for name in names if (one := held(atoms, name)) is not None}
        if definition in UNNAMED:
            shells = {"charges": shells["charges"], **_unnamed(atoms)} if "charges" in shells else {}
        if missing := [name for name in names[: len(shells)] if name not in shells]:
            got = ", ".join(shells)
            raise ValueError(f"`multipoles` must be whole up to their highest l, got {got} without {', '.join(missing)}")
        known = [np.asarray(one, dtype=np.float64).reshape(len(atoms), -1) for one in shells.values()]
        return np.concatenate(known, axis=1) if known else None

    def _atomic(self, value: NDArray[np.float64], quantity: str) -> NDArray[np.float64]:
        unit = self.unit(quantity)
        if quantity != "multipoles":
            return value * multiplier(unit, quantity)
        orders = [int(k**0.5) for k in range(value.shape[1])]
        return value * np.array([multiplier(unit, quantity, l) for l in orders])  # noqa: E741


def _parts(definition: str) -> list[str]:
    """Names of the arrays of charges, dipoles and quadrupoles by a definition; without a prefix where it has no name."""
    return [part if definition in UNNAMED else f"{definition}_{part}" for part in parts_of("multipoles")]


def _unnamed(atoms: Atoms) -> dict[str, Any]:
    """Dipoles and quadrupoles of atoms beside their charges, as `cgdft solve` writes them."""
    found = {}
    for l, name in enumerate(parts_of("multipoles")[1:], 1):  # noqa: E741
        if name not in atoms.arrays:
            break
        if np.shape(atoms.arrays[name]) != (len(atoms), 2 * l + 1):
            raise ValueError(
                f"`{name}` beside `charges` must be those of atoms, ({len(atoms)}, {2 * l + 1}) in e angstrom^{l}, got shape "
                f"{np.shape(atoms.arrays[name])}; to read the charges alone, set `keys` of the data to {{multipoles: charges}}"
            )
        found[name] = atoms.arrays[name]
    return found


def held(atoms: Atoms, key: str) -> Any:
    """What a calculator, `info` or `arrays` hold under a name, else None."""
    results = atoms.calc.results if atoms.calc is not None else {}
    return next((place[key] for place in (results, atoms.info, atoms.arrays) if place.get(key) is not None), None)


def definitions_in(names: Iterable[str]) -> list[str]:
    """Definitions of charges that arrays of these names hold, in their order."""
    names = list(names)
    taken = {"initial_charges", *(label for one in QUANTITIES.values() for label in one.names)}
    by_prefix = [name.removesuffix(CHARGES) for name in names if name.endswith(CHARGES) and name not in taken]
    return [*by_prefix, *(name for name in UNNAMED if name in names)]


def shaped(value: Any, quantity: str, n: int) -> NDArray[np.float64]:
    """Numbers in the shape that a label of n atoms has; also from flat ones, and stress from Voigt's six.

    Raises:
        ValueError: not possible.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"`{quantity}` must be numbers, got {value!r:.60}") from None
    if quantity == "stress" and array.shape == (6,):
        array = array[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
    if quantity == "susceptibility":
        side = int(array.size**0.5)
        return array.reshape(side, side) if side**2 == array.size and side % n == 0 else _misshapen(array, quantity, n)
    wanted = [n if one == "n" else one if isinstance(one, int) else -1 for one in QUANTITIES[quantity].shape]
    given = array.shape[: 1 if array.ndim < len(wanted) else None]  # flat below its first axis, or altogether, or as it is
    if array.ndim > 1 and any(one not in (-1, found) for one, found in zip(wanted, given, strict=False)):
        return _misshapen(array, quantity, n)
    try:
        return array.reshape(wanted)
    except ValueError:
        return _misshapen(array, quantity, n)


def check_labels(labels: Mapping[str, Tensor], n: int) -> None:
    """Refuse what no label can be.

    Raises:
        ValueError: an unknown name, a wrong shape, NaN or infinity, a quadrupole with a trace, a polarizability that is not
            symmetric and positive, a potential without points.
    """
    for name, value in labels.items():
        if name == "points":
            continue
        if name not in QUANTITIES:
            if name == "charges":
                raise ValueError("`labels` of charges are `multipoles` of one column, (n, 1), got 'charges'")
            raise ValueError(f"`labels` must be of {', '.join(QUANTITIES)}, got {name!r}")
        if not isinstance(value, Tensor):
            raise ValueError(f"`{name}` must be a torch tensor, got {type(value).__name__}")
        if value.requires_grad:
            raise ValueError(f"`{name}` must be a label without a gradient, got one that requires it; detach() it")
        if shaped(value.numpy(), name, n).shape != tuple(value.shape):
            _misshapen(value.numpy(), name, n)
        if not torch.isfinite(value).all():
            bad = value[~torch.isfinite(value)][0]
            raise ValueError(f"`{name}` must be finite, got {float(bad)}; remove the label or the frame")
    if (p := labels.get("multipoles")) is not None and math.isqrt(p.shape[1]) ** 2 != p.shape[1]:
        raise ValueError(f"`multipoles` must be whole up to their highest l, 1, 4 or 9 of an atom, got {p.shape[1]}")
    if (alpha := labels.get("polarizability")) is not None and float((alpha - alpha.T).abs().max()) > SKEW * float(
        alpha.abs().max()
    ):
        raise ValueError(f"`polarizability` must be symmetric, dD_a/dF_b = dD_b/dF_a, got {alpha.tolist()}; look at its order")
    if (alpha := labels.get("polarizability")) is not None and _negative(alpha):
        raise ValueError(f"`polarizability` must be dD/dF, which is positive, got {alpha.tolist()}; change its sign")
    if "potential" in labels and labels.get("points", torch.empty(0)).shape != (*labels["potential"].shape, 3):
        raise ValueError(
            "`potential` must have as many `points` (m, 3), got others or none; set `keys` of the data to {points: ...}"
        )
    if (theta := labels.get("quadrupole")) is not None and abs(float(theta.trace())) > 1e-6 + 1e-3 * float(theta.abs().max()):
        raise ValueError(
            f"`quadrupole` must be traceless, integral rho (3 r r - r^2)/2, got trace {float(theta.trace()):.4g}; "
            "of second moments Q take (3 Q - tr Q)/2"
        )


def _negative(alpha: Tensor) -> bool:
    """Beyond rounding; charges in a plane have a zero."""
    values = torch.linalg.eigvalsh(alpha + alpha.T)
    return bool(values[0] < -1e-6 * values.abs().max())


def _misshapen(array: NDArray[np.float64], quantity: str, n: int) -> NDArray[np.float64]:
    wanted = ", ".join(str(one) for one in QUANTITIES[quantity].shape)
    raise ValueError(f"`{quantity}` must be of shape ({wanted}) with n = {n} atoms, got {array.shape}")
