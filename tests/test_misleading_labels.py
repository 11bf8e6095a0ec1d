"""Labels that look like others: multiplicities, rounded charges, stresses in two places, bulk of one atom."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from springs import written

from cgdft import Structure, units
from cgdft.learning.data.atomic_energies import atomic_energies
from cgdft.learning.data.sets import FrameSet


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
