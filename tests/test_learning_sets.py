"""Sets of frames: read as written, one at a time, in the same batches whoever reads."""

import pickle
from itertools import chain
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from springs import water, written

from cgdft import units
from cgdft.learning.data.checks import check_set
from cgdft.learning.data.epochs import Epochs
from cgdft.learning.data.memory import Memory
from cgdft.learning.data.sets import FrameSet, loader
from cgdft.learning.data.units import multiplier
from cgdft.learning.training.batches import as_set
from cgdft.validation import suites
from cgdft.validation.campaigns.results import Results

SUITES = Path(suites.__file__).parent
DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Frames of 3 and 4 atoms in turn."""
    frames = [molecule("H2O" if k % 2 else "NH3") for k in range(23)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=k)
        atoms.info["Energy"] = -1.0 * k
    return FrameSet.read(written(tmp_path_factory.mktemp("many") / "many.xyz", frames))


# Reading


def hydrogen_fluoride(**arrays):
    atoms = molecule("HF")
    atoms.info["energy"] = -1.0
    atoms.arrays.update(arrays)
    return atoms


def test_born_charges_are_no_definition_of_charges(tmp_path):
    frame = hydrogen_fluoride(born_charges=np.tile(np.eye(3).reshape(-1), (2, 1)))
    frames = FrameSet.read(written(tmp_path / "born.extxyz", [frame]))
    assert frames.definition is None
    assert {*frames[0].labels} == {"energy", "born_charges"}


def test_shells_of_multipoles_are_whole(tmp_path):
    few = hydrogen_fluoride(own_charges=np.array([0.4, -0.4]), own_quadrupoles=np.ones((2, 5)))
    path = written(tmp_path / "few.extxyz", [few])
    with pytest.raises(ValueError, match="whole up to their highest l, got own_charges, own_quadrupoles without own_dipoles"):
        FrameSet.read(path)[0]
    path = written(tmp_path / "half.extxyz", [hydrogen_fluoride(multipoles=np.ones((2, 3)))])
    with pytest.raises(ValueError, match="1, 4 or 9 of an atom, got 3"):
        FrameSet.read(path)[0]


def test_stress_is_of_cells_and_rounding_is_no_sign(tmp_path):
    frame = hydrogen_fluoride()
    frame.info["stress"] = np.zeros((3, 3))
    frame.info["polarizability"] = np.diag([-1e-16, 0.0, 5.0])
    frames = FrameSet.read(written(tmp_path / "open.extxyz", [frame]))
    assert {*frames[0].labels} == {"energy", "polarizability"}


def test_results_come_back_the_same_from_both_kinds_of_file(tmp_path):
    path = SUITES / "molecules.h5"
    exported = Results.load(path).export(tmp_path / "molecules.extxyz")
    for definition in (None, "MBIS"):
        ours, theirs = FrameSet.read(path, definition=definition), FrameSet.read(exported, definition=definition)
        assert ours.definition == theirs.definition == (definition or "Hirshfeld")
        assert ours.elements == theirs.elements
        assert len(ours) == len(theirs) == 33
        for one, other in zip(ours, theirs, strict=True):
            assert one.name == other.name
            assert torch.equal(one.structure.spin, other.structure.spin)
            assert set(one.labels) - set(other.labels) <= {"quadrupole", "susceptibility", "potential", "points"}
            for name in other.labels:
                # extended xyz has eight decimals of arrays
                torch.testing.assert_close(one.labels[name], other.labels[name], rtol=1e-8, atol=3e-8)
            torch.testing.assert_close(one.structure.positions, other.structure.positions, rtol=1e-8, atol=3e-8)


def test_results_hold_potentials_at_their_points():
    frames = FrameSet.read(SUITES / "molecules.h5")
    reference = Results.load(SUITES / "molecules.h5").references["CH4"]
    frame = frames[1]
    assert frame.name == frames.name(1) == "CH4"
    np.testing.assert_array_equal(frame.labels["points"], reference.points)
    np.testing.assert_allclose(frame.labels["potential"], reference.potential_difference)
    np.testing.assert_array_equal(frame.labels["susceptibility"], reference.susceptibility)
    assert "susceptibility" not in FrameSet.read(SUITES / "molecules.h5", definition="MBIS")[1].labels


def test_what_was_computed_in_a_field_is_left_out(tmp_path):
    for path in (SUITES / "water.h5", Results.load(SUITES / "water.h5").export(tmp_path / "water.extxyz")):
        frames = FrameSet.read(path)
        assert len(frames) == 6
        assert "6 of 12 frames are in a uniform field" in frames.notes[0]
        assert check_set(frames)[0] == frames.notes[0]
    atoms = [molecule("H2O", info={"electric_field": [0.0, 0.0, 0.01 * k]}) for k in range(3)]
    assert len(FrameSet.read(written(tmp_path / "e.xyz", atoms))) == 1
    with pytest.raises(ValueError, match="at least one frame, got none in .*: 2 of 2 frames are in a uniform field"):
        FrameSet.read(written(tmp_path / "f.xyz", atoms[1:]))
    with pytest.raises(
        ValueError, match=r"at least one of 1 frames, got \[0.9, 0.1\]; .*: 2 of 3 frames are in a uniform field"
    ):
        FrameSet.read(tmp_path / "e.xyz").split([0.9, 0.1])
    for atoms, told in ((water(1, field_raw=[0, 0, 1e-3]), True), (water(1, field_raw=[0, 0, 0], force_field="amber"), False)):
        notes = FrameSet.read(written(tmp_path / "g.xyz", [atoms])).notes
        assert any("frames with field_raw are kept, as without a field" in note for note in notes) == told


def test_ase_units_and_labels_in_atomic_units(trajectory):
    frame = FrameSet.read(trajectory)[3]
    atoms = water(3)
    assert frame.name == "water-3"
    assert float(frame.labels["energy"]) == pytest.approx(atoms.get_potential_energy() * units.eV, rel=1e-8)
    np.testing.assert_allclose(frame.labels["forces"], atoms.get_forces() * units.eV / units.angstrom, atol=1e-9)
    np.testing.assert_allclose(frame.labels["multipoles"][0], [-0.6, 0, 0.03 * units.angstrom, 0.1 * units.angstrom], atol=1e-7)


def test_keys_and_units_can_be_told(tmp_path):
    atoms = molecule(
        "H2O", info={"E": -3.0, "mydipole": [1.0, 2.0, 3.0], "q": 1, "spin": 1, "ESP": [0.5, 0.25], "at": np.eye(3)[:2]}
    )
    atoms.arrays["pull"] = np.arange(9.0).reshape(3, 3)
    atoms.arrays["bec"] = np.arange(27.0).reshape(3, 9)
    path = written(tmp_path / "a.xyz", [atoms])
    keys = {"energy": "E", "forces": "pull", "dipole": "mydipole", "charge": "q", "potential": "ESP", "points": "at"}
    told = {"energy": "kcal/mol", "forces": "hartree/angstrom", "dipole": "debye", "points": "bohr"}
    frame = FrameSet.read(path, {**keys, "born_charges": "bec.T"}, told)[0]
    assert float(frame.labels["energy"]) == pytest.approx(-3.0 * units.kcal_per_mol)
    np.testing.assert_allclose(frame.labels["forces"], atoms.arrays["pull"] / units.angstrom)
    np.testing.assert_allclose(frame.labels["dipole"], np.array([1, 2, 3]) * units.debye)
    np.testing.assert_allclose(frame.labels["potential"], np.array([0.5, 0.25]) * units.volt)
    np.testing.assert_allclose(frame.labels["points"], np.eye(3)[:2])
    np.testing.assert_allclose(frame.labels["born_charges"], atoms.arrays["bec"].reshape(3, 3, 3).swapaxes(1, 2))
    assert float(frame.structure.charge) == 1


def test_stress_charges_and_fermi_levels_of_calculators(tmp_path):
    atoms = bulk("Cu", cubic=True)
    stress = np.arange(6.0)
    atoms.calc = SinglePointCalculator(atoms, stress=stress, charges=np.array([0.1, -0.1, 0.2, -0.2]), dipole=np.ones(3))
    atoms.info["fermi_level"] = 5.0
    frame = FrameSet.read(written(tmp_path / "cu.extxyz", [atoms]))[0]
    expected = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]]) * units.eV / units.angstrom**3
    np.testing.assert_allclose(frame.labels["stress"], expected)
    np.testing.assert_allclose(frame.labels["multipoles"][:, 0], [0.1, -0.1, 0.2, -0.2])
    assert float(frame.labels["chemical_potential"]) == pytest.approx(5.0 * units.eV)
    assert "dipole" not in frame.labels  # of a crystal it means nothing


@pytest.mark.parametrize("ending", ["traj", "json", "extxyz.gz"])
def test_other_files_of_ase(tmp_path, trajectory, ending):
    path = tmp_path / f"other.{ending}"
    ase.io.write(path, ase.io.read(trajectory, ":"))
    for one, other in zip(FrameSet.read(trajectory), FrameSet.read(path), strict=True):
        torch.testing.assert_close(one.labels["forces"], other.labels["forces"], rtol=0, atol=1e-9)


def test_files_add_up_and_only_asked_frames_are_read(trajectory, monkeypatch):
    import cgdft.learning.data.reading_atoms as reading

    monkeypatch.setattr(reading, "_parsed", lambda lines, parsed=reading._parsed, read=[]: (read.append(1), parsed(lines))[1])
    read = reading._parsed.__defaults__[1]
    more = trajectory.with_name("more.extxyz")
    more.write_bytes(trajectory.read_bytes())
    frames = FrameSet.read([trajectory, SUITES / "ions.h5", more], charge=0)
    assert len(frames) == 36
    assert read == []
    assert frames.elements == ("H", "O", "Na", "Cl")
    assert [int(n) for n in frames.facts["size"][:13]] == [3] * 12 + [1]
    assert frames[-1].name == "more-11"
    assert len(read) == 1
    assert frames[12].name == "Na+"
    assert len(read) == 1
    assert len(pickle.dumps(frames)) < 20_000  # places, not frames
    with pytest.raises(IndexError):
        frames[36]


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        (["water.xyz"], ["water"]),
        (["water.1.xyz", "ice.xyz"], ["water", "ice"]),
        (["water.1.xyz", "water.2.xyz", "ice.xyz"], ["water.1", "water.2", "ice"]),
        (["water.xyz", "water.1.xyz"], ["water", "water.1"]),
        (["a/frames.xyz", "b/frames.xyz", "b/others.xyz"], ["a/frames", "b/frames", "others"]),
        (["b/frames.xyz", "a/b/frames.xyz", "b/c/frames.xyz"], ["folder/b/frames", "a/b/frames", "c/frames"]),
        (["a/water.xyz", "a/water.traj"], ["water.xyz", "water.traj"]),
    ],
)
def test_frames_of_several_files_have_names_of_their_own(tmp_path, trajectory, files, labels):
    paths = [tmp_path / "folder" / name for name in files]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        ase.io.write(path, ase.io.read(trajectory, ":2"))
    frames = FrameSet.read(paths)
    assert [frame.name for frame in frames] == [f"{label}-{k}" for label in labels for k in range(2)]
    assert len(as_set(frames, "train")) == 2 * len(files)


def test_a_file_twice_is_refused(trajectory):
    with pytest.raises(ValueError, match=r"`paths` must be different files, got .*water.extxyz twice"):
        FrameSet.read([trajectory, trajectory.parent / "." / ".." / trajectory.parent.name / trajectory.name])


def test_frames_are_read_once_where_there_is_room(many):
    assert many[3] is many[3]
    assert many.subset([3])[0] is many[3]
    size = Memory().room - many._memory.room
    assert size > many[3].structure.positions.nbytes
    small, read = Memory(room=3 * size // 2), []
    for k in (0, 1, 0, 1):
        small.get(k, lambda k=k: (read.append(k), many[3])[1])
    assert read == [0, 1, 1]
    assert small.room == size // 2
    other = pickle.loads(pickle.dumps(many))
    assert other._memory.room == Memory().room
    assert other[3] is not many[3]
    torch.testing.assert_close(other[3].structure.positions, many[3].structure.positions, rtol=0, atol=0)


def test_hash_is_of_the_content(tmp_path, trajectory):
    frames = FrameSet.read(trajectory)
    turned = FrameSet.read(written(tmp_path / "b.xyz", ase.io.read(trajectory, "::-1")))
    assert frames.hash == turned.hash != frames.subset(range(11)).hash
    assert frames.hash != FrameSet.read(trajectory, units={"energy": "hartree"}).hash


def test_splits_are_disjoint_and_repeatable(many):
    parts = many.split([0.5, 0.3, 0.2], seed=4)
    names = [[frame.name for frame in part] for part in parts]
    assert [len(part) for part in parts] == [12, 6, 5]
    assert len(set(chain(*names))) == 23
    assert [[f.name for f in part] for part in many.split([0.5, 0.3, 0.2], seed=4)] == names
    assert [[f.name for f in part] for part in many.split([0.5, 0.3, 0.2], seed=5)] != names
    assert many.subset([0]).elements == ("H", "N")
    for fractions in ([0.9, 0.2], [0.99, 0.01], [-1.0]):
        with pytest.raises(ValueError, match="`fractions` must"):
            many.split(fractions)


def test_units_by_name():
    assert multiplier("kJ/mol/bohr", "forces") == pytest.approx(1 / 2625.4996, rel=1e-6)
    assert multiplier("GPa", "stress") == pytest.approx(1 / 29421.02, rel=1e-5)
    assert multiplier("e^2 angstrom^2/eV", "polarizability") == pytest.approx(14.399645 * units.angstrom**3, rel=1e-6)
    assert multiplier("e angstrom^l", "multipoles", 2) == pytest.approx(units.angstrom**2)
    for unit in ("eV", "eV*angstrom", "wombat", "eV/"):
        with pytest.raises(ValueError, match="`units` of forces must be like 'hartree/bohr'"):
            multiplier(unit, "forces")


# Loading


def epoch_names(batches):
    return [[frame.name for frame in batch.frames] for batch in batches]


def test_workers_make_the_same_batches(many):
    ours = list(loader(many, 4, [6.0], seed=3))
    theirs = list(loader(many, 4, [6.0], seed=3, workers=2))
    assert epoch_names(ours) == epoch_names(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.structure.positions, other.structure.positions)
        assert all(torch.equal(a, b) for a, b in zip(one.pairs[6.0], other.pairs[6.0], strict=True))
        for a, b in zip(one.frames, other.frames, strict=True):
            assert set(a.labels) == set(b.labels) == {"energy"}
            assert torch.equal(a.labels["energy"], b.labels["energy"])


def test_shuffling_goes_on_where_it_stopped(many):
    batches = loader(many, 4, seed=3)
    epochs = []
    for epoch in range(3):
        batches.batch_sampler.set_epoch(epoch)
        assert len(batches) == 6
        epochs.append(epoch_names(batches))
    assert epochs[0] != epochs[1] != epochs[2]
    again = loader(many, 4, seed=3)
    again.batch_sampler.set_epoch(2)
    assert epoch_names(again) == epochs[2]
    assert epoch_names(loader(many, 4, seed=4)) != epochs[0]
    assert list(chain(*epoch_names(loader(many, 5, shuffle=False)))) == [frame.name for frame in many]


@pytest.mark.parametrize("world_size", [2, 3, 4, 7, 22, 23])
@pytest.mark.parametrize("batch_size", [5, 2, 1])
def test_ranks_share_everything_out(many, world_size, batch_size):
    ranks = [Epochs(len(many), batch_size, seed=1, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(one) for one in ranks}) == 1
    assert all(0 < len(batch) <= max(2, batch_size) for one in ranks for batch in one)
    assert sorted(k for one in ranks for batch in one for k in batch) == list(range(23))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"rank": 2, "world_size": 2}, "`rank` must be from 0 to 1"),
        ({"world_size": 24}, "`world_size` must not exceed the number of frames, 23"),
        ({"workers": -1}, "`workers` must be at least 0"),
    ],
)
def test_loaders_that_cannot_be(many, settings, message):
    with pytest.raises(ValueError, match=message):
        loader(many, **{"batch_size": 4, **settings})
