"""Nuclei: positions, numbers, cell, charge and spin, of one structure or of a batch of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import torch
from ase.data import chemical_symbols
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cgdft.charge_state import stated_charge, stated_spin
from cgdft.finite import finite, numbers_of
from cgdft.units import angstrom

if TYPE_CHECKING:
    from ase import Atoms

#: Two nuclei closer than this (bohr) are taken for a mistake in the input.
COINCIDENT = 0.05
#: Shortest lattice vector, bohr.
SHORTEST = 0.1
#: Neighbours are sought within this (bohr), for which lists are made fastest.
SEARCHED = 4.0
#: Coordinates beyond this (bohr) are taken for a mistake in the input.
LARGEST = 1e7


@dataclass(frozen=True, eq=False, repr=False)
class Structure:
    """One structure, or a batch of them: atoms concatenated, `index` says which structure an atom belongs to.

    Args:
        numbers: atomic numbers, (n_atoms,).
        positions: (n_atoms, 3), bohr.
        cell: lattice vectors as rows, (n_structures, 3, 3) or (3, 3), bohr; zero where there is none.
        pbc: periodic axes, (n_structures, 3), (3,) or one bool.
        charge: total charge Q of each structure, (n_structures,) or one number, e; positive where electrons are missing.
        spin: number of unpaired electrons, (n_structures,) or one number; does not enter spin-free functionals.
        index: (n_atoms,), structure of each atom, ascending from 0; default: one structure.

    Raises:
        ValueError: what is no number or NaN, coincident positions, unknown element, singular cell, wrong shape.
    """

    numbers: Int[Tensor, " n_atoms"]
    positions: Float[Tensor, "n_atoms 3"]
    cell: Float[Tensor, "n_structures 3 3"] = None  # type: ignore[assignment]
    pbc: Bool[Tensor, "n_structures 3"] = False  # type: ignore[assignment]
    charge: Float[Tensor, " n_structures"] = 0.0  # type: ignore[assignment]
    spin: Float[Tensor, " n_structures"] = 0.0  # type: ignore[assignment]
    index: Int[Tensor, " n_atoms"] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        positions = numbers_of("positions", self.positions, torch.float64)
        device = positions.device
        numbers = numbers_of("numbers", self.numbers, torch.int64, device)
        if positions.ndim != 2 or positions.shape[1] != 3:
            raise ValueError(f"`positions` must be (n_atoms, 3) in bohr, got shape {tuple(positions.shape)}")
        n_atoms = len(positions)
        if numbers.shape != (n_atoms,):
            raise ValueError(f"`numbers` must be ({n_atoms},), one per position, got shape {tuple(numbers.shape)}")
        if n_atoms == 0:
            raise ValueError("`numbers` must name at least one atom, got none")
        index = torch.zeros_like(numbers) if self.index is None else numbers_of("index", self.index, torch.int64, device)
        steps = index.diff()
        if index.shape != (n_atoms,) or index[0] != 0 or ((steps != 0) & (steps != 1)).any():
            raise ValueError("`index` must be (n_atoms,), ascending from 0 without gaps, so that a structure's atoms adjoin")
        n = int(index[-1]) + 1

        def per_structure(value: Any, shape: tuple[int, ...], dtype: torch.dtype, name: str) -> Tensor:
            tensor = numbers_of(name, value, dtype, device)
            if tensor.shape not in ((n, *shape), shape) and not (name == "pbc" and tensor.ndim == 0):
                rows = ", lattice vectors as rows" if name == "cell" else ""
                lengths = "; of three lengths take np.diag(cell)" if rows and tensor.shape == (3,) else ""
                raise ValueError(f"`{name}` must be {(n, *shape)} or {shape}{rows}, got {tuple(tensor.shape)}{lengths}")
            return tensor.expand(n, *shape)

        cell = torch.zeros(3, 3) if self.cell is None else self.cell
        for name, value in {
            "numbers": numbers,
            "positions": positions,
            "index": index,
            "cell": per_structure(cell, (3, 3), torch.float64, "cell"),
            "pbc": per_structure(self.pbc, (3,), torch.bool, "pbc"),
            "charge": per_structure(self.charge, (), torch.float64, "charge"),
            "spin": per_structure(self.spin, (), torch.float64, "spin"),
        }.items():
            object.__setattr__(self, name, value)
        self._find_places()
        left = (torch.linalg.det(self.cell.detach()) < 0) & self.pbc.any(1)
        if left.any():  # the same lattice: all vectors turned, or one along an open axis, of which nothing depends
            first = torch.nn.functional.one_hot((~self.pbc).int().argmax(1), 3).bool()
            which = (first | self.pbc.all(1)[:, None]) & left[:, None]
            object.__setattr__(self, "cell", torch.where(which[..., None], -self.cell, self.cell))
        self._check()

    def _check(self) -> None:
        from cgdft.electrostatics.boundary import reduction

        bad = torch.nonzero((self.numbers < 1) | (self.numbers >= len(chemical_symbols))).flatten().tolist()
        if bad:
            number = int(self.numbers[bad[0]])
            ghost = "; a ghost atom X is no element: leave it out" if number == 0 else ""
            raise ValueError(
                f"`numbers` must be atomic numbers from 1 to {len(chemical_symbols) - 1}, got {number} of atom {bad[0]}{ghost}"
            )
        for name in ("positions", "cell", "charge", "spin"):
            value = getattr(self, name).detach()
            if not finite(value):
                where = torch.nonzero(~torch.isfinite(value))[0].tolist()
                raise ValueError(f"`{name}` must be finite, got {float(value[tuple(where)])} at index {where}")
        for name in ("positions", "cell"):
            if float(getattr(self, name).detach().abs().max()) > LARGEST:
                raise ValueError(
                    f"`{name}` must be below {LARGEST:g} bohr, got {float(getattr(self, name).detach().abs().max()):g}"
                )
        protons = self.total(self.numbers)
        for name, least, most in (("charge", -torch.inf, protons), ("spin", 0.0, protons - self.charge.detach())):
            value = getattr(self, name).detach()
            wrong = torch.nonzero((value < least) | (value > most)).flatten().tolist()
            if wrong:
                s = wrong[0]
                raise ValueError(
                    f"`{name}` must be one that {int(protons[s])} protons and their electrons can have, got "
                    f"{float(value[s]):g} in structure {s}"
                )
        for s in torch.nonzero(self.pbc.any(1)).flatten().tolist():
            cell, axes = self.cell[s].detach(), self.pbc[s]
            lengths = cell.norm(dim=1)
            basis = cell[axes] / lengths[axes].clamp_min(1e-300)[:, None]
            if float(torch.linalg.det(basis @ basis.T)) < 1e-8:
                raise ValueError(
                    f"`cell` must have independent lattice vectors along the periodic axes, got a singular cell "
                    f"{cell.tolist()} with pbc {axes.tolist()} in structure {s}"
                )
            shortest = float((reduction(cell, axes) @ cell)[axes].norm(dim=1).min())
            if shortest < SHORTEST:
                raise ValueError(
                    f"`cell` must have lattice vectors of at least {SHORTEST} bohr, got one of {shortest:.3g} in structure {s}"
                )
        self._check_distinct()

    def _check_distinct(self) -> None:
        from scipy.spatial import cKDTree

        from cgdft.electrostatics.pairs import neighbours

        positions = self.positions.detach().cpu().numpy()
        tree = cKDTree(np.column_stack([positions, 1e3 * COINCIDENT * self.index.cpu().numpy()]))
        close = [tuple(pair) for pair in tree.query_pairs(COINCIDENT)]
        for s in torch.nonzero(self.pbc.any(1)).flatten().tolist():
            i, j, apart = neighbours(self, s, SEARCHED, both=False)
            near = np.flatnonzero((apart**2).sum(1) < COINCIDENT**2)[:1]
            first = int(self.first[s])
            close += [(first + int(i[k]), first + int(j[k])) for k in near]
        if close:
            i, j = close[0]
            raise ValueError(
                f"`positions` must be distinct, got atoms {i} and {j} ({self.symbols[i]}, {self.symbols[j]}) closer than "
                f"{COINCIDENT} bohr; remove one of them"
            )

    @property
    def n_atoms(self) -> int:
        """Number of atoms, of all structures together."""
        return self.numbers.shape[0]

    @property
    def n_structures(self) -> int:
        """Number of structures in the batch."""
        return self.cell.shape[0]

    @property
    def counts(self) -> Int[Tensor, " n_structures"]:
        """Number of atoms of each structure, (n_structures,)."""
        found: Tensor = vars(self)["_counts"]
        return found

    @property
    def first(self) -> Int[Tensor, " n_structures"]:
        """Place of each structure's first atom, (n_structures,)."""
        found: Tensor = vars(self)["_first"]
        return found

    @property
    def local(self) -> Int[Tensor, " n_atoms"]:
        """Place of each atom in its own structure, (n_atoms,)."""
        found: Tensor = vars(self)["_local"]
        return found

    def _find_places(self) -> None:
        """What follows from the index, at once: found later, it could be of an inference, or of a transform of torch.func."""
        counts = torch.bincount(self.index)
        first = counts.cumsum(0) - counts
        local = torch.arange(len(self.index), device=self.index.device) - first[self.index]
        vars(self).update(_counts=counts, _first=first, _local=local)

    @property
    def symbols(self) -> list[str]:
        """Chemical symbol of each atom."""
        return [chemical_symbols[z] for z in self.numbers.tolist()]

    @property
    def volume(self) -> Float[Tensor, " n_structures"]:
        """Cell volume, (n_structures,), bohr^3; 0 without a cell."""
        a, b, c = self.cell.unbind(1)  # not linalg.det, whose second derivative is NaN for the zero cell of an open member
        return (torch.linalg.cross(a, b) * c).sum(1).abs()

    @property
    def has_stress(self) -> Bool[Tensor, " n_structures"]:
        """Which have a periodic axis and a volume, (n_structures,)."""
        return self.pbc.any(1) & (self.volume.detach() > 0)

    @property
    def open_projector(self) -> Float[Tensor, "n_structures 3 3"]:
        """Projector on the directions perpendicular to every periodic axis, (n_structures, 3, 3)."""
        eye = torch.eye(3, dtype=self.cell.dtype, device=self.cell.device)
        periodic = torch.where(self.pbc[:, :, None], self.cell, 0.0)
        return eye - torch.linalg.pinv(periodic) @ periodic

    def total(self, values: Float[Tensor, "n_atoms ..."]) -> Float[Tensor, "n_structures ..."]:
        """Sum over the atoms of each structure, (n_atoms, ...) -> (n_structures, ...)."""
        if values.shape[:1] != (self.n_atoms,):
            raise ValueError(f"`values` must be (n_atoms, ...) = ({self.n_atoms}, ...), got shape {tuple(values.shape)}")
        return values.new_zeros(self.n_structures, *values.shape[1:]).index_add(0, self.index, values)

    def deformed(
        self,
        displacement: Float[Tensor, "n_atoms 3"],
        strain: Float[Tensor, "n_structures 3 3"],
        charge: Float[Tensor, " n_structures"] | None = None,
    ) -> Structure:
        """R -> (R + u)(1 + e), cell -> cell (1 + e), Q -> Q + `charge`: moved, strained and charged, differentiable."""
        stretch = strain + torch.eye(3, dtype=strain.dtype, device=strain.device)
        positions = ((self.positions + displacement)[:, None, :] @ stretch[self.index])[:, 0]
        moved = self.holding(positions=positions, cell=self.cell @ stretch)
        return moved if charge is None else moved.charged(self.charge + charge)

    def charged(self, charge: Float[Tensor, " n_structures"]) -> Structure:
        """The same with other total charges, e, differentiable in them."""
        return self.holding(charge=charge)

    def to(self, device: torch.device | str) -> Structure:
        """The same with its tensors on another device, such as "cuda", where everything is then computed.

        Raises:
            TypeError: a dtype: numbers of a structure are double.
        """
        if isinstance(device, torch.dtype):
            raise TypeError(
                f"`device` must be a device, got {device}: numbers of a structure are double; see `dtype` of Hartree"
            )
        return self.holding(**{one.name: getattr(self, one.name).to(device) for one in fields(self)})

    def holding(self, **changes: Tensor) -> Structure:
        """The same with other tensors, which are not checked again."""
        other = copy.copy(self)
        vars(other).update(changes)
        if "index" in changes:
            other._find_places()
        return other

    def __len__(self) -> int:
        return self.n_structures

    def __iter__(self) -> Iterator[Structure]:
        return (self[s] for s in range(self.n_structures))

    def __getitem__(self, s: int) -> Structure:
        if not isinstance(s, SupportsIndex):
            raise TypeError(
                f"a batch takes whole numbers in brackets, got {s!r}; Structure.batch([batch[s] for s in ...]) is a part"
            )
        if not -len(self) <= int(s) < len(self):
            raise IndexError(f"structure {s} of a batch of {len(self)}")
        s = int(s) % len(self)
        atoms = self.index == s
        own = {name: getattr(self, name)[s : s + 1] for name in ("cell", "pbc", "charge", "spin")}
        index = torch.zeros_like(self.index[atoms])
        return self.holding(numbers=self.numbers[atoms], positions=self.positions[atoms], index=index, **own)

    @classmethod
    def batch(cls, structures: Sequence[Structure]) -> Structure:
        """One Structure of many: atoms concatenated in the order given."""
        if not structures:
            raise ValueError("`structures` must hold at least one structure, got none")
        for one in structures:
            if not isinstance(one, Structure):
                raise TypeError(
                    f"`structures` must be cgdft.Structure objects, got {type(one).__name__}; see Structure.from_ase"
                )
        offsets = np.cumsum([0, *(len(s) for s in structures)])
        index = [s.index + int(offset) for s, offset in zip(structures, offsets[:-1], strict=True)]
        names = ("numbers", "positions", "cell", "pbc", "charge", "spin")
        return structures[0].holding(
            index=torch.cat(index), **{n: torch.cat([getattr(s, n) for s in structures]) for n in names}
        )

    @classmethod
    def _member(cls, k: int, atoms: Atoms, charge: float | None, spin: float | None) -> Structure:
        """One of a list, which errors name."""
        try:
            return cls.from_ase(atoms, charge, spin)
        except ValueError as error:
            raise ValueError(f"number {k} of the list ({atoms.get_chemical_formula()}): {error}") from error

    @classmethod
    def from_ase(cls, atoms: Atoms | Sequence[Atoms], charge: float | None = None, spin: float | None = None) -> Structure:
        """Structure of ASE Atoms (angstrom), or a batch of a sequence of them.

        The charge is `charge`, else "charge" or "total_charge" in `atoms.info`, else the sum of initial charges, to a whole
        number where their digits leave it near to one, else 0; the
        spin is `spin`, else `atoms.info["spin"]`, else the size of the sum of the initial magnetic moments.

        Raises:
            TypeError: something else than Atoms.
            ValueError: `atoms.info` disagrees with what is given or with the atoms' initial ones, sites are partly occupied, or
                the structure is invalid.
        """
        if isinstance(atoms, Sequence) and not isinstance(atoms, str):
            return cls.batch([cls._member(k, one, charge, spin) for k, one in enumerate(atoms)])
        if not hasattr(atoms, "get_positions"):
            raise TypeError(f"`atoms` must be ASE Atoms or a list of them, got {type(atoms).__name__}; see ase.io.read")
        sites = atoms.info.get("occupancy")  # as ASE reads it from CIF
        sites = list(sites.values()) if isinstance(sites, dict) else []
        partly = [site for site in sites if isinstance(site, dict) and (len(site) > 1 or sum(site.values()) < 0.99)]
        if partly:
            raise ValueError(
                f"`atoms` must have every site occupied by one atom, got {partly[0]} in atoms.info['occupancy']; choose who is "
                "where, then `del atoms.info['occupancy']`"
            )
        q, s = stated_charge(atoms, charge) or 0.0, stated_spin(atoms, spin) or 0.0
        return cls(
            torch.from_numpy(atoms.numbers.copy()),
            torch.from_numpy(atoms.get_positions() * angstrom),
            torch.from_numpy(atoms.cell.array * angstrom),
            torch.from_numpy(atoms.pbc.copy()),
            torch.tensor(q, dtype=torch.float64),
            torch.tensor(s, dtype=torch.float64),
        )

    def to_ase(self) -> Atoms:
        """ASE Atoms (angstrom) of a single structure; charge and spin in `atoms.info`."""
        from ase import Atoms

        if len(self) != 1:
            raise ValueError(f"`to_ase` takes one structure, got a batch of {len(self)}; use [s.to_ase() for s in batch]")
        return Atoms(
            numbers=self.numbers.cpu().numpy(),
            positions=self.positions.detach().cpu().numpy() / angstrom,
            cell=self.cell[0].detach().cpu().numpy() / angstrom,
            pbc=self.pbc[0].cpu().numpy(),
            info={"charge": float(self.charge[0]), "spin": float(self.spin[0])},
        )

    def __repr__(self) -> str:
        head = f"batch of {len(self)} structures, " if len(self) > 1 else ""
        formula = self[0].to_ase().get_chemical_formula()
        if len(self) > 1:
            formula += ", ..."
        pbc = sorted({"".join("TF"[not p] for p in row) for row in self.pbc.tolist()})
        charges = ", ".join(f"{q:g}" for q in self.charge[:3].tolist()) + (", ..." if len(self) > 3 else "")
        return f"Structure({head}{formula}, {self.n_atoms} atoms, positions in bohr, pbc {'/'.join(pbc)}, charge {charges} e)"


def require_structure(structure: Any) -> None:
    """Raise a TypeError where it is none."""
    if not isinstance(structure, Structure):
        raise TypeError(f"`structure` must be a cgdft.Structure, got {type(structure).__name__}; see Structure.from_ase")
