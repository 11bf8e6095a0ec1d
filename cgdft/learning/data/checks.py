"""What is wrong with a set of frames, found before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cgdft.learning.data.atomic_energies import is_free_atom
from cgdft.learning.data.dipole_scales import check_dipoles
from cgdft.learning.data.duplicates import Mark, candidates, mark, same, turned
from cgdft.learning.data.frames import Frame
from cgdft.learning.data.labels import check_labels
from cgdft.learning.data.polarizability_scales import check_polarizabilities
from cgdft.learning.data.quantities import QUANTITIES, UNITS
from cgdft.learning.data.scales import (
    check_chemical_potentials,
    check_energies,
    check_far,
    check_forces,
    check_lengths,
    check_stress,
)
from cgdft.learning.data.sets import FrameSet
from cgdft.naming import few

#: Frames of which positions and forces are kept for comparisons.
KEPT = 300
#: Charges that miss the total charge by more, e, are refused; by a tenth of it, told.
CHARGE_OFF = 0.1

Frames = FrameSet | Sequence[Frame]


#: Of energies that nothing is subtracted from.
UNREFERENCED = "energies have no atomic reference: give `atomic_energies`, or the model must learn the energies of atoms"


@dataclass
class _Survey:
    """What one pass over a set keeps."""

    frames: Frames
    names: list[str] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    sample: list[Frame] = field(default_factory=list)
    compositions: list[Counter[str]] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    charges: list[float] = field(default_factory=list)
    with_energy: list[str] = field(default_factory=list)
    elements: set[str] = field(default_factory=set)
    off: list[float] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)

    def unit(self, quantity: str) -> str:
        """In which unit the numbers were read."""
        return self.frames.reading.unit(quantity) if isinstance(self.frames, FrameSet) else UNITS[quantity][0]


def check_set(
    train: Frames,
    validation: Frames | None = None,
    *,
    elements: Collection[str] | None = None,
    atomic_energies: Mapping[str, float] | None = None,
    weights: Mapping[str, float] | None = None,
    named: Collection[str] | None = None,
    fitted: bool = False,
) -> list[str]:
    """Read all frames once and look for mistakes; what may be one is returned, a line each.

    Args:
        train, validation: sets of files, or frames in Hartree atomic units.
        elements: which the model knows; default all.
        atomic_energies: element -> hartree, which the energies are counted from.
        weights: of labels in the loss; those without do not count.
        named: of these, those that are not there by default; default: all.
        fitted: whether the atomic energies were fitted to these energies, whose unit they then do not tell for certain.

    Raises:
        ValueError: no label that counts; labels that are NaN, infinite or of wrong shape; elements that the model does not
            know or that have no atomic energy; the same structure in both sets, or twice with different energies; charges that
            do not add up to the total charge; energies, forces, stresses and dipoles that look like another unit or sign.
    """
    told: list[str] = []
    surveys = [_survey(one, elements) for one in ([train] if validation is None else [train, validation])]
    for survey in surveys:
        if isinstance(survey.frames, FrameSet):
            told += [*survey.frames.notes, *(_of_definitions(survey.frames) if weights is not None else [])]
    if atomic_energies is None and surveys[0].energies:
        told.append(UNREFERENCED)
    if len(surveys) > 1 and (new := surveys[1].elements - surveys[0].elements):
        told.append(f"validation has elements that training has not: {', '.join(sorted(new))}")
    if weights is not None:
        counting = {name: weight for name, weight in weights.items() if weight and name in QUANTITIES}
        told += _check_weights(surveys, set(counting), set(counting) if named is None else set(named))
    for survey in surveys:
        lacking = set().union(*survey.compositions) - set(atomic_energies or ())
        if atomic_energies is not None and lacking:
            raise ValueError(
                f"`atomic_energies` must have every element, got none of {', '.join(sorted(lacking))}; add it, in hartree"
            )
        energies, unit = np.array(survey.energies), survey.unit("energy")
        notes = check_energies(survey.compositions, energies, unit, atomic_energies, survey.with_energy, fitted)
        told += notes or check_far(survey.compositions, survey.charges, energies, survey.with_energy)
        told += check_forces(survey.sample, survey.unit("energy"), survey.unit("forces"))
        told += _check_charges(survey)
        told += check_dipoles(survey.sample, survey.unit("dipole"), survey.unit("multipoles"))
        told += check_polarizabilities(survey.sample, survey.unit("polarizability"))
        told += check_lengths(survey.sample)
        told += check_chemical_potentials(survey.sample, survey.unit("chemical_potential"))
        told += check_stress(survey.sample, survey.unit("energy"), survey.unit("stress"))
    return list(dict.fromkeys(told + _check_duplicates(surveys)))


def _survey(frames: Frames, elements: Collection[str] | None) -> _Survey:
    survey = _Survey(frames)
    stride = max(1, len(frames) // KEPT)
    for k in range(len(frames)):
        frame = frames[k]
        symbols = Counter(frame.structure.symbols)
        if elements is not None and (unknown := set(symbols) - set(elements)):
            raise ValueError(
                f"`elements` must include {', '.join(sorted(unknown))} of frame {frame.name}, got {', '.join(elements)}; "
                "leave the frame out, or make the model for more elements"
            )
        try:
            check_labels(frame.labels, frame.structure.n_atoms)
        except ValueError as error:
            raise ValueError(f"frame {frame.name}: {error}") from error
        survey.names.append(frame.name)
        survey.labels |= frame.labels.keys() - {"points"}
        survey.marks.append(mark(frame))
        survey.elements |= set(symbols)
        if k // 10 % stride == 0:  # tens in a row, which may be neighbours in time
            survey.sample.append(frame)
        if "energy" in frame.labels:
            survey.compositions.append(symbols)
            survey.energies.append(float(frame.labels["energy"]))
            survey.charges.append(float(frame.structure.charge[0]))
            survey.with_energy.append(frame.name)
        has = "multipoles" in frame.labels
        missed = float(frame.labels["multipoles"][:, 0].sum() - frame.structure.charge[0]) if has else 0.0
        survey.off.append(missed)
    return survey


def _check_weights(surveys: Sequence[_Survey], counting: set[str], named: set[str]) -> list[str]:
    for survey, name in zip(surveys, ("train", "validation"), strict=False):
        if not counting & survey.labels:
            raise ValueError(
                f"`{name}` must have labels that have `weights`, {', '.join(sorted(counting)) or 'none'}, got "
                f"{', '.join(sorted(survey.labels)) or 'none'}"
            )
    told = []
    if missing := named & counting - surveys[0].labels:
        told.append(f"labels that no frame of training has: {', '.join(map(_readable, sorted(missing)))}")
    if unused := surveys[0].labels - counting:
        told.append(f"labels that do not count, as `weights` does not name them: {', '.join(sorted(unused))}")
    return told


def _readable(name: str) -> str:
    """A label, and of which frames alone it is read."""
    periodic = QUANTITIES[name].periodic if name in QUANTITIES else None
    return name if periodic is None else f"{name} (of {'periodic' if periodic else 'open'} structures alone)"


def _of_definitions(frames: FrameSet) -> list[str]:
    if len(frames.definitions) < 2 or frames.definition not in frames.definitions:
        return []
    others = ", ".join(one for one in frames.definitions if one != frames.definition)
    return [f"multipoles are by {frames.definition}; there are also {others}: see `definition`"]


def _check_charges(survey: _Survey) -> list[str]:
    if not survey.off:
        return []
    k = int(np.argmax(np.abs(survey.off)))
    off, name = survey.off[k], survey.names[k]
    if abs(off) > CHARGE_OFF:
        s = survey.frames[k].structure
        total = float(s.charge[0])
        turned = "; they look like numbers of electrons" if off + total > 0.5 * float(s.numbers.sum()) else ""
        turned = "; they look like charges of the opposite sign" if total and abs(off + 2 * total) < CHARGE_OFF else turned
        raise ValueError(
            f"`multipoles` must have charges that add up to the total charge {total:g}, got {off + total:.4g} in {name}{turned}"
        )
    if abs(off) > 0.1 * CHARGE_OFF:
        return [f"charges miss the total charge by up to {abs(off):.2g} e (frame {name})"]
    return []


def _check_duplicates(surveys: Sequence[_Survey]) -> list[str]:
    marks = [one for survey in surveys for one in survey.marks]
    first = len(surveys[0].marks)

    def frame(k: int) -> Frame:
        return surveys[0].frames[k] if k < first else surveys[1].frames[k - first]

    twice: dict[int, str] = {}
    for a, b in candidates(marks):
        one, other = frame(a), frame(b)
        if not (as_it_is := same(one, other)) and not turned(one, other):
            continue
        how = "" if as_it_is else " shifted, turned or mirrored"
        if a < first <= b:
            if is_free_atom(one.structure):
                continue  # E0, which validates nothing
            raise ValueError(
                f"`validation` must have no structure of `train`, got frame {other.name}, which is {one.name}{how}; leave "
                "one out"
            )
        energies = [float(each.labels["energy"]) for each in (one, other) if "energy" in each.labels]
        if len(energies) == 2 and abs(energies[0] - energies[1]) > 1e-5 * one.structure.n_atoms:
            raise ValueError(
                f"`train` must have one energy for one structure, got {energies[0]:.8g} and {energies[1]:.8g} hartree in "
                f"frames {one.name} and {other.name}; are they of other fields, methods or states? leave one out"
            )
        twice.setdefault(b, f"{one.name} = {other.name}{how}")
    return [f"{len(twice)} frames are there twice: {few(list(twice.values()))}"] if twice else []
