"""Wrong units, signs, origins and orders of dipoles, told from multipoles or lengths; of Born charges, told from dipoles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase.data import atomic_masses
from numpy.typing import NDArray

from cgdft.learning.data.frames import Frame
from cgdft.learning.data.scales import MISTAKEN, larger, looks_like
from cgdft.naming import few

#: Dipoles that miss those of their multipoles by more, of their own size and 0.1 e bohr, are others; by less, the same.
OTHERS, SAME = 0.3, 0.1
#: Smaller ones, e bohr, may be zero but for rounding.
SMALL = 0.1
#: Born charges that miss the total charge by more, e per atom, are others; acoustic sums are off by a tenth of it at most.
BORN_OFF = 0.3
#: Clusters of more atoms may have more than one electron's.
MANY = 20


def check_dipoles(frames: Sequence[Frame], unit: str, unit_of_atoms: str) -> list[str]:
    """Dipoles of molecules against charges and atomic dipoles, and Born charges against dipoles.

    Args:
        frames: some of a set.
        unit: in which the dipoles were read.
        unit_of_atoms: in which the multipoles were.

    Raises:
        ValueError: another unit, sign, origin or order of components.
    """
    known = [f for f in frames if "dipole" in f.labels and "multipoles" in f.labels and not f.structure.pbc.any()]
    if whole := [frame for frame in known if frame.labels["multipoles"].shape[1] >= 4]:
        told = _check_whole(whole, unit, unit_of_atoms)
    else:
        told = _check_charges(known) if known else _check_sizes(frames, unit)
    _check_born(frames, sure=bool(known) and not told)
    return told


def _check_whole(frames: Sequence[Frame], unit: str, unit_of_atoms: str) -> list[str]:
    """Dipoles that charges and atomic dipoles add up to."""
    given = np.stack([frame.labels["dipole"].numpy() for frame in frames])
    sums, reordered = (np.stack([_of_charges(f) + _of_atoms(f, one) for f in frames]) for one in ((1, 2, 3), (3, 1, 2)))
    off = [float(np.median(np.linalg.norm(given - one, axis=1))) for one in (sums, reordered)]
    if off[1] < min(0.05, 0.1 * off[0]):
        raise ValueError("`multipoles` must have dipoles in the order x, y, z, got them as y, z, x; reorder them")
    if unlike := _charged_origin(frames, given, sums):
        raise ValueError(unlike)
    if _fits(given, sums):
        return _check_single(frames, given, sums, unit)
    slope, along = _line(given, sums)
    if along > 0.99 and (told := looks_like("dipole", unit, 1 / slope)):
        raise ValueError(
            f"`dipole` must be in {unit}, got numbers that look like {told[0]}; set `units` of the data to "
            f"{{dipole: {told[0]}}}"
        )
    _check_atomic(frames, given, unit_of_atoms)
    if along < -0.8:
        raise ValueError("`dipole` must point towards positive charge, got the opposite of what the charges say; change a sign")
    return [
        f"dipoles are {slope:.3g} times those of the multipoles (correlation {along:.2f}); their unit or origin may be wrong"
    ]


def _check_charges(frames: Sequence[Frame]) -> list[str]:
    """Dipoles that charges alone need not add up to, but tell the size of, in most molecules."""
    given = np.stack([frame.labels["dipole"].numpy() for frame in frames])
    sums = np.stack([_of_charges(frame) for frame in frames])
    large = (np.linalg.norm(given, axis=1) > SMALL) & (np.linalg.norm(sums, axis=1) > SMALL)
    if not large.any():
        return []
    slope, along = _line(given[large], sums[large])
    if along > -0.8 and 0.3 < slope < 4:
        return []
    return [
        f"dipoles are {slope:.3g} times those of the charges (correlation {along:.2f}); their unit, sign or origin may be wrong"
    ]


def _check_sizes(frames: Sequence[Frame], unit: str) -> list[str]:
    """Dipoles that nothing else tells: of neutral molecules, less than an electron from one end to the other has."""
    known = [f for f in frames if "dipole" in f.labels and not (f.structure.pbc.any() or f.structure.charge.any())]
    known = [f for f in known if 1 < f.structure.n_atoms <= MANY]
    ratios = [float(f.labels["dipole"].norm() / torch.pdist(f.structure.positions.detach()).max()) for f in known]
    odd = [k for k, ratio in enumerate(ratios) if ratio > 1]
    if not odd:
        return []
    smaller = [one for one in MISTAKEN["dipole"] if larger("dipole", one, unit) < 1]
    look = f"they look like {' or '.join(smaller)}, see `units`" if smaller else "look at them"
    return [
        f"dipoles of {few([known[k].name for k in odd])} are up to {max(ratios):.3g} times that of an electron and a hole at "
        f"both ends of the molecule: {look}"
    ]


def _of_charges(frame: Frame) -> NDArray[np.float64]:
    found: NDArray[np.float64] = frame.labels["multipoles"].numpy()[:, 0] @ frame.structure.positions.numpy()
    return found


def _of_atoms(frame: Frame, order: Sequence[int] = (1, 2, 3)) -> NDArray[np.float64]:
    p = frame.labels["multipoles"].numpy()
    return p[:, list(order)].sum(0) if p.shape[1] >= 4 else np.zeros(3)


def _check_single(frames: Sequence[Frame], given: NDArray[np.float64], sums: NDArray[np.float64], unit: str) -> list[str]:
    """Dipoles of single frames among others that are right."""
    odd = np.flatnonzero(_missed(given, sums) > OTHERS).tolist()

    def named(factor: float) -> list[str]:
        """Those of the odd ones that are right with a factor."""
        fit = _missed(factor * given[odd], sums[odd]) < SAME
        return [frames[k].name for k, good in zip(odd, fit, strict=True) if good]

    if told := named(-1.0):
        raise ValueError(f"`dipole` must point towards positive charge in all frames, got the opposite in {few(told)}")
    for one in MISTAKEN["dipole"]:
        if one != unit and (told := named(larger("dipole", one, unit))):
            raise ValueError(f"`dipole` must be in {unit} in all frames, got numbers that look like {one} in {few(told)}")
    if not odd:
        return []
    return [f"dipoles of {few([frames[k].name for k in odd])} are not those of their multipoles, as they are in other frames"]


def _check_atomic(frames: Sequence[Frame], given: NDArray[np.float64], unit: str) -> None:
    """Raise a ValueError if dipoles would be those of the multipoles, were atomic dipoles of another unit or sign."""
    charges, atomic = (np.stack([of(frame) for frame in frames]) for of in (_of_charges, _of_atoms))
    factors = {-1.0, *(larger("dipole", a, b) for a in MISTAKEN["dipole"] for b in MISTAKEN["dipole"] if a != b)}
    best = min(factors, key=lambda factor: float(np.median(_missed(given, charges + factor * atomic))))
    if not _fits(given, charges + best * atomic):
        return
    if best < 0:
        raise ValueError("`multipoles` must have dipoles towards positive charge, got the opposite sign; change it")
    raise ValueError(
        f"`multipoles` must have charges and dipoles in {unit}, got dipoles that are {1 / best:.4g} times what charges and "
        "dipoles of the frames say; see `units`, or write both in one system of units"
    )


def _line(given: NDArray[np.float64], sums: NDArray[np.float64]) -> tuple[float, float]:
    """How many times the sums the dipoles are, and the cosine between all of both."""
    product, size = float((given * sums).sum()), float(np.linalg.norm(sums))
    return product / max(size**2, 1e-300), product / max(size * float(np.linalg.norm(given)), 1e-300)


def _fits(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return bool(np.median(_missed(one, other)) < 0.2)


def _missed(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(one - other, axis=1) / (np.linalg.norm(one, axis=1) + 0.1)


def _charged_origin(frames: Sequence[Frame], given: NDArray[np.float64], sums: NDArray[np.float64]) -> str:
    """Whether the dipoles of charged molecules are about some centre of theirs, not about the origin; the best that fits."""
    charged = [k for k, frame in enumerate(frames) if frame.structure.charge.any()]
    if not charged or _fits(given[charged], sums[charged]):
        return ""
    off = {}
    for name in ("nuclei", "mass", "nuclear charge"):
        moved = sums[charged] - np.stack([float(frames[k].structure.charge[0]) * _centre(frames[k], name) for k in charged])
        if _fits(given[charged], moved):
            off[name] = float(np.median(np.linalg.norm(given[charged] - moved, axis=1)))
    if not off:
        return ""
    best = min(off, key=off.__getitem__)
    return f"`dipole` must be about the origin of coordinates, got those of ions about their centre of {best}; add Q R"


def _centre(frame: Frame, of: str) -> NDArray[np.float64]:
    numbers = frame.structure.numbers.numpy()
    weight = {"nuclei": np.ones(len(numbers)), "mass": atomic_masses[numbers], "nuclear charge": numbers.astype(float)}[of]
    return np.average(frame.structure.positions.numpy(), axis=0, weights=weight)


def _check_born_sums(frames: Sequence[Frame]) -> None:
    """Moving all atoms moves the charge: sum_n Z_n = Q. Raises ValueError where that is not so."""
    known = [f for f in frames if "born_charges" in f.labels]
    eye = torch.eye(3, dtype=torch.float64)
    off = [(f.labels["born_charges"].sum(0) - f.structure.charge * eye) / f.structure.n_atoms for f in known]
    if odd := [k for k, one in enumerate(off) if float(one.abs().max()) > BORN_OFF]:
        most = max(float(off[k].abs().max()) for k in odd)
        raise ValueError(
            f"`born_charges` must add up to the total charge, got those that miss it by {most:.3g} e per atom in "
            f"{few([known[k].name for k in odd])}; look for nuclei or atoms that are left out, another sign, or `charge`"
        )


def _check_born(frames: Sequence[Frame], sure: bool) -> None:
    """Turning a molecule turns its dipole: sum_n Z_n (w x R_n) = w x D. Raises ValueError where that is not so.

    Args:
        sure: whether the dipoles are known to be right.
    """
    _check_born_sums(frames)
    off, known = np.zeros(3), [f for f in frames if {"born_charges", "dipole"} <= set(f.labels) and not f.structure.pbc.any()]
    for frame in known:
        z, d = frame.labels["born_charges"].numpy(), frame.labels["dipole"].numpy()
        turned = np.cross(np.eye(3)[:, None], frame.structure.positions.numpy())  # [w, n, c]
        for k, one in enumerate((z, z.swapaxes(1, 2), -z)):
            off[k] += np.abs(np.einsum("nac,wnc->wa", one, turned) - np.cross(np.eye(3), d)).max()
    if off[0] < SMALL * len(known):
        return
    if off[1] < 0.5 * off[0]:
        raise ValueError(
            "`born_charges` must be dD_a/dR_c in the order [atom, a, c], got them transposed; name the key with .T: set "
            "`keys` of the data to {born_charges: bec.T}"
        )
    if off[2] < 0.5 * off[0]:
        which = "their sign" if sure else "the sign of those that are wrong"
        raise ValueError(f"`born_charges` must be dD_a/dR_c, got the opposite of what the dipoles say; change {which}")
