"""Wrong units, signs, origins and orders of dipoles, told from multipoles, and of Born charges, told from dipoles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_masses
from numpy.typing import NDArray

from cgdft.learning.data.frames import Frame
from cgdft.learning.data.scales import MISTAKEN, looks_like
from cgdft.learning.data.units import multiplier
from cgdft.naming import few

#: Dipoles that miss those of their multipoles by more, of their own size and 0.1 e bohr, are others; by less, the same.
OTHERS, SAME = 0.3, 0.1


def check_dipoles(frames: Sequence[Frame], unit: str) -> list[str]:
    """Dipoles of molecules against charges and atomic dipoles, and Born charges against dipoles.

    Raises:
        ValueError: another unit, sign, origin or order of components.
    """
    known = [f for f in frames if "dipole" in f.labels and "multipoles" in f.labels and not f.structure.pbc.any()]
    if known:
        given = np.stack([frame.labels["dipole"].numpy() for frame in known])
        order = [(1, 2, 3), (3, 1, 2)]
        sums = [np.stack([_of_charges(frame) + _of_atoms(frame, one) for frame in known]) for one in order]
        complete = all(frame.labels["multipoles"].shape[1] >= 4 for frame in known)
        if complete:
            off = [float(np.median(np.linalg.norm(given - one, axis=1))) for one in sums]
            if off[1] < min(0.05, 0.1 * off[0]):
                raise ValueError("`multipoles` must have dipoles in the order x, y, z, got them as y, z, x; reorder them")
            if _fits(given, sums[0]):
                return [*_check_single(known, given, sums[0], unit), *_check_born(frames)]
        if unlike := _charged_origin(known, given, sums[0]) if complete else "":
            raise ValueError(unlike)
        along = float((given * sums[0]).sum()) / max(float(np.linalg.norm(given) * np.linalg.norm(sums[0])), 1e-300)
        slope = float((given * sums[0]).sum()) / max(float((sums[0] ** 2).sum()), 1e-300)
        if complete and along > 0.99 and (told := looks_like("dipole", unit, 1 / slope)):
            raise ValueError(
                f"`dipole` must be in {unit}, got numbers that look like {told[0]}; set `units` of the data to "
                f"{{dipole: {told[0]}}}"
            )
        if complete:
            _check_atomic(known, given)
        if along < -0.8:
            raise ValueError(
                "`dipole` must point towards positive charge, got the opposite of what the charges say; change a sign"
            )
        if complete or not 0.3 < slope < 4:
            return [
                f"dipoles are {slope:.3g} times those of the multipoles (correlation {along:.2f}); their unit or origin may be "
                "wrong",
                *_check_born(frames),
            ]
    return _check_born(frames)


def _of_charges(frame: Frame) -> NDArray[np.float64]:
    found: NDArray[np.float64] = frame.labels["multipoles"].numpy()[:, 0] @ frame.structure.positions.numpy()
    return found


def _of_atoms(frame: Frame, order: Sequence[int] = (1, 2, 3)) -> NDArray[np.float64]:
    p = frame.labels["multipoles"].numpy()
    return p[:, list(order)].sum(0) if p.shape[1] >= 4 else np.zeros(3)


def _check_single(frames: Sequence[Frame], given: NDArray[np.float64], sums: NDArray[np.float64], unit: str) -> list[str]:
    """Dipoles of single frames among others that are right."""
    odd = np.flatnonzero(_missed(given, sums) > OTHERS).tolist()
    if not odd:
        return []
    told = few([frames[k].name for k in odd])
    if (_missed(-given[odd], sums[odd]) < SAME).all():
        raise ValueError(f"`dipole` must point towards positive charge in all frames, got the opposite in {told}")
    for one in MISTAKEN["dipole"]:
        if (_missed(given[odd] * (multiplier(one, "dipole") / multiplier(unit, "dipole")), sums[odd]) < SAME).all():
            raise ValueError(f"`dipole` must be in {unit} in all frames, got numbers that look like {one} in {told}")
    return [f"dipoles of {told} are not those of their multipoles, as they are in other frames"]


def _check_atomic(frames: Sequence[Frame], given: NDArray[np.float64]) -> None:
    """Raise a ValueError if dipoles would be those of the multipoles, were atomic dipoles of another unit or sign."""
    charges, atomic = (np.stack([of(frame) for frame in frames]) for of in (_of_charges, _of_atoms))
    if _fits(given, charges - atomic):
        raise ValueError("`multipoles` must have dipoles towards positive charge, got the opposite sign; change it")
    units = [multiplier(one, "dipole") for one in MISTAKEN["dipole"]]
    for factor in {a / b for a in units for b in units if a != b}:
        if _fits(given, charges + factor * atomic):
            raise ValueError(
                "`multipoles` must have charges and dipoles in the units that `units` of the data say, got dipoles that are "
                f"{1 / factor:.4g} times what dipoles and charges of the frames say; change them to e angstrom"
            )


def _fits(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return bool(np.median(_missed(one, other)) < 0.2)


def _missed(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(one - other, axis=1) / (np.linalg.norm(one, axis=1) + 0.1)


def _charged_origin(frames: Sequence[Frame], given: NDArray[np.float64], sums: NDArray[np.float64]) -> str:
    """Whether the dipoles of charged molecules are about some centre of theirs, not about the origin; the best that fits."""
    charged = [k for k, frame in enumerate(frames) if frame.structure.charge.any()]
    if not charged:
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


def _check_born(frames: Sequence[Frame]) -> list[str]:
    """Turning a molecule turns its dipole: sum_n Z_n (w x R_n) = w x D."""
    off = np.zeros(3)
    for frame in frames:
        if {"born_charges", "dipole"} <= set(frame.labels) and not frame.structure.pbc.any():
            z, d = frame.labels["born_charges"].numpy(), frame.labels["dipole"].numpy()
            turned = np.cross(np.eye(3)[:, None], frame.structure.positions.numpy())  # [w, n, c]
            for k, one in enumerate((z, z.swapaxes(1, 2), -z)):
                off[k] += np.abs(np.einsum("nac,wnc->wa", one, turned) - np.cross(np.eye(3), d)).max()
    if off[1] < 0.5 * off[0]:
        raise ValueError(
            "`born_charges` must be dD_a/dR_c in the order [atom, a, c], got them transposed; name the key with .T: set "
            "`keys` of the data to {born_charges: bec.T}"
        )
    if off[2] < 0.5 * off[0]:
        raise ValueError("`born_charges` must be dD_a/dR_c, got the opposite of what the dipoles say; change their sign")
    return []
