"""What a coarse-graining definition is: from a density to multipoles, with the Gaussians that carry them."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import NDArray

from cgdft.units import angstrom
from cgdft.validation.dft.electrons import ElectronDensity

if TYPE_CHECKING:
    from cgdft.basis import Multipoles

#: By how much charges may miss the total charge, e: some grids' integrals of the density do.
CHARGE_OFF = 0.02
#: sigma in bohr: one number, or by element; None for covalent radii.
Width = float | Mapping[str, float] | None


class Definition(ABC):
    """p = p[n], the multipoles (n_atoms, (lmax + 1)^2) in e bohr^l of an electron density, in e3nn's order.

    Subclasses are frozen dataclasses with the fields `lmax` and `width`, and say p by `__call__`. Charge is conserved:
    sum_A q_A = Q. `width` names the Gaussians that carry the multipoles, so that a functional tested with them has the same
    (`basis`).
    """

    lmax: int
    width: Width

    def __post_init__(self) -> None:
        if self.lmax not in (0, 1, 2):
            raise ValueError(f"`lmax` must be 0, 1 or 2, got {self.lmax!r}")

    @property
    def name(self) -> str:
        """The constructor's call, without arguments that have their default: how tables and files name it."""
        fields = [one for one in dataclasses.fields(self) if getattr(self, one.name) != one.default]  # type: ignore[arg-type]
        given = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields)
        return f"{type(self).__name__}({given})" if given else type(self).__name__

    @property
    def identity(self) -> str:
        """By what results are kept: the call, and of a definition outside of this package the code of its file as well."""
        kind = type(self)
        if kind.__module__.startswith("cgdft."):
            return repr(self)
        return f"{kind.__module__}.{self!r} {hashlib.sha256(_code(kind).encode()).hexdigest()}"

    def of(self, electrons: ElectronDensity) -> NDArray[np.float64]:
        """p, checked.

        Raises:
            ValueError: another shape, what is no number, or charges that do not add up to the total charge.
        """
        p = np.asarray(self(electrons), dtype=float)
        wanted = (electrons.mol.natm, (self.lmax + 1) ** 2)
        if p.shape != wanted:
            raise ValueError(f"`{self.name}` must give multipoles of shape (n_atoms, (lmax + 1)^2) = {wanted}, got {p.shape}")
        if len(wrong := np.argwhere(~np.isfinite(p))):
            raise ValueError(f"`{self.name}` must give numbers, got {p[tuple(wrong[0])]} on atom {wrong[0][0]}")
        if abs(off := float(p[:, 0].sum()) - electrons.mol.charge) > CHARGE_OFF:
            raise ValueError(
                f"`{self.name}` must give charges that add up to the total charge {electrons.mol.charge} e, got {off:+.3g} e "
                "more; share out what is left, as by the weights of the atoms"
            )
        return p

    @abstractmethod
    def __call__(self, electrons: ElectronDensity) -> NDArray[np.float64]:
        """p, (n_atoms, (lmax + 1)^2), e bohr^l."""

    def widths(self, symbols: Sequence[str]) -> NDArray[np.float64]:
        """sigma (n_atoms,) in bohr.

        Without a `width` they are covalent radii. Source: B. Cordero et al., Dalton Trans., 2832 (2008), from ase.data.

        Raises:
            ValueError: widths that are not positive, or an element without one.
        """
        if self.width is None:
            return np.array([covalent_radii[atomic_numbers[symbol]] * angstrom for symbol in symbols])
        if isinstance(self.width, Mapping):
            missing = sorted(set(symbols) - set(self.width))
            if missing:
                raise ValueError(f"`width` must have all elements, got none for {', '.join(missing)}")
            found = np.array([self.width[symbol] for symbol in symbols], dtype=float)
        else:
            found = np.full(len(symbols), float(self.width))
        if not (np.isfinite(found) & (found > 0)).all():
            raise ValueError(f"`width` must be positive, in bohr, got {self.width!r}")
        return found

    def basis(self, symbols: Sequence[str]) -> Multipoles:
        """The Gaussian multipoles that carry p, for a functional of it."""
        from cgdft.basis import Multipoles

        return Multipoles(self.lmax, width=dict(zip(symbols, self.widths(symbols).tolist(), strict=True)))


class LinearDefinition(Definition):
    """p_a = p_a^0 - sum_ij D_ij W_a,ij, linear in the density.

    W_a is the potential conjugate to p_a: an energy v_a p_a adds -v_a W_a to the Kohn-Sham matrix. Only such multipoles have a
    linear response, and a Legendre transform of which they are the variable.
    """

    def up_to(self, lmax: int) -> LinearDefinition:
        """The same definition without what is above `lmax`."""
        return self if self.lmax <= lmax else dataclasses.replace(self, lmax=lmax)  # type: ignore[type-var]

    @abstractmethod
    def operators(self, electrons: ElectronDensity) -> NDArray[np.float64]:
        """W (n_atoms, (lmax + 1)^2, n_ao, n_ao) in bohr^l; W_a is symmetric."""


def _code(kind: type) -> str:
    """The file that a class is in, or of what was typed in the class alone, or of what has no source its bytes."""
    for where in (inspect.getmodule(kind), kind):
        try:
            return inspect.getsource(where)  # type: ignore[arg-type]
        except (OSError, TypeError):
            pass
    functions = [one.__code__ for one in vars(kind).values() if inspect.isfunction(one)]
    return repr([(code.co_code, code.co_consts, code.co_names) for code in functions])
