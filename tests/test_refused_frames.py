"""Sets of frames that mislead, and files that are none, are refused while they are read."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from springs import water, written

from cgdft.learning.data.sets import FrameSet
from cgdft.validation import suites
from cgdft.validation.dft.cache import CorruptCache

SUITES = Path(suites.__file__).parent


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("`keys` must be of .*, got one of 'enthalpy'", {"keys": {"enthalpy": "H"}}),
        ("`keys` of energy must be a name in the files, got 'E'; they have .*forces", {"keys": {"energy": "E"}}),
        ("`units` must be of .*, got one of 'mass'", {"units": {"mass": "kg"}}),
        ("`units` of energy must be like 'hartree', got 'bohr'", {"units": {"energy": "bohr"}}),
        ("`definition` must be of multipoles in the files, which have Test, got 'MBIS'", {"definition": "MBIS"}),
    ],
)
def test_settings_that_do_not_fit_the_files(trajectory, message, settings):
    with pytest.raises(ValueError, match=message):
        FrameSet.read(trajectory, **settings)


@pytest.mark.parametrize(
    ("message", "frames"),
    [
        ("`charge` must be stated by every frame.*frame a-1", [water(0, charge=1, spin=1), water(1)]),
        ("odd number of electrons.* in frame radical", [water(0), molecule("OH", info={"name": "radical"})]),
        (
            "`spin` must be stated for odd numbers of electrons in a set with charged frames, got none in frame a-0",
            [water(0, charge=1), water(1, charge=0)],
        ),
        ("frame a-0: `charge` must be one number", [water(0, charge=1, total_charge=-1)]),
        ("frame a-0: `energy` must be told once", [water(0, REF_energy=-1.0)]),
        ("frame a-0: `dipole` must be of shape", [molecule("H2O", info={"dipole": [1.0, 2.0]})]),
        ("frame a-0: `energy` must be finite, got nan", [molecule("H2O", info={"Energy": np.nan})]),
        ("frame a-0: `positions` must be distinct", [Atoms("H2", [[0, 0, 0], [0, 0, 0.001]])]),
    ],
)
def test_frames_that_mislead(tmp_path, message, frames):
    for atoms in frames:
        if "magmom" in str(atoms.arrays.keys()):
            del atoms.arrays["initial_magmoms"]
    path = written(tmp_path / "a.xyz", frames)
    with pytest.raises(ValueError, match=message):
        list(FrameSet.read(path))


def test_charges_may_be_stated_for_frames_without(tmp_path):
    radical = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    assert len(FrameSet.read(written(tmp_path / "radical.xyz", [water(1), radical]), charge=0)) == 2
    radical.info["spin"] = 1
    path = written(tmp_path / "a.xyz", [water(0, charge=1, spin=1), water(1), radical])
    frames = FrameSet.read(path, charge=0)
    assert [float(frame.structure.charge) for frame in frames] == [1, 0, 0]
    initial = molecule("OH")
    initial.set_initial_charges([-0.7, -0.3])
    assert float(FrameSet.read(written(tmp_path / "b.xyz", [initial]))[0].structure.charge) == -1
    assert len(FrameSet.read(written(tmp_path / "c.xyz", [bulk("Cu")]))) == 1  # metals may have odd cells


def test_quadrupoles_must_be_traceless(tmp_path):
    path = written(tmp_path / "a.xyz", [molecule("H2O", info={"Q": np.diag([1.0, 2.0, 3.0])})])
    with pytest.raises(ValueError, match=r"`quadrupole` must be traceless.*take \(3 Q - tr Q\)/2"):
        FrameSet.read(path, {"quadrupole": "Q"})[0]


def test_files_that_are_none(tmp_path, trajectory):
    cut = tmp_path / "cut.xyz"
    cut.write_text("\n".join(trajectory.read_text().splitlines()[:-1]))
    broken = tmp_path / "broken.h5"
    content = bytearray((SUITES / "ions.h5").read_bytes())
    content[len(content) // 2] ^= 4
    broken.write_bytes(content)
    (tmp_path / "notes.xyz").write_text("not a molecule\n")
    (tmp_path / "empty.xyz").write_text("")
    (tmp_path / "date.xyz").write_text("20230101120000\n")
    (tmp_path / "columns.xyz").write_text("1\nProperties=3\nH 0 0 0\n")
    ase.io.write(tmp_path / "whole.traj", Atoms("He"))
    (tmp_path / "cut.traj").write_bytes((tmp_path / "whole.traj").read_bytes()[:-200])
    for name, message in {
        "cut.xyz": "a frame of fewer than 3 atoms",
        "none.xyz": "`paths` must be files",
        "notes.xyz": "got 'not a molecule' for a number of atoms",
        "empty.xyz": "`paths` must hold at least one frame",
        "date.xyz": "a frame of fewer than 20230101120000 atoms",
        "columns.xyz": "columns.xyz must be whole, got frame 0 that cannot be read",
        "cut.traj": "cut.traj must be whole, got a file that ASE cannot read",
    }.items():
        with pytest.raises(ValueError, match=message):
            FrameSet.read(tmp_path / name)
    with pytest.raises(CorruptCache, match=r"must be an intact file of references, got .*broken.h5"):
        FrameSet.read(broken)
    with pytest.raises(ValueError, match="`paths` must be at least one file"):
        FrameSet.read([])


@pytest.mark.parametrize(("end", "told"), [(None, False), (-1, False), (-4, True)])
def test_a_last_number_that_may_have_been_cut_is_noted(end, told, tmp_path):
    for newline in ("\n", "\r\n"):
        whole = written(tmp_path / "whole.xyz", [water(0), water(0)]).read_text().replace("\n", newline)
        (tmp_path / "end.xyz").write_bytes(whole.removesuffix(newline).encode() if end else whole.encode())
        if end == -4:
            (tmp_path / "end.xyz").write_bytes((tmp_path / "end.xyz").read_bytes()[:end])
        notes = FrameSet.read(tmp_path / "end.xyz", charge=0).notes
        assert any("end.xyz may have been cut: its last line is shorter" in note for note in notes) == told


def test_a_charge_beside_other_initial_charges_is_refused(tmp_path):
    atoms = molecule("H2O")
    atoms.info["charge"] = 1.0
    atoms.set_initial_charges([0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="`charge` must be one number"):
        FrameSet.read(written(tmp_path / "two.extxyz", [atoms]))
