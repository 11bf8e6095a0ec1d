"""Wrong units and signs, told from the numbers: energies by atoms, forces and stress by energies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import ArrayLike, NDArray

from cgdft.electrostatics.pairs import near_pairs
from cgdft.learning.data.close_frames import Step, steps
from cgdft.learning.data.frames import Frame
from cgdft.learning.data.units import multiplier
from cgdft.naming import few
from cgdft.units import angstrom, eV

#: Units that are mistaken for each other.
MISTAKEN = {
    "energy": ("hartree", "eV", "kcal/mol", "kJ/mol"),
    "forces": ("hartree/bohr", "eV/angstrom", "kcal/mol/angstrom", "kJ/mol/angstrom", "hartree/angstrom", "eV/bohr"),
    "dipole": ("e bohr", "e angstrom", "debye"),
    "stress": ("hartree/bohr^3", "eV/angstrom^3", "GPa", "kbar"),
    "polarizability": ("bohr^3", "angstrom^3"),
    "chemical_potential": ("hartree", "eV"),
}
#: Units of energies and of their derivatives that go together.
TOGETHER = {
    "forces": (("hartree", "hartree/bohr"), ("eV", "eV/angstrom"), ("kcal/mol", "kcal/mol/angstrom")),
    "stress": (("hartree", "hartree/bohr^3"), ("eV", "eV/angstrom^3")),
}
#: Nothing binds more than this, hartree per atom; what is off by `FAR` has another reference.
BOUND, FAR = 0.5, 3.0
#: An energy so far from those of other frames, hartree per atom, is odd; so are forces so many times the usual ones.
ODD, STRONG = 1.0, 30.0
#: Energies of the same atoms that differ by less, relatively, may be in one unit.
ALIKE = 0.02
#: No unit that is mistaken for another makes energies so many times those of all electrons.
LARGEST = 1e4
#: A total energy further from what fits all, hartree, and by so many times what nine in ten are, is odd; of this many frames,
#: at least.
APART, BEYOND, ENOUGH = 0.5, 6.0, 10
#: Forces that add up to more, hartree/bohr and relative to their sizes, have another origin than the atoms.
NET = 0.05, 0.05
#: Fewest steps between close frames that tell a sign or a unit, and the least correlation.
STEPS, EXPLAINED = 5, 0.9
#: Neighbours are this many sums of covalent radii apart, wherever there is a bond; they are sought within so many bohr.
BOND, SEARCHED = (0.5, 1.6), 10.0
#: Within which electrons are bound, 1 to 30 eV, hartree.
BINDING = (1 * eV, 30 * eV)
#: Stresses of this size, hartree/bohr^3, some 150 GPa, are found within planets.
PRESSED = 0.005


def looks_like(quantity: str, unit: str, factor: float) -> list[str]:
    """Units that would make numbers read as `unit` larger by `factor`, to a tenth."""
    return [one for one in MISTAKEN[quantity] if one != unit and abs(np.log(larger(quantity, one, unit) / factor)) < 0.1]


def larger(quantity: str, other: str, unit: str) -> float:
    """How many of `unit` one of another unit is."""
    return multiplier(other, quantity) / multiplier(unit, quantity)


def check_energies(
    compositions: Sequence[Mapping[str, int]],
    energies: NDArray[np.float64],
    unit: str,
    atomic: Mapping[str, float] | None,
    names: Sequence[str],
    fitted: bool = False,
) -> list[str]:
    """Total energies (hartree) of frames against those of their atoms; without given ones, against all-electron atoms.

    Args:
        compositions, energies, names: of the frames.
        unit: in which the energies were read.
        atomic: element -> hartree.
        fitted: whether these were fitted to the energies, whose unit they then do not tell.

    Raises:
        ValueError: energies, of all or of single frames, look like another unit, or have nothing to do with the atoms.
    """
    if not len(energies):
        return []
    electrons = np.array([sum(n * all_electron(symbol) for symbol, n in one.items()) for one in compositions])
    if wild := np.flatnonzero(np.abs(energies) > LARGEST * np.abs(electrons)).tolist():
        told = few([names[k] for k in wild])
        raise ValueError(f"`energy` must be that of its atoms, got {energies[wild[0]]:.3g} hartree in {told}; remove the label")
    _check_alike(compositions, energies, unit, names)
    sizes = np.array([sum(one.values()) for one in compositions])

    def factors() -> Iterable[tuple[str, float]]:
        return ((one, larger("energy", one, unit)) for one in MISTAKEN["energy"])

    if atomic is None or fitted:
        found = [one for one, factor in factors() if abs(np.median(energies * factor / electrons) - 1) < 0.15]
        if found and unit not in found:
            told = (
                f"`energy` must be in {unit}, got numbers that look like {found[0]}; set `units` of the data to "
                f"{{energy: {found[0]}}}"
            )
            if atomic is None or larger("energy", found[0], unit) < 1:  # nothing is bound more than all electrons
                raise ValueError(told)
            return [f"{told}, if they are of all electrons"]
    if atomic is None:
        return []
    whole = np.array([sum(n * atomic[symbol] for symbol, n in one.items()) for one in compositions])
    off = float(np.median(np.abs(energies - whole) / sizes))
    if off <= BOUND:
        return _check_single(np.array(energies), whole, sizes, unit, names)
    if fitted:
        told = f"energies are {off:.3g} hartree per atom from the sum of atoms that fits them best (median)"
        return [f"{told}: are they of one method, and in one unit?"]
    for one, factor in factors():
        if one != unit and float(np.median(np.abs(energies * factor - whole) / sizes)) < min(BOUND, off / 3):
            raise ValueError(
                f"`energy` must be in {unit}, got numbers that look like {one}; set `units` of the data to {{energy: {one}}}"
            )
    if float(np.median(np.abs(energies - whole * eV) / sizes)) < min(BOUND, off / 3):
        raise ValueError("`atomic_energies` must be in hartree, got numbers that look like eV; multiply them by cgdft.units.eV")
    told = (
        f"`atomic_energies` must be of the energies' method, got energies {off:.3g} hartree per atom from the sum of atoms "
        "(median); take those of the same method and pseudopotentials, fit them, or tell `units` of the energies"
    )
    if off > FAR:
        raise ValueError(told)
    return [told]


def _check_alike(
    compositions: Sequence[Mapping[str, int]], energies: NDArray[np.float64], unit: str, names: Sequence[str]
) -> None:
    """Raise a ValueError if total energies of some frames are those of others of the same composition in another unit."""
    groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for k, one in enumerate(compositions):
        groups.setdefault(tuple(sorted(one.items())), []).append(k)
    found: dict[str, list[str]] = {other: [] for other in MISTAKEN["energy"] if other != unit}
    for members in groups.values():
        here = energies[members]
        usual = float(np.median(here))
        total = abs(usual) > BOUND * sum(compositions[members[0]].values())
        if len(members) < 3 or not total or np.mean(np.abs(here - usual) < ALIKE * abs(usual)) <= 0.5:
            continue
        for other, odd in found.items():
            factor = larger("energy", other, unit)
            odd += [names[k] for k in members if abs(energies[k] * factor - usual) < ALIKE * abs(usual)]
    for other, odd in found.items():
        if odd:
            raise ValueError(f"`energy` must be in {unit} in all frames, got numbers that look like {other} in {few(odd)}")


def _check_single(
    energies: NDArray[np.float64], whole: NDArray[np.float64], sizes: NDArray[np.int64], unit: str, names: Sequence[str]
) -> list[str]:
    """Energies of single frames among others that are right."""
    each = (energies - whole) / sizes
    odd = np.flatnonzero(np.abs(each - np.median(each)) > ODD).tolist()
    if not odd:
        return []
    told = few([names[k] for k in odd])
    for one in MISTAKEN["energy"]:
        factor = larger("energy", one, unit)
        if one != unit and all(abs(energies[k] * factor - whole[k]) < min(BOUND * sizes[k], 0.2 * abs(whole[k])) for k in odd):
            raise ValueError(f"`energy` must be in {unit} in all frames, got numbers that look like {one} in {told}")
    worst = max(odd, key=lambda k: abs(each[k]))
    return [
        f"energies of {told} are more than {ODD:g} hartree per atom from those of other frames (by {each[worst]:.3g}): a "
        "mistake, or atoms on top of each other"
    ]


def check_far(
    compositions: Sequence[Mapping[str, int]], charges: ArrayLike, energies: NDArray[np.float64], names: Sequence[str]
) -> list[str]:
    """Total energies of single frames against what fits all, a number for each element and each total charge."""
    if len(energies) < ENOUGH:
        return []
    elements = sorted(set().union(*compositions))
    counts = np.array([[one.get(symbol, 0) for symbol in elements] for one in compositions])
    states = np.asarray(charges)[:, None] == np.unique(charges)
    terms = np.concatenate([counts, states], axis=1)
    near = np.full(len(energies), True)
    for _ in range(2):  # again without what is far, which draws what fits
        found, _, rank, _ = np.linalg.lstsq(terms[near], energies[near])
        away = np.abs(energies - terms @ found)
        near &= away <= APART
    odd = np.flatnonzero(away > max(APART, BEYOND * float(np.quantile(away, 0.9)))).tolist()
    if not odd or rank < np.linalg.matrix_rank(terms):
        return []
    told = f"energies of {few([names[k] for k in odd])} are up to {away.max():.3g} hartree from what fits the others"
    return [f"{told}, more than {BEYOND:g} times as far as nine in ten: a mistake, or another state"]


def all_electron(symbol: str) -> float:
    """Energy of a free atom, hartree, to 8 % for hydrogen and 1 % from neon on.

    Source: J. Schwinger, Phys. Rev. A 24, 2353 (1981), with his three terms.
    """
    z = atomic_numbers[symbol]
    return -0.768745 * float(z) ** (7 / 3) + 0.5 * z**2 - 0.269900 * float(z) ** (5 / 3)


def check_forces(frames: Sequence[Frame], energy_unit: str, force_unit: str) -> list[str]:
    """Forces by their size, and along the way between frames that are close to each other, against differences of energies.

    Raises:
        ValueError: forces of another unit or sign than the energies.
    """
    known = [frame for frame in frames if "forces" in frame.labels and frame.structure.n_atoms > 1]
    if not known:
        return []
    sizes = np.array([float(frame.labels["forces"].square().mean().sqrt()) for frame in known])
    size = float(np.median(sizes))
    near = [one for one in steps(known) if one.moves and not one.strains]
    slope = _slope([one.of_forces for one in near], [one.change for one in near])
    if slope < 0:
        raise ValueError("`forces` must be -dE/dR, got numbers of the opposite sign: gradients; change their sign")
    _check_slope("forces", slope, energy_unit, force_unit)
    if size > 1.0:
        told = [one for one in MISTAKEN["forces"] if multiplier(one, "forces") < 0.1 * multiplier(force_unit, "forces")]
        raise ValueError(
            f"`forces` must be in {force_unit}, got a root mean square of {size:.3g} hartree/bohr (median): they look like "
            f"{' or '.join(told) or 'those of overlapping atoms'}; see `units`"
        )
    told = _check_net(known)
    odd = np.flatnonzero(sizes > max(STRONG * float(np.median(sizes)), 0.1)).tolist()
    if odd:
        return [
            *told,
            f"forces of {few([known[k].name for k in odd])} are more than {STRONG:g} times those of other frames: another "
            "unit, a mistake, or atoms on top of each other",
        ]
    if sizes.max() < 1e-4 and len(known) > 1:
        return [f"forces are at most {sizes.max():.2g} hartree/bohr: all frames are relaxed, or the unit is wrong"]
    return told


def _check_net(frames: Sequence[Frame]) -> list[str]:
    """Nothing moves by its own forces."""
    net = np.array([float(frame.labels["forces"].sum(0).norm()) for frame in frames])
    odd = np.flatnonzero(net > np.maximum(NET[0], NET[1] * np.array([_total(frame) for frame in frames]))).tolist()
    if not odd:
        return []
    told = f"forces of {few([frames[k].name for k in odd])} add up to as much as {net.max() * angstrom / eV:.3g} eV/angstrom"
    return [f"{told}, without a field they add up to zero: a mistake, or forces of fixed atoms set to zero"]


def _total(frame: Frame) -> float:
    return float(frame.labels["forces"].norm(dim=1).sum())


def check_chemical_potentials(frames: Sequence[Frame], unit: str) -> list[str]:
    """Electrons of what has no negative charge are bound: their chemical potential is some volt below that of the vacuum."""
    known = [f for f in frames if not f.structure.pbc.any() and (f.structure.charge >= 0).all()]
    found = [float(f.labels["chemical_potential"]) for f in known if "chemical_potential" in f.labels]
    middle = float(np.median(found)) if found else -BINDING[1]
    if middle > 0:
        return [f"chemical potentials are {middle / eV:+.3g} eV (median), above that of the vacuum: the sign may be wrong"]
    if BINDING[0] <= -middle <= BINDING[1]:
        return []
    factors = {one: larger("chemical_potential", one, unit) for one in MISTAKEN["chemical_potential"] if one != unit}
    others = [one for one, factor in factors.items() if BINDING[0] <= -middle * factor <= BINDING[1]]
    look = f"they look like {others[0]}, see `units`" if others else "look at their unit"
    return [f"chemical potentials are {middle / eV:.3g} eV (median), where those of molecules are -1 to -30 eV: {look}"]


def check_lengths(frames: Sequence[Frame]) -> list[str]:
    """Distances between neighbours against those of bonds."""
    nearest = []
    for frame in frames:
        s = frame.structure
        i, j, apart = near_pairs(s, SEARCHED)
        if len(i):
            radii = torch.from_numpy(covalent_radii).to(apart)[s.numbers] * angstrom
            nearest.append(float((apart.norm(dim=1) / (radii[i] + radii[j])).min()))
    middle = float(np.median(nearest)) if nearest else 1.0
    if BOND[0] < middle < BOND[1]:
        return []
    return [f"the nearest atoms are {middle:.2g} bonds apart (median): positions must be in angstrom, look at their unit"]


def check_stress(frames: Sequence[Frame], energy_unit: str, stress_unit: str) -> list[str]:
    """Stresses by their size, and between frames whose cells are close to each other against differences of energies.

    Raises:
        ValueError: stresses of another unit or sign than the energies.
    """
    known = [frame for frame in frames if "stress" in frame.labels]
    if not known:
        return []
    strained = [one for one in steps(known) if one.strains]
    if all("forces" in frame.labels for one in strained if one.moves for frame in (one.one, one.other)):
        slope = _slope_of_stress(strained)
        if slope < 0:
            raise ValueError(
                "`stress` must be dE/dstrain / V, positive under tension, got numbers of the opposite sign; change their sign"
            )
        _check_slope("stress", slope, energy_unit, stress_unit)
    size = float(torch.stack([frame.labels["stress"] for frame in known]).square().mean().sqrt())
    if size < PRESSED:
        return []
    return [
        f"stresses are {size * angstrom**3 / eV:.2g} eV/angstrom^3, {size / multiplier('GPa', 'stress'):.3g} GPa (root mean "
        "square): the unit may be wrong, see `units`"
    ]


def _slope(work: ArrayLike, change: ArrayLike) -> float:
    """Of the change with the work, where one tells the other; else 1."""
    of, to = np.asarray(work), np.asarray(change)
    explained = float(of @ to) / max(float(np.linalg.norm(of) * np.linalg.norm(to)), 1e-300)
    return float(of @ to / (of @ of)) if len(of) >= STEPS and abs(explained) > EXPLAINED else 1.0


def _slope_of_stress(strained: Sequence[Step]) -> float:
    """Of changes of energy less the work of forces, by V sigma : strain, where that is told from a pressure of all steps.

    Incomplete plane waves have such a pressure, in stresses or energies. Steps count alike, where forces do less than stress.
    """
    rows = np.array([(one.of_stress, one.pressed, one.of_forces, one.change) for one in strained]).reshape(-1, 4)
    rows = rows[np.abs(rows[:, 2]) < np.abs(rows[:, 0])]
    if len(rows) < STEPS:
        return 1.0
    of, pressed, by_forces, change = rows.T / np.abs(rows[:, 0])
    to = change - by_forces
    of, to = (one - pressed * (pressed @ one) / max(pressed @ pressed, 1e-300) for one in (of, to))
    if np.linalg.norm(of) < 0.1 * np.sqrt(len(rows)):
        return 1.0
    return _slope(of, to)


def _check_slope(quantity: str, slope: float, energy_unit: str, unit: str) -> None:
    if 0.5 < slope < 2 and not looks_like(quantity, unit, slope):
        return
    both = [
        f"they look like {energy} and {other}"
        for energy, other in TOGETHER[quantity]
        if energy != energy_unit
        and abs(np.log(slope * larger("energy", energy, energy_unit) / larger(quantity, other, unit))) < 0.1
    ]
    told = both[:1] + [f"energies look like {one}" for one in looks_like("energy", energy_unit, 1 / slope)]
    told += [f"{quantity} look like {one}" for one in looks_like(quantity, unit, slope)]
    raise ValueError(
        f"`{quantity}` must be in {unit} and `energy` in {energy_unit}, got energies that change {slope:.4g} times "
        f"as much as {quantity} say: {' or '.join(told) or 'they are not of one method'}; see `units` and `keys`"
    )
