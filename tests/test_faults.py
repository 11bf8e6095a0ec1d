"""What goes wrong is told, and nothing of before is shown in its place."""

import copy
import errno
import json
import os

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import CalculatorSetupError, InputError
from ase.io import read, write

from cgdft import Structure
from cgdft.ase import CGDFT
from cgdft.cli import main
from cgdft.functionals import SQE, QEq, QEqDipoles
from cgdft.units import eV
from cgdft.validation.dft.cache import write_record
from cgdft.writing import write_whole


def water(**info):
    atoms = molecule("H2O")
    atoms.info.update(info)
    return atoms


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.set_positions(atoms.positions[[0, 2, 2]]),
        lambda atoms: atoms.info.update(charge="abc"),
        lambda atoms: atoms.info.update(charge=np.array([1.0, 2.0])),
        lambda atoms: atoms.set_atomic_numbers([2, 1, 1]),
    ],
)
def test_a_failed_solve_leaves_no_results_behind(change):
    """Of the atoms as they were: the error is raised every time, until the atoms are right again."""
    atoms = water()
    atoms.calc = CGDFT(QEq())
    before = atoms.get_potential_energy()
    start = atoms.copy()
    change(atoms)
    for _ in range(2):
        with pytest.raises(InputError):
            atoms.get_potential_energy()
        with pytest.raises(InputError):
            atoms.get_forces()
    atoms.set_atomic_numbers(start.numbers)
    atoms.set_positions(start.positions)
    atoms.info.clear()
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-12)


def test_settings_of_the_calculator_may_change():
    atoms = water()
    atoms.calc = CGDFT(QEq())
    neutral = atoms.get_potential_energy()
    assert set(atoms.calc.set(charge=1.0)) == {"charge"}
    assert atoms.get_charges().sum() == pytest.approx(1.0)
    atoms.calc.charge = None
    assert atoms.get_potential_energy() == pytest.approx(neutral, abs=1e-12)
    atoms.calc.potential = 0.5
    assert float(atoms.calc.get_property("energy", atoms)) != pytest.approx(neutral, abs=1e-3)
    assert float(atoms.calc.solution.potentials["total"][0]) == pytest.approx(0.5 * eV)
    atoms.calc.set(potential=None, model=QEqDipoles())
    assert np.abs(atoms.get_potential_energy() - neutral) > 1e-3
    with pytest.raises(CalculatorSetupError, match="`set` must be given some of model, charge, potential, spin, got chrage"):
        atoms.calc.set(chrage=1)
    with pytest.raises(CalculatorSetupError, match="`charge` must be a number, got 'a'"):
        CGDFT(QEq(), charge="a")
    with pytest.raises(CalculatorSetupError, match="`atoms` must be given"):
        CGDFT(QEq()).get_property("energy")


def test_nothing_is_zero_for_want_of_a_graph():
    solution = QEq()(Structure.from_ase(water()))
    with torch.inference_mode():
        for ask in (solution.forces, solution.virial, solution.polarizability, solution.fukui):
            with pytest.raises(RuntimeError, match="inference_mode"):
                ask()
    assert float(solution.forces().abs().max()) > 1e-3
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        solution.virial()


@pytest.mark.parametrize("asked", [False, True])
def test_a_solution_of_what_has_changed_is_refused(asked):
    """Energies of before and derivatives of now would be shown side by side."""
    structure = Structure.from_ase(water())
    solution = QEq()(structure)
    if asked:
        solution.forces()
    structure.positions[0, 0] += 0.3
    for ask in (solution.forces, solution.virial, lambda: copy.deepcopy(solution)):
        with pytest.raises(RuntimeError, match="changed in place since it was solved"):
            ask()
    assert float(QEq()(structure).forces().abs().max()) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"charge": 100.0}, "`charge` must be one that 10 protons and their electrons can have, got 100 in structure 0"),
        ({"spin": -2.0}, "`spin` must be one that 10 protons and their electrons can have, got -2"),
        ({"spin": 11.0}, "`spin` must be"),
    ],
)
def test_impossible_states(arguments, message):
    with pytest.raises(ValueError, match=message):
        Structure.from_ase(water(), **arguments)


def test_the_total_charge_of_a_file_goes_by_either_name():
    assert float(Structure.from_ase(water(total_charge=-1)).charge) == -1.0
    with pytest.raises(ValueError, match=r"`charge` must be one number, got atoms.info\['charge'\] = 1, atoms.info\['total_"):
        Structure.from_ase(water(charge=1, total_charge=-1))


def test_a_charge_that_cannot_change_is_held_at_no_potential():
    with pytest.raises(
        ValueError, match="`potential` must be of a charge that the ansatz can change, got total of SplitCharges"
    ):
        SQE(0.3).at_potential(0.1)(Structure.from_ase(Atoms("OH2", [[0, 0, 0], [0, 0, 0.96], [0.93, 0, -0.24]])))


def test_no_potential_is_not_a_fixed_charge():
    with pytest.raises(TypeError, match="`potential` must be a number in hartree / e, got None: leave at_potential out"):
        QEq().at_potential(None)


@pytest.fixture
def frames(tmp_path):
    """Four of them, of which the third has two atoms in one place."""
    broken = Atoms("HH", [[0, 0, 0], [0, 0, 1e-7]])
    path = tmp_path / "frames.extxyz"
    write(path, [molecule("H2O"), molecule("NH3"), broken, molecule("CH4")])
    return path


def test_one_bad_frame_of_many(frames, tmp_path, capsys):
    """It is named by its place in the file; the others are solved, printed and written."""
    told = f"structure 2 of {frames} (H2): `positions` must be distinct"
    assert main(["solve", str(frames), "--index", ":"]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert "1 of 4 structures failed" in captured.err
    assert [line.split()[:2] for line in captured.out.splitlines()[2:]] == [["0", "H2O"], ["1", "H3N"], ["3", "CH4"]]
    assert main(["solve", str(frames), "--index", "1:"]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert [line.split()[:2] for line in captured.out.splitlines()[2:]] == [["1", "H3N"], ["3", "CH4"]]
    assert main(["solve", str(frames), "--index", ":", "--json"]) == 2
    listed = json.loads(capsys.readouterr().out)
    assert [(one["index"], "error" in one) for one in listed] == [(0, False), (1, False), (2, True), (3, False)]
    assert main(["solve", str(frames), "--index", ":", "--output", str(tmp_path / "out.xyz")]) == 2
    assert len(read(tmp_path / "out.xyz", ":")) == 3


def test_what_is_read_is_not_written_over(frames, capsys):
    before = frames.read_bytes()
    assert main(["solve", str(frames), "--output", str(frames)]) == 2
    assert "`--output` must be another file" in capsys.readouterr().err
    assert frames.read_bytes() == before
    results = frames.with_name("results.h5")
    results.write_bytes(b"results")
    numbers, old = frames.with_name("a.json"), frames.with_name("a.bib")
    numbers.write_text("another's"), old.write_text("@book{}")
    for arguments, told in (
        (["validate", "--suite", str(results), "--html", str(results)], "must end in .html"),
        (["validate", str(frames), "--html", str(numbers.with_suffix(".html"))], "without a file of JSON beside it"),
        (["reference", "small", "--output", str(frames)], "`--output` must end in .h5"),
        (["reference", str(results), "--output", str(results)], "must be another file than the one that is read"),
        (["cite", "qeq", "--output", str(old)], "must be a new file"),
    ):
        assert main(arguments) == 2
        assert told in capsys.readouterr().err
    assert (frames.read_bytes(), results.read_bytes(), old.read_text()) == (before, b"results", "@book{}")


def test_files_are_written_where_links_lead(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("before")
    link.symlink_to(target)
    write_whole(link, "after")
    assert link.is_symlink()
    assert target.read_text() == "after"
    with pytest.raises(OSError, match="must be a file or a new name, got a folder or a device"):
        write_whole(tmp_path, "nothing")


@pytest.mark.parametrize("name", ["water.png", "water.svg", "water.cube"])
def test_pictures_are_there_whole_or_not_at_all(tmp_path, monkeypatch, name):
    solution, path = QEq()(Structure.from_ase(water())), tmp_path / name
    save = solution.density.write_cube if name.endswith(".cube") else solution.plot
    path.write_text("before")

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=rf"{name} cannot be written \(No space left on device\); what was there before is"):
            save(path)
    assert path.read_text() == "before"
    save(path)
    assert path.stat().st_size > 5000
    assert list(tmp_path.iterdir()) == [path]


WRONG_TERM = """
import cgdft
from cgdft.functionals import QEq

@cgdft.term(local=True)
def quartic(rho, k):
    return rho.total(kk * rho.charges**4)

model = QEq() + quartic(k=1.0)
"""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (WRONG_TERM, "its energy failed (NameError: name 'kk' is not defined, line 7)"),
        (WRONG_TERM.replace("kk", "k[:2]"), "match the size of tensor b (3) at non-singleton dimension 0, line 7)"),
        ("import sys\ndef model(structure):\n    sys.exit(3)\n", "model(structure) failed (SystemExit: 3, line 3)"),
    ],
)
def test_mistakes_in_a_users_file_have_its_line(code, message, tmp_path, water_file, capsys):
    (tmp_path / "mine.py").write_text(code)
    assert main(["solve", water_file, "--model", str(tmp_path / "mine.py")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--spin", "2"], "`--spin` must be left out, got 2: QEq has no spin"),
        (["--model", "sqe", "--potential", "0.2"], "`potential` must be of a charge that the ansatz can change"),
    ],
)
def test_states_that_would_be_ignored(arguments, message, water_file, capsys):
    assert main(["solve", water_file, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_what_is_wrong_for_all_frames_is_told_once(trajectory_file, capsys):
    assert main(["solve", trajectory_file, "--index", ":", "--spin", "2"]) == 2
    assert capsys.readouterr().err == "cgdft: `--spin` must be left out, got 2: QEq has no spin\n"


def test_charges_that_are_not_those_asked_for_are_told(tmp_path, water_file, capsys):
    assert main(["solve", water_file, "--model", "les", "--charge", "2"]) == 0
    assert "in place of 2 e: it does not know the total charge" in capsys.readouterr().err
    write(tmp_path / "salt.xyz", bulk("NaCl", "rocksalt", 5.64, cubic=True))
    assert main(["solve", str(tmp_path / "salt.xyz"), "--charge", "1"]) == 0
    assert "neutralised by a uniform background" in capsys.readouterr().err


def test_nothing_compared_is_no_success(tmp_path, water_file, capsys):
    assert main(["validate", water_file, "--method", "nonsense", "--threads", "1"]) == 2
    assert "nothing could be compared" in capsys.readouterr().err
    (tmp_path / "none.py").write_text("suite = [(atoms, 0, 0, None, None)]\n")
    assert main(["reference", str(tmp_path / "none.py")]) == 2
    assert "NameError: name 'atoms' is not defined, line 1" in capsys.readouterr().err


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    """HDF5 itself would end the process."""

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"x.h5 cannot be written \(No space left on device\); .*make room"):
        write_record(tmp_path / "x.h5", {"array": np.ones(1000)})
    assert not list(tmp_path.iterdir())
