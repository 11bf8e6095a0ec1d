"""Two molecules or ions beside each other, and waters around each other and around ions: for pretrained models.

Molecules of the G2 set in thermal disorder, one beside the other: closest atoms at 0.65 to 1.3 times the sum of their radii
(0.65 to 0.85 in clusters of waters), along the best of some directions and orientations by the Coulomb energy of point charges
from Pauling's electronegativities. The best of many finds hydrogen bonds, the best of few also what is less favourable.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.data import covalent_radii, vdw_radii
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from cgdft.validation.campaigns.drawn import drawn
from cgdft.validation.campaigns.point import Point
from cgdft.validation.campaigns.thermal import BOND, thermal

#: L. Pauling, The Nature of the Chemical Bond, 3rd ed. (1960), table 3-8.
PAULING = {"H": 2.1, "C": 2.5, "N": 3.0, "O": 3.5, "F": 4.0, "Na": 0.9, "Si": 1.8, "Cl": 3.0}
#: Of a bond, e per difference of electronegativity.
TRANSFER = 0.2
#: Of sodium, angstrom: as an ion's, with the others van der Waals radii.
SODIUM = 1.4

POLAR = ("NH3", "HF", "HCl", "H2CO", "CH3OH", "HCN", "HCOOH", "CH3Cl", "H2O2", "H3CNH2", "CH3CN")
APOLAR = ("H2", "N2", "CO2", "CH4", "C2H2", "C2H4", "SiH4", "CF4", "NaCl")
MOLECULES = (*4 * ("H2O",), *POLAR, *APOLAR)
IONS = {
    "Na+": (Atoms("Na"), 1),
    "Cl-": (Atoms("Cl"), -1),
    "F-": (Atoms("F"), -1),
    "OH-": (molecule("OH"), -1),
    "CN-": (molecule("CN"), -1),
    "H3O+": (Atoms("OHHH", [[0, 0, 0.28], *([0.95 * np.cos(a), 0.95 * np.sin(a), 0] for a in np.deg2rad([0, 120, 240]))]), 1),
    "NH4+": (Atoms("NHHHH", 0.59 * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])), 1),
}
PAIRS, CLUSTERS, AMPLITUDE = 300, 140, 0.06
#: Larger ones of those are left out: most electrons of a pair, most atoms of a cluster.
ELECTRONS, ATOMS = 34, 10
#: Most electrons of those whose polarizability is computed.
RESPONDING = 30


def piece(name: str, rng: np.random.Generator) -> tuple[Atoms, int]:
    """A molecule or ion in thermal disorder, and its charge."""
    atoms, charge = IONS[name] if name in IONS else (molecule(name), 0)
    atoms = atoms.copy()
    atoms.set_initial_magnetic_moments(None)
    return (thermal(atoms, AMPLITUDE, 1, int(rng.integers(2**31)))[0] if len(atoms) > 1 else atoms), charge


def point_charges(atoms: Atoms, charge: int) -> np.ndarray:
    """From electronegativities across bonds, e."""
    radii, own = BOND * covalent_radii[atoms.numbers], np.array([PAULING[symbol] for symbol in atoms.symbols])
    bonded = cdist(atoms.positions, atoms.positions) < radii[:, None] + radii
    return TRANSFER * (bonded * (own - own[:, None])).sum(1) + charge / len(atoms)


def beside(
    one: Atoms, q_one: np.ndarray, two: Atoms, q_two: np.ndarray, ratio: float, tries: int, rng: np.random.Generator
) -> Atoms:
    """The second at a distance from the first, where the Coulomb energy is lowest of some places."""
    reach, centre = ratio * sum_of_radii(one, two), one.positions.mean(0)
    turned, towards = np.empty((tries, len(two), 3)), np.empty((tries, 3))
    for k in range(tries):
        turned[k] = Rotation.random(random_state=rng).apply(two.positions - two.positions.mean(0))
        towards[k] = rng.standard_normal(3)
        towards[k] /= np.linalg.norm(towards[k])

    def apart(distance: np.ndarray) -> np.ndarray:
        placed = centre + turned + (distance[:, None] * towards)[:, None]
        return np.linalg.norm(one.positions[:, None] - placed[:, None], axis=-1)

    near, far = np.zeros(tries), np.full(tries, 30.0)
    while (far - near).max() > 1e-3:  # the closest atoms at `ratio`
        middle = 0.5 * (near + far)
        close = (apart(middle) / reach).min((1, 2)) < 1.0
        near, far = np.where(close, middle, near), np.where(close, far, middle)
    best = int(np.argmin(np.einsum("i,tij,j->t", q_one, 1 / apart(far), q_two)))
    return one + Atoms(two.numbers, centre + turned[best] + far[best] * towards[best])


def sum_of_radii(one: Atoms, two: Atoms) -> np.ndarray:
    """Van der Waals, angstrom, but for sodium."""
    first, second = (np.where(x.numbers == 11, SODIUM, vdw_radii[x.numbers]) for x in (one, two))
    return first[:, None] + second


def assembled(names: list[str], ratio: tuple[float, float], tries: int, rng: np.random.Generator) -> tuple[Atoms, int]:
    """One after the other beside those that are there; atoms and charge."""
    whole, total = piece(names[0], rng)
    charges = point_charges(whole, total)
    for name in names[1:]:
        atoms, charge = piece(name, rng)
        more = point_charges(atoms, charge)
        whole = beside(whole, charges, atoms, more, rng.uniform(*ratio), tries, rng)
        charges, total = np.concatenate([charges, more]), total + charge
    return whole, total


def points() -> list[Point]:
    """Ions alone, pairs, clusters of waters."""
    rng = np.random.default_rng(11)
    found = [(name, *IONS[name]) for name in ("Na+", "Cl-", "F-", "H3O+", "NH4+")]
    for k in range(PAIRS):
        one = list(IONS)[k // 3 % len(IONS)] if k % 3 == 0 else str(rng.choice(MOLECULES))
        two = str(rng.choice(MOLECULES))
        atoms, charge = assembled([one, two], (0.65, 1.3), int(rng.choice([1, 4, 16])), rng)
        if atoms.numbers.sum() - charge <= ELECTRONS:
            found.append((f"{one} {two} {k}", atoms, charge))
    for k in range(CLUSTERS):
        ion = ("", "Na+", "Cl-", "OH-", "H3O+")[k % 5]
        waters = int(rng.integers(2, 5)) + (0 if ion else 1)
        atoms, charge = assembled([ion] * bool(ion) + ["H2O"] * waters, (0.65, 0.85), 24, rng)
        if len(atoms) <= ATOMS:
            found.append((f"{ion}(H2O){waters} {k}", atoms, charge))
    return [
        Point(atoms, charge, 0, None, "pbe/def2-svpd", name, polarizability=bool(atoms.numbers.sum() - charge <= RESPONDING))
        for name, atoms, charge in found
    ]


suite = drawn(__file__, points())
