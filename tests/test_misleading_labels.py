"""Labels that look like others: multiplicities, rounded charges, stresses in two places, bulk of one atom, units and signs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from springs import water, written

from cgdft import Structure, units
from cgdft.learning import Frame
from cgdft.learning.data.atomic_energies import atomic_energies
from cgdft.learning.data.checks import check_set
from cgdft.learning.data.sets import FrameSet
from cgdft.validation import suites

SUITES = Path(suites.__file__).parent


def test_a_multiplicity_is_no_number_of_unpaired_electrons(tmp_path):
    path = written(tmp_path / "a.xyz", [molecule("H2O", info={"charge": 0, "spin": 1})])
    with pytest.raises(
        ValueError, match="`spin` must be the number of unpaired electrons, which 10 electrons cannot have, got 1"
    ):
        FrameSet.read(path)[0]
    other = FrameSet.read(written(tmp_path / "b.xyz", [molecule("H2O", info={"multiplicity": 1})]))
    assert "labels are not read from multiplicity: name them by `keys`" in other.notes


def test_rounded_charges_add_up_to_whole_ones(tmp_path):
    atoms = molecule("H2O")
    atoms.set_initial_charges([-0.667, 0.333, 0.333])
    assert float(FrameSet.read(written(tmp_path / "a.xyz", [atoms]))[0].structure.charge) == 0.0


def test_charges_that_are_no_whole_number_stay():
    """In however many atoms, and beside the same charge told."""
    many = bulk("NaCl", "rocksalt", 5.6, cubic=True) * (4, 4, 4)
    many.set_initial_charges(np.full(len(many), 0.4 / len(many)))
    assert float(Structure.from_ase(many).charge) == pytest.approx(0.4)
    many.info["charge"] = 0.4
    assert float(Structure.from_ase(many).charge) == pytest.approx(0.4)


def test_stress_in_two_places_is_one(tmp_path):
    """In whichever shape; virials are no stresses."""
    atoms = bulk("NaCl", "rocksalt", 5.6)
    atoms.info |= {"stress": 0.01 * np.eye(3), "REF_stress": -0.05 * np.eye(3)}
    with pytest.raises(ValueError, match="`stress` must be told once, got different values in"):
        FrameSet.read(written(tmp_path / "a.xyz", [atoms]))[0]
    with pytest.raises(ValueError, match="`keys` must name stresses for stress, .* got REF_virials"):
        FrameSet.read(tmp_path / "a.xyz", keys={"stress": "REF_virials"})


def test_cells_of_one_atom_are_no_free_atoms(tmp_path):
    cells = [bulk("Al", "fcc", a) for a in (4.0, 4.1)]
    for k, atoms in enumerate(cells):
        atoms.info |= {"energy": -3.7 + 0.1 * k, "charge": 0}
    larger = bulk("Al", "fcc", 4.05, cubic=True)
    larger.info |= {"energy": -14.4, "charge": 0}
    frames = FrameSet.read(written(tmp_path / "a.xyz", [*cells, larger]))
    assert atomic_energies(frames)["Al"] / units.eV == pytest.approx(np.mean([-3.7, -3.6, -3.6]), abs=0.02)
    wide = Atoms("Al", cell=[12.0] * 3, pbc=True, info={"energy": -0.2, "charge": 0})
    frames = FrameSet.read(written(tmp_path / "b.xyz", [*cells, larger, wide]))
    assert atomic_energies(frames)["Al"] / units.eV == pytest.approx(-0.2)
    assert frames.split([0.3, 0.7])[0][0].structure.cell[0, 0, 0] > 20.0


def test_names_beside_those_of_charges_are_told(tmp_path):
    atoms = molecule("H2O", info={"REF_Energy": 1.0, "REF_electric_field": [0.0, 0.0, 0.1]})
    atoms.arrays["REF_charges"] = np.array([-0.6, 0.3, 0.3])
    (note,) = FrameSet.read(written(tmp_path / "a.xyz", [atoms, molecule("H2O", info={"REF_Energy": 2.0})])).notes[:1]
    assert "1 of 2 frames are in a uniform field" in note
    alone = FrameSet.read(written(tmp_path / "b.xyz", [molecule("H2O", info={"REF_Energy": 2.0, "free_energy": 2.0})]))
    assert "labels are not read from REF_Energy, free_energy: name them by `keys`" in alone.notes


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((3, 9))])
def test_dipoles_beside_charges_that_are_none_of_atoms(wrong, tmp_path):
    atoms = molecule("H2O")
    atoms.arrays.update(charges=np.zeros(3), dipoles=wrong)
    atoms.info["energy"] = 0.0
    with pytest.raises(ValueError, match=r"`dipoles` beside `charges` must be .* {multipoles: charges}"):
        FrameSet.read(written(tmp_path / "a.xyz", [atoms]))[0]
    alone = FrameSet.read(tmp_path / "a.xyz", keys={"multipoles": "charges"})[0]
    assert alone.labels["multipoles"].shape == (3, 1)


@pytest.fixture
def trajectory(tmp_path):
    return written(tmp_path / "water.extxyz", [water(seed) for seed in range(12)])


def changed(frames, **labels):
    return [Frame(f.name, f.structure, {**f.labels, **{k: v(f) for k, v in labels.items()}}) for f in frames]


def test_dipoles_of_atoms_and_born_charges_against_dipoles(trajectory):
    frames, p = list(FrameSet.read(trajectory)), "multipoles"
    whole = torch.tensor([1.0, 5, 5, 5])
    for factor, message in (
        (-1.0, "`multipoles` must have dipoles towards positive charge, got the opposite sign"),
        (1.889726, r"`multipoles` must have charges and dipoles in e bohr\^l, got dipoles that are 1.89 times"),
        (4.803, r"`multipoles` must have charges and dipoles in e bohr\^l, got dipoles that are 4.803 times"),
    ):
        large = changed(frames, **{p: lambda f: f.labels[p] * whole})
        large = changed(large, dipole=lambda f: f.labels[p][:, 0].double() @ f.structure.positions + f.labels[p].sum(0)[1:4])
        assert not [one for one in check_set(large) if "dipole" in one]
        with pytest.raises(ValueError, match=message):
            check_set(changed(large, **{p: lambda f, k=factor: f.labels[p] * torch.tensor([1.0, k, k, k])}))
    rigid = [Frame(f.name, f.structure, {}) for f in frames]
    eye, q = torch.eye(3, dtype=torch.float64), torch.tensor([-0.8, 0.4, 0.4], dtype=torch.float64)
    rigid = changed(rigid, dipole=lambda f: q @ f.structure.positions, born_charges=lambda f: q[:, None, None] * eye)
    assert check_set(rigid) == []
    with pytest.raises(ValueError, match="`born_charges` must be dD_a/dR_c, got the opposite of what the dipoles say"):
        check_set(changed(rigid, born_charges=lambda f: -f.labels["born_charges"]))
    bare = [replace(f, labels={k: v for k, v in f.labels.items() if k != "multipoles"}) for f in frames]
    opposite = changed(bare, dipole=lambda f: -q @ f.structure.positions, born_charges=lambda f: q[:, None, None] * eye)
    with pytest.raises(ValueError, match="change the sign of those that are wrong"):  # nothing tells which
        check_set(opposite)
    with pytest.raises(ValueError, match="`dipole` must point towards positive charge"):
        check_set(changed(frames, dipole=lambda f: -f.labels["dipole"], born_charges=lambda f: q[:, None, None] * eye))
    noise = torch.Generator().manual_seed(0)
    for _ in range(100):  # what vanishes by symmetry has no sign
        nitrogen = Structure.from_ase(molecule("N2"))
        z, d = (1e-3 * torch.randn(*shape, generator=noise, dtype=torch.float64) for shape in ((2, 3, 3), (3,)))
        assert check_set([Frame("N2", nitrogen, {"born_charges": z, "dipole": d})]) == []


def test_honest_sets_that_look_odd_are_none():
    """Charges alone that point the wrong way, energies of atoms taken apart, relaxed frames among others, anions."""
    frames = [frame for frame in FrameSet.read(SUITES / "molecules.h5") if "multipoles" in frame.labels]
    charges = changed(frames, multipoles=lambda f: f.labels["multipoles"][:, :1])
    assert len(charges) > 20
    for frame in charges:
        told = check_set([Frame(frame.name, frame.structure, {name: frame.labels[name] for name in ("dipole", "multipoles")})])
        assert not [one for one in told if "must" in one]
    methane = [molecule("CH4") for _ in range(30)]
    for k, atoms in enumerate(methane):
        atoms.rattle(0.02, seed=k)
    depths = [-17.5] * 20 + [-17.5 + 1.83 * k for k in range(10)]
    bound = [
        Frame(f"{k}", Structure.from_ase(atoms), {"energy": torch.tensor(e * units.eV, dtype=torch.float64)})
        for k, (atoms, e) in enumerate(zip(methane, depths, strict=True))
    ]
    assert check_set(bound, atomic_energies={"H": 0.0, "C": 0.0}) == []
    sizes = [1e-5] * 7 + [0.05] * 5
    mixed = [
        Frame(f"{k}", Structure.from_ase(one), {"forces": size * torch.ones(5, 3, dtype=torch.float64)})
        for k, (one, size) in enumerate(zip(methane, sizes, strict=False))
    ]
    assert not [note for note in check_set(mixed) if "relaxed" in note]
    anion = Structure.from_ase(molecule("OH"), charge=-1, spin=0)
    assert check_set([Frame("OH-", anion, {"chemical_potential": torch.tensor(0.05, dtype=torch.float64)})]) == []


def test_energies_of_another_unit_that_atoms_were_fitted_to(tmp_path):
    """E0 that are wrong as well tell nothing; other frames of the same atoms do."""
    atoms = [water(seed) for seed in range(12)]
    for k in (1, 5, 9):
        atoms[k].calc.results["energy"] *= units.eV
    frames = FrameSet.read(written(tmp_path / "water.xyz", atoms))
    with pytest.warns(UserWarning, match="compositions do not determine the atomic energies"):
        fitted = atomic_energies(frames)
    message = "`energy` must be in eV in all frames, got numbers that look like hartree in water-1, water-5, water-9$"
    with pytest.raises(ValueError, match=message):
        check_set(frames, atomic_energies=fitted, fitted=True)


def test_units_of_files_that_are_not_those_told(trajectory):
    """Where E0 are fitted to the energies, forces tell: of both what goes together."""
    frames = FrameSet.read(trajectory, units={"energy": "hartree", "forces": "hartree/bohr"})
    with pytest.warns(UserWarning, match="compositions do not determine the atomic energies"):
        fitted = atomic_energies(frames)
    with pytest.raises(ValueError, match="they look like eV and eV/angstrom or forces look like hartree/angstrom"):
        check_set(frames, atomic_energies=fitted)
