"""The command line: one line about an error on stderr, and its exit code."""

import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from command import error, run

from cgdft.cli import main
from cgdft.functionals import Hardness


def broken(tmp_path):
    water = molecule("H2O")
    nan = water.copy()
    nan.positions[1, 2] = np.nan
    files = {
        "empty.xyz": "",
        "garbage.xyz": "not a\nstructure\nat all\n",
        "garbage.dat": "\x00\x01\x02",
        "garbage.cif": "data_\nloop_\n_nothing\n",
        "short.xyz": "3\n\nO 0 0 0\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    write(tmp_path / "nan.extxyz", nan)
    write(tmp_path / "helium.xyz", Atoms("He"))
    write(tmp_path / "twice.xyz", Atoms("H2"))
    write(tmp_path / "flat.extxyz", Atoms("H2", [[0, 0, 0], [0, 0, 1]], cell=[[3, 0, 0], [3, 0, 0], [0, 0, 3]], pbc=True))
    write(tmp_path / "salt.extxyz", bulk("NaCl", "rocksalt", a=5.64))
    water.set_initial_charges([-1, 0, 0])
    water.info["charge"] = 1.0
    write(tmp_path / "two-charges.extxyz", water)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.xyz", "no file"),
        ("empty.xyz", "not readable"),
        ("garbage.xyz", "not readable"),
        ("garbage.dat", "not readable"),
        ("garbage.cif", "not readable"),
        ("short.xyz", "not readable"),
        (".", "is a folder"),
        ("nan.extxyz", "`positions` must be finite"),
        ("helium.xyz", "none for He"),
        ("twice.xyz", "must be distinct"),
        ("flat.extxyz", "singular cell"),
        ("two-charges.extxyz", "`charge` must be one number"),
    ],
)
def test_a_bad_file_is_one_line(capsys, tmp_path, name, message):
    broken(tmp_path)
    assert message in error(capsys, "solve", tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "qeqs"], "did you mean qeq?"),
        (["--model", "small-respons"], "small-qeq, small-response, got 'small-respons'; did you mean small-response?"),
        (["--charge", "1", "--potential", "2"], "--charge"),
        (["--charge", "much"], "--charge"),
        (["--charge", "nan"], "finite"),
        (["--field", "1", "2"], "--field"),
        (["--index", "7"], "must have a structure '7', got fewer"),
        (["--index", "5:"], "no structures"),
        (["--index", "x"], "index 'x'"),
        (["--output", "out.pdb"], ".extxyz"),
        (["--output", "no/such/folder/out.xyz"], "folder"),
        (["--plot", "out.gif"], ".png"),
        (["--colour"], "--colour"),
    ],
)
def test_a_bad_option_is_one_line(capsys, water_file, arguments, message):
    assert message in error(capsys, "solve", water_file, *arguments)


def test_other_bad_commands_are_one_line(capsys, tmp_path, trajectory_file):
    broken(tmp_path)
    assert "periodic axis" in error(capsys, "solve", tmp_path / "salt.extxyz", "--field", 0, 0, 1)
    assert "--index" in error(capsys, "solve", trajectory_file, "--index", ":", "--plot", tmp_path / "a.png")
    assert "solve" in error(capsys, "sole")
    assert "FILE" in error(capsys, "solve")
    assert "qeq" in error(capsys, "cite", "qe")
    assert "small" in error(capsys, "validate", "--suite", "large")
    assert "did you mean" in error(capsys, "validate", trajectory_file, "--model", "qek")


def test_a_solver_that_fails_tells_its_status(capsys, water_file, monkeypatch):
    import cgdft.functionals.models.qeq as qeq
    from cgdft import Model, Multipoles
    from cgdft.functionals import Hartree

    soft = Model(Hartree(self_interaction=False) + Hardness(0.01), Multipoles(width=1.0))
    monkeypatch.setattr(qeq, "QEq", lambda: soft)
    assert "no minimum" in error(capsys, "solve", water_file)


def test_debug_shows_the_error_itself(capsys, water_file):
    with pytest.raises(ValueError, match="did you mean"):
        main(["solve", water_file, "--model", "qe", "--debug"])
    with pytest.raises(ValueError, match="did you mean"):
        main(["--debug", "solve", water_file, "--model", "qe"])
    assert main(["--debug"]) == 0


def test_an_interrupt_is_one_line(capsys, water_file, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("cgdft.commands.solve.read", interrupt)
    assert run(capsys, "solve", water_file) == (130, "", "cgdft: interrupted\n")


def test_charges_that_no_atom_has_are_told(capsys, water_file):
    assert run(capsys, "solve", water_file, "--model", "qeq")[2] == ""
    assert "which no atom has" in run(capsys, "solve", water_file, "--model", "qeq", "--charge", "-1000")[2]
    assert "which no atom has" in run(capsys, "solve", water_file, "--model", "qeq", "--charge", "9")[2]


def test_what_solutions_leave_unsaid_is_told(capsys, tmp_path):
    """Minima that may not be the lowest, and energies of charged slabs that have no zero."""
    slab = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    write(tmp_path / "bulk.extxyz", slab)
    slab.pbc = (True, True, False)
    write(tmp_path / "slab.extxyz", slab)
    assert "not known to be convex" in run(capsys, "solve", tmp_path / "bulk.extxyz", "--model", "integer-charges")[2]
    for file, charge, told in (("slab", 1, "no zero at infinity"), ("slab", 0, ""), ("bulk", 1, "uniform background")):
        found = run(capsys, "solve", tmp_path / f"{file}.extxyz", "--model", "eeq", "--charge", charge)[2]
        assert told in found
        assert bool(told) == bool(found)


@pytest.mark.parametrize("command", ["models", "suites"])
def test_odd_interpreters(command):
    """Closed standard output; docstrings that are stripped."""
    for how in (f"{sys.executable} -m cgdft {command} >&-", f"{sys.executable} -OO -m cgdft {command}"):
        done = subprocess.run(how, shell=True, capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        refused = command == "models" and "-OO" in how
        assert done.returncode == (2 if refused else 0)
        assert ("run without -OO" in done.stderr) == refused


def test_a_cache_that_cannot_be_written_to_is_named_before_the_work(tmp_path, capsys, monkeypatch):
    """And not needed where all is stored."""
    write(tmp_path / "water.xyz", molecule("H2O"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CGDFT_CACHE", str(tmp_path / "file" / "cache"))
    said = error(capsys, "validate", str(tmp_path / "water.xyz"), "--model", "qeq")
    assert "`cache` must be a folder that can be written to" in said
    assert main(["validate", "--suite", "water", "--model", "qeq"]) == 0
