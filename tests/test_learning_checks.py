"""Sets of frames that mislead are found out; energies of free atoms; public files."""

import lzma
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from springs import FREE, water, written

from cgdft import Structure, units
from cgdft.learning import Frame
from cgdft.learning.data.atomic_energies import atomic_energies
from cgdft.learning.data.checks import check_set
from cgdft.learning.data.listing import markdown
from cgdft.learning.data.polarizability_scales import check_polarizabilities
from cgdft.learning.data.scales import check_chemical_potentials
from cgdft.learning.data.sets import FrameSet
from cgdft.learning.training.batches import as_set
from cgdft.validation import suites

SUITES = Path(suites.__file__).parent
DATA = Path(__file__).parents[2] / "shared" / "data"


# Checks


def test_labels_that_count_are_those_that_there_are(trajectory):
    frames = FrameSet.read(trajectory)
    train, validation = frames.split([0.75, 0.25])
    has = sorted(frames[0].labels)
    assert check_set(train, validation, atomic_energies=FREE, weights=dict.fromkeys(has, 1.0)) == []
    told = check_set(train, validation, atomic_energies=FREE, weights={"energy": 1.0, "potential": 2.0})
    assert "labels that no frame of training has: potential (of open structures alone)" in told
    others = ", ".join(one for one in has if one != "energy")
    assert f"labels that do not count, as `weights` does not name them: {others}" in told
    with pytest.raises(ValueError, match="`train` must have labels that have `weights`, potential, got dipole, energy"):
        check_set(train, validation, atomic_energies=FREE, weights={"potential": 1.0})
    bare = [replace(frame, labels={"dipole": torch.zeros(3, dtype=torch.float64)}) for frame in validation]
    with pytest.raises(ValueError, match="`validation` must have labels that have `weights`, energy, got dipole"):
        check_set(list(train), bare, atomic_energies=FREE, weights={"energy": 1.0})


def test_a_good_set_has_nothing_to_tell(trajectory):
    frames = FrameSet.read(trajectory)
    train, validation = frames.split([0.75, 0.25])
    assert check_set(train, validation, elements=["H", "O"], atomic_energies=FREE) == []
    assert "energies have no atomic reference" in check_set(train)[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": {"energy": "hartree"}}, "`energy` must be in hartree, got numbers that look like eV"),
        ({"units": {"energy": "kcal/mol"}}, "`energy` must be in kcal/mol, got numbers that look like eV"),
        ({"units": {"forces": "hartree/bohr"}}, "forces look like eV/angstrom"),
        ({"units": {"forces": "eV/bohr"}}, "forces look like eV/angstrom"),
        ({"units": {"dipole": "debye"}}, "`dipole` must be in debye, got numbers that look like e angstrom"),
    ],
)
@pytest.mark.parametrize("reference", [FREE, None])
def test_wrong_units(trajectory, settings, message, reference):
    with pytest.raises(ValueError, match=message):
        check_set(FrameSet.read(trajectory, **settings), atomic_energies=reference)


def test_hartree_read_as_ev(tmp_path):
    frames = [water(seed) for seed in range(6)]
    for atoms in frames:
        atoms.info["E"] = atoms.calc.results.pop("energy") * units.eV
    path = written(tmp_path / "a.xyz", frames)
    with pytest.raises(ValueError, match="`energy` must be in eV, got numbers that look like hartree"):
        check_set(FrameSet.read(path, {"energy": "E"}))
    assert check_set(FrameSet.read(path, {"energy": "E"}, {"energy": "hartree"}), atomic_energies=FREE) == []


def changed(frames, **labels):
    return [Frame(f.name, f.structure, {**f.labels, **{k: v(f) for k, v in labels.items()}}) for f in frames]


def test_wrong_signs_sums_and_orders(trajectory):
    frames = list(FrameSet.read(trajectory))
    p = "multipoles"
    swapped = [0, 2, 3, 1]  # y, z, x
    electrons = torch.tensor([8.6, 0.7, 0.7])
    for labels, message in (
        ({"forces": lambda f: -f.labels["forces"]}, "`forces` must be -dE/dR.*opposite sign"),
        (
            {"forces": lambda f: 1e3 * f.labels["forces"], "energy": lambda f: f.labels["energy"] * torch.nan},
            "`energy` must be",
        ),
        ({p: lambda f: f.labels[p] + 0.1}, r"`multipoles` must have charges that add up to the total charge 0, got 0.3"),
        ({p: lambda f: electrons[:, None]}, "look like numbers of electrons"),
        ({"dipole": lambda f: -f.labels["dipole"]}, "`dipole` must point towards positive charge"),
        ({"dipole": lambda f: f.labels["dipole"][:2]}, r"frame water-0: `dipole` must be of shape \(3\)"),
        ({"entropy": lambda f: f.labels["energy"]}, "`labels` must be of"),
    ):
        with pytest.raises(ValueError, match=message):
            check_set(changed(frames, **labels), atomic_energies=FREE)
    big = changed(frames, **{p: lambda f: f.labels[p][:, swapped] * torch.tensor([1.0, 5, 5, 5])})
    big = changed(big, dipole=lambda f: f.labels[p][:, 0].double() @ f.structure.positions + f.labels[p].sum(0)[[3, 1, 2]])
    with pytest.raises(ValueError, match="in the order x, y, z, got them as y, z, x"):
        check_set(big)
    wild = [Frame(f.name, f.structure, {"forces": 100 * f.labels["forces"]}) for f in frames]
    with pytest.raises(
        ValueError, match=r"`forces` must be in hartree/bohr, got a root mean square of .*look like eV/angstrom"
    ):
        check_set(wild)
    still = [Frame(f.name, f.structure, {"forces": 0 * f.labels["forces"]}) for f in frames]
    assert "all frames are relaxed" in check_set(still)[0]


def test_energies_of_atoms_of_another_unit(trajectory):
    """In eV where hartree are meant; fitted ones do not tell the unit of energies, those of all electrons do."""
    frames = FrameSet.read(trajectory)
    with pytest.raises(ValueError, match="`atomic_energies` must be in hartree, got numbers that look like eV"):
        check_set(frames, atomic_energies={symbol: one / units.eV for symbol, one in FREE.items()})
    (told,) = check_set(frames, atomic_energies={"H": -0.5, "O": -77.5})
    assert told.startswith("`atomic_energies` must be of the energies' method, got energies 0.7")


@pytest.mark.filterwarnings("ignore:compositions do not determine the atomic energies")
def test_the_unit_of_energies_that_atoms_were_fitted_to(tmp_path):
    """For certain where nothing is bound so much, be it of all electrons; with fewer electrons numbers may be smaller."""

    def read(factor, unit):
        atoms = [water(seed) for seed in range(6)]
        for one in atoms:
            one.calc.results = {"energy": factor * one.calc.results["energy"]}
        frames = FrameSet.read(written(tmp_path / "a.xyz", atoms), units={"energy": unit})
        return {"train": frames, "atomic_energies": atomic_energies(frames)}

    deep = read(1.0, "hartree")
    assert check_set(**deep) == []
    with pytest.raises(ValueError, match="`energy` must be in hartree, got numbers that look like eV; .*{energy: eV}$"):
        check_set(**deep, fitted=True)
    (told,) = check_set(**read(units.eV, "eV"), fitted=True)
    assert told.startswith("`energy` must be in eV, got numbers that look like hartree; set `units`")
    assert told.endswith("if they are of all electrons")


def test_labels_of_single_frames_that_cannot_be(trajectory):
    """Energies far from all others, forces and Born charges that do not add up, a polarizability that is not symmetric."""
    frames = list(FrameSet.read(trajectory))

    def with_one(name, value):
        return [*frames[:3], Frame("odd", frames[3].structure, {**frames[3].labels, name: value(frames[3])}), *frames[4:]]

    (told,) = check_set(with_one("energy", lambda f: f.labels["energy"] + 1), atomic_energies=FREE)
    assert told.startswith("energies of odd are up to 1 hartree from what fits the others")
    assert told.endswith("as far as nine in ten: a mistake, or another state")
    with pytest.raises(ValueError, match=r"`energy` must be that of its atoms, got 1e\+300 hartree in odd"):
        check_set(with_one("energy", lambda f: 1e300 + 0 * f.labels["energy"]), atomic_energies=FREE)
    (told,) = check_set(with_one("forces", lambda f: f.labels["forces"] + 0.05), atomic_energies=FREE)
    assert told.startswith("forces of odd add up to as much as 13.4 eV/angstrom")
    eye = torch.eye(3, dtype=torch.float64)
    born = with_one("born_charges", lambda f: torch.stack([0 * eye, eye, eye]))
    with pytest.raises(ValueError, match="`born_charges` must add up to the total charge, .* 0.667 e per atom in odd"):
        check_set(born, atomic_energies=FREE)
    skew = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 0]], dtype=torch.float64)
    with pytest.raises(ValueError, match="frame odd: `polarizability` must be symmetric"):
        check_set(with_one("polarizability", lambda f: 10 * eye + skew), atomic_energies=FREE)


def test_single_frames_of_another_unit(tmp_path):
    """Energies in hartree or kcal/mol among those in eV, forces in another unit, and mere mistakes."""

    def read(name, factor, which):
        atoms = [water(seed) for seed in range(12)]
        for k in which:
            atoms[k].calc.results[name] = atoms[k].calc.results[name] * factor
        return FrameSet.read(written(tmp_path / "water.xyz", atoms))

    for unit, factor in (("hartree", units.eV), ("kcal/mol", units.eV / units.kcal_per_mol)):
        message = f"`energy` must be in eV in all frames, got numbers that look like {unit} in water-3, water-5$"
        with pytest.raises(ValueError, match=message):
            check_set(read("energy", factor, (3, 5)), atomic_energies=FREE)
    (told,) = check_set(read("energy", 1.3, (3,)), atomic_energies=FREE)
    assert told.startswith("energies of water-3 are more than 1 hartree per atom from those of other frames (by ")
    bound = FrameSet.read(written(tmp_path / "bound.xyz", [water(seed) for seed in range(12)]), units={"energy": "kcal/mol"})
    pressed = [Frame(f.name, f.structure, {"energy": 1e-3 * f.labels["energy"]}) for f in bound]
    pressed[3].labels["energy"] = torch.tensor(4.0, dtype=torch.float64)  # no unit is told by energies less those of atoms
    (told,) = check_set(pressed, atomic_energies={"H": 0.0, "O": -1e-3})
    assert told.startswith(("energies of water-3 are", "energies of bound-3 are"))
    (told,) = check_set(read("forces", 100.0, (3, 4, 5, 6)), atomic_energies=FREE)
    assert told.startswith("forces of water-3, water-4, water-5 and 1 more are more than 30 times those of other frames")
    (told,) = check_set(read("forces", 1e30, (3,)), atomic_energies=FREE)
    assert told.startswith("forces of water-3 are more than 30 times those of other frames")
    for factor, message in (
        (4.803, "be in e angstrom in all .* like debye"),
        (-1.0, "point towards positive charge in all .*"),
    ):
        with pytest.raises(ValueError, match=f"`dipole` must {message} in water-3, water-5$"):
            check_set(read("dipole", factor, (3, 5)), atomic_energies=FREE)
    (told,) = check_set(read("dipole", 2.5, (3, 5)), atomic_energies=FREE)
    assert told == "dipoles of water-3, water-5 are not those of their multipoles, as they are in other frames"


def test_lengths_stresses_and_polarizabilities(trajectory):
    frames = list(FrameSet.read(trajectory))
    far = [Frame(f.name, Structure(f.structure.numbers, 1.89 * f.structure.positions), {}) for f in frames]
    assert "the nearest atoms are 1.9 bonds apart" in check_set(far)[0]
    one = torch.eye(3, dtype=torch.float64)
    for sign in (-1, 1):
        mu = torch.tensor(sign * 4 * units.eV, dtype=torch.float64)
        told = check_set([Frame(f.name, f.structure, {"chemical_potential": mu}) for f in frames])
        assert (sign > 0) == any(note.startswith("chemical potentials are +4 eV (median), above that of") for note in told)
    for mu, unit, other in ((-4.0, "hartree", "eV"), (-4 * units.eV**2, "eV", "hartree")):  # read as the unit of the other
        told = check_chemical_potentials(
            [replace(f, labels={"chemical_potential": torch.tensor(mu, dtype=torch.float64)}) for f in frames], unit
        )
        assert told[0].endswith(f"where those of molecules are -1 to -30 eV: they look like {other}, see `units`")
    pressed = [Frame(f.name, f.structure, {"stress": 0.02 * one}) for f in frames]
    assert "340 GPa" in check_set(pressed)[0]
    with pytest.raises(ValueError, match=f"frame {frames[0].name}: `polarizability` must be dD/dF, which is positive"):
        check_set(changed(frames, polarizability=lambda f: -5.0 * one))
    for labels, message in (
        ({"charges": torch.zeros(3)}, "are `multipoles` of one column"),
        ({"energy": 0.0}, "`energy` must be a torch tensor, got float"),
        ({"energy": torch.zeros((), requires_grad=True)}, "`energy` must be a label without a gradient"),
        ({"forces": torch.zeros(3)}, "`forces` must be of shape"),
    ):
        with pytest.raises(ValueError, match=f"frame one: .*{message}"):
            as_set([Frame("one", frames[0].structure, labels)], "train")


def test_the_page_of_labels_is_generated():
    """docs/labels.md: `python -m cgdft.learning.data.listing > docs/labels.md`."""
    assert (Path(__file__).parents[1] / "docs" / "labels.md").read_text() == markdown()


def test_dipoles_and_polarizabilities_are_told_by_their_size():
    """Where there is nothing else to tell them by: of molecules in a small basis too."""
    frames = [
        replace(frame, labels={name: frame.labels[name] for name in ("dipole", "polarizability") if name in frame.labels})
        for frame in FrameSet.read(SUITES / "warm.h5")
    ]
    good = set(check_set(frames))

    def told(**factors):
        """Of the set with labels so many times as large."""
        found = [replace(f, labels={name: factors.get(name, 1.0) * one for name, one in f.labels.items()}) for f in frames]
        return sorted(set(check_set(found)) - good)

    assert told() == []
    (dipoles,) = told(dipole=units.angstrom / units.debye)
    assert "that of an electron and a hole at both ends of the molecule: they look like debye, see `units`" in dipoles
    (large,) = told(polarizability=units.angstrom**3)
    assert large.endswith("times those of free atoms (median), of most molecules 0.6 to 0.8: look at their unit")
    (small,) = told(polarizability=units.angstrom**-3)
    assert small.endswith("they look like angstrom^3, see `units`")
    known = [frame for frame in frames if "polarizability" in frame.labels]
    assert check_polarizabilities(known, "bohr^3") == []
    more = [replace(f, labels={"polarizability": units.angstrom**3 * f.labels["polarizability"]}) for f in known]
    assert check_polarizabilities(more, "angstrom^3")[0].endswith("they look like bohr^3, see `units`")


def test_dipoles_of_ions_about_their_centre():
    frames = list(FrameSet.read(SUITES / "ions.h5"))
    assert "energies have no atomic reference" in check_set(frames)[0]
    shift = torch.tensor([3.0, 1.0, -2.0], dtype=torch.float64)
    for centre in (lambda s: s.positions.mean(0), lambda s: torch.tensor(s.to_ase().get_center_of_mass() * units.angstrom)):
        moved = []
        for f in frames:
            s = Structure(f.structure.numbers, f.structure.positions + shift, charge=f.structure.charge)
            about = f.labels["dipole"] - s.charge * centre(f.structure)
            labels = {"dipole": about, "multipoles": f.labels["multipoles"]}
            moved.append(Frame(f.name, s, labels))
        with pytest.raises(ValueError, match="`dipole` must be about the origin of coordinates, got those of ions about"):
            check_set(moved)


def test_elements_and_atomic_references(trajectory):
    frames = FrameSet.read(trajectory)
    with pytest.raises(ValueError, match="`elements` must include O of frame water-0, got H, C"):
        check_set(frames, elements=["H", "C"])
    with pytest.raises(ValueError, match="`atomic_energies` must have every element, got none of O"):
        check_set(frames, atomic_energies={"H": -0.5})
    with pytest.raises(ValueError, match="`atomic_energies` must be of the energies' method"):
        check_set(frames, atomic_energies={"H": -0.5, "O": -15.8})


# Atomic energies


def test_free_atoms_may_be_in_both_sets(tmp_path):
    free = Atoms("H", info={"charge": 0, "energy": -13.6})
    first, second = (FrameSet.read(written(tmp_path / f"{k}.xyz", [water(k), free])) for k in (0, 1))
    assert not any("twice" in note for note in check_set(first, second, atomic_energies=FREE))


def test_atomic_energies_of_single_atoms_given_ones_and_fits(trajectory):
    frames = list(FrameSet.read(trajectory))
    single = Frame("H", Structure(torch.tensor([1]), torch.zeros(1, 3), spin=1), {"energy": torch.tensor(-0.5)})
    found = atomic_energies([*frames, single])
    assert list(found) == ["H", "O"]
    assert found["H"] == -0.5
    assert found["O"] == pytest.approx(-75.3, abs=0.02)  # the binding of water is counted to what is fitted
    assert atomic_energies(frames, given={"H": -0.6, "O": -75.0, "C": 0.0}) == {"H": -0.6, "O": -75.0}
    with pytest.warns(UserWarning, match=r"compositions do not determine the atomic energies of H, O \(rank 1 of 2\)"):
        found = atomic_energies(frames)
    assert 2 * found["H"] + found["O"] == pytest.approx(-76.3, abs=0.02)
    with pytest.warns(UserWarning, match="no frame has an energy"):
        assert atomic_energies([replace(frame, labels={}) for frame in frames]) == {"H": 0.0, "O": 0.0}
    with pytest.raises(ValueError, match="`frames` must have an energy with every element, got none with C"):
        atomic_energies([*frames, Frame("CH4", Structure.from_ase(molecule("CH4")), {})])


def test_fits_are_determined_by_enough_compositions():
    found = atomic_energies(FrameSet.read(SUITES / "molecules.h5"))
    assert found["C"] == pytest.approx(-38.0, abs=0.1)
    assert check_set(FrameSet.read(SUITES / "molecules.h5"), atomic_energies=found)[1:] == []


def test_free_atoms_from_pyscf(trajectory):
    found = atomic_energies(FrameSet.read(trajectory), given={"O": -75.0}, method="hf/sto-3g")
    assert found["H"] == pytest.approx(-0.466582, abs=1e-5)  # STO-3G hydrogen atom


# Files of others


def first_frames(packed, folder, n):
    path = folder / packed.name.removesuffix(".xz")
    with lzma.open(packed, "rt") as lines:
        kept = [[head, *(next(lines) for _ in range(int(head) + 1))] for _, head in zip(range(n), lines, strict=False)]
    path.write_text("".join(chain(*kept)))
    return path


@pytest.mark.skipif(not DATA.is_dir(), reason="no reference data here")
def test_public_polarizabilities_without_their_unit(tmp_path):
    with lzma.open(DATA / "water_response_tensoap" / "dimer.extxyz.xz", "rt") as file:
        (tmp_path / "dimer.xyz").write_text(file.read())
    keys, said = {"polarizability": "polarizability_au"}, "polarizabilities are 4.7 times those of free atoms (median)"
    told = check_set(FrameSet.read(tmp_path / "dimer.xyz", keys))
    assert [one for one in told if one.startswith(said) and one.endswith("they look like bohr^3, see `units`")]
    right = check_set(FrameSet.read(tmp_path / "dimer.xyz", keys, {"polarizability": "bohr^3"}))
    assert right == ["labels are not read from dipole_au, energy_Ha: name them by `keys`"]


@pytest.mark.skipif(not DATA.is_dir(), reason="no reference data here")
def test_the_first_frames_of_public_files(tmp_path):
    paths = sorted(DATA.glob("*/*.xz"))
    assert len(paths) > 20
    seen = set()
    for path in paths:
        frames = FrameSet.read(first_frames(path, tmp_path, 3))
        for frame in frames:
            seen |= set(frame.labels)
        check_set(frames)
    assert {"energy", "forces", "dipole", "multipoles"} <= seen


@pytest.mark.skipif(not DATA.is_dir(), reason="no reference data here")
def test_mistakes_in_reading_public_files_are_found(tmp_path):
    def unpacked(name, frames):
        return first_frames(DATA / name, tmp_path, frames)

    ions = unpacked("water_ion_clusters_aims/water100.extxyz.xz", 30)
    with pytest.raises(ValueError, match="got them as y, z, x"):
        check_set(FrameSet.read(ions, {"multipoles": "aims_atom_multipoles"}))
    amino = unpacked("spice_bec/des370k_monomers.extxyz.xz", 10)
    with pytest.raises(ValueError, match="`born_charges` must be .* transposed"):
        check_set(FrameSet.read(amino, {"born_charges": "bec"}))
    assert len(check_set(FrameSet.read(amino, {"born_charges": "bec.T"}))) == 1
    charged = unpacked("cu111_water_charged/dft_multi_charge.extxyz.xz", 2)
    neutral = unpacked("cu111_water_charged/dft_neutral94.extxyz.xz", 2)
    with pytest.raises(ValueError, match="`charge` must be stated by every frame of a set with charged ones"):
        FrameSet.read([charged, neutral])


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (1.0, None),
        (-1.0, "`stress` must be dE/dstrain / V, .* opposite sign"),
        (160.2, "look like GPa"),
        (1602.0, "look like kbar"),
    ],
)
@pytest.mark.parametrize("rattled", [0.0, 0.02])
def test_stress_is_told_by_energies_of_strained_cells(factor, told, rattled, tmp_path):
    frames, random = [], np.random.default_rng(0)
    for _ in range(8):
        atoms = bulk("Al", cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.01 * random.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += rattled * random.normal(size=(4, 3))
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "stress": factor * atoms.get_stress()}
        results |= {"forces": atoms.get_forces()} if rattled else {}
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["charge"] = 0
        frames.append(atoms)
    frames = FrameSet.read(written(tmp_path / "a.xyz", frames))
    if told is None:
        check_set(frames)
    else:
        with pytest.raises(ValueError, match=told):
            check_set(frames)
