"""The command line: results on stdout, and nothing heavy imported without need."""

import json
import os
import re
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write
from command import error, run
from named import known

import cgdft
from cgdft import Structure, citations
from cgdft.cli import main
from cgdft.functionals import Hardness, QEq, QEqDipoles, UniformField
from cgdft.units import eV, volt_per_angstrom

HEAVY = ("torch", "pyscf", "e3nn", "ase", "matplotlib")


# What a user sees.


def test_solve_prints_the_solution(capsys, water_file):
    code, out, err = run(capsys, "solve", water_file)
    assert (code, err) == (0, "")
    assert out == str(QEq()(Structure.from_ase(read(water_file)))) + "\n"
    assert "hartree" in out


def test_solve_json_is_in_atomic_units(capsys, water_file):
    code, out, _ = run(capsys, "solve", water_file, "--model", "qeq-dipoles", "--charge", "-1", "--json")
    assert code == 0
    solution = QEqDipoles()(Structure.from_ase(read(water_file), charge=-1.0))
    assert json.loads(out)["energy"] == pytest.approx(float(solution.energy[0]), rel=1e-12)
    assert json.loads(out)["total_charge"] == pytest.approx(-1.0)
    assert "atomic units" in json.loads(out)["units"]


def test_solve_field_is_in_volt_per_angstrom(capsys, water_file):
    _, out, _ = run(capsys, "solve", water_file, "--field", "0", "0", "-0.5", "--json")
    model = QEq() + UniformField([0.0, 0.0, -0.5 * volt_per_angstrom])
    assert json.loads(out)["charges"] == pytest.approx(model(Structure.from_ase(read(water_file))).charges.tolist())
    _, without, _ = run(capsys, "solve", water_file, "--json")
    assert json.loads(without)["charges"] != pytest.approx(json.loads(out)["charges"], abs=1e-3)


def test_solve_potential_is_grand_canonical(capsys, water_file):
    solution = QEq()(Structure.from_ase(read(water_file), charge=0.25))
    volts = float(solution.potentials["total"][0]) / eV
    _, out, _ = run(capsys, "solve", water_file, "--potential", volts, "--json")
    assert json.loads(out)["total_charge"] == pytest.approx(0.25)


def test_solve_several_structures(capsys, trajectory_file):
    _, out, err = run(capsys, "solve", trajectory_file, "--index", ":")
    assert err == ""
    assert [line.split()[1] for line in out.splitlines()[2:]] == ["H2O", "H3N", "CH4"]
    _, out, _ = run(capsys, "solve", trajectory_file, "--index", ":", "--json")
    listed = json.loads(out)
    energies = [float(QEq()(Structure.from_ase(atoms)).energy[0]) for atoms in read(trajectory_file, ":")]
    assert [one["energy"] for one in listed] == pytest.approx(energies)
    assert [float(line.split()[3]) for line in run(capsys, "solve", trajectory_file, "--index", ":")[1].splitlines()[2:]] == (
        pytest.approx(energies, abs=1e-8)
    )
    _, out, _ = run(capsys, "solve", trajectory_file, "--index", "0")
    assert "H2O" in out


def test_solve_output_is_what_ase_reads(capsys, trajectory_file, tmp_path):
    path = tmp_path / "charges.extxyz"
    code, _, _ = run(capsys, "solve", trajectory_file, "--index", ":2", "--model", "qeq-dipoles", "--output", path)
    assert code == 0
    back = read(path, ":")
    assert [atoms.get_chemical_formula() for atoms in back] == ["H2O", "H3N"]
    solution = QEqDipoles()(Structure.from_ase(molecule("H2O")))
    assert back[0].get_potential_energy() == pytest.approx(float(solution.energy[0]) / eV, rel=1e-7)
    np.testing.assert_allclose(back[0].get_charges(), solution.charges, atol=1e-7)
    np.testing.assert_allclose(back[0].get_forces(), solution.forces() * 51.4220675, atol=1e-6)
    np.testing.assert_allclose(back[0].arrays["dipoles"], solution.dipoles * 0.5291772, atol=1e-7)
    assert back[0].info["charge"] == pytest.approx(0.0, abs=1e-12)
    run(capsys, "solve", trajectory_file, "--output", path)
    assert len(read(path, ":")) == 1  # written anew, not added to


def test_solve_a_crystal_and_plot_it(capsys, tmp_path):
    write(tmp_path / "salt.cif", bulk("NaCl", "rocksalt", a=5.64))
    code, out, _ = run(capsys, "solve", tmp_path / "salt.cif", "--plot", tmp_path / "salt.png")
    assert code == 0
    assert "TTT" in out
    assert (tmp_path / "salt.png").stat().st_size > 5000


def test_solve_latent_charges_takes_those_of_the_file(capsys, tmp_path, water_file):
    atoms = molecule("H2O")
    atoms.set_initial_charges([-0.8, 0.4, 0.4])
    write(tmp_path / "charged.extxyz", [atoms, atoms])
    for index in ("0", ":"):
        code, _, _ = run(capsys, "solve", tmp_path / "charged.extxyz", "--model", "latent-charges", "--index", index)
        assert code == 0
    assert json.loads(run(capsys, "solve", tmp_path / "charged.extxyz", "--model", "latent-charges", "--json")[1])[
        "charges"
    ] == pytest.approx([-0.8, 0.4, 0.4])
    assert "initial charges" in error(capsys, "solve", water_file, "--model", "latent-charges")
    for file, charges in ((tmp_path / "charged.extxyz", [-0.8, 0.4, 0.4]), (water_file, [0.0, 0.0, 0.0])):
        out = run(capsys, "solve", file, "--model", "fluctuating-dipoles", "--index", "0", "--json")[1]
        assert json.loads(out)["charges"] == pytest.approx(charges)


MOLECULES = ("H2O", "NH3", "CH4", "NaCl")
ILLUSTRATED = [one for one in citations.models() if one.needs and one.needs != ("p0",)]


@pytest.mark.parametrize("record", ILLUSTRATED, ids=lambda one: one.name)
def test_solve_with_the_example_of_a_model(capsys, tmp_path, record):
    """A model without parameters for general use is that of its file's example, and one line says so."""
    example = import_module(record.module).example
    structures = known(record, [Structure.from_ase(molecule(name)) for name in MOLECULES])
    write(tmp_path / "some.extxyz", [one.to_ase() for one in structures])
    expected = [example(one)(one) for one in structures]
    code, out, err = run(capsys, "solve", tmp_path / "some.extxyz", "--index", "0", "--model", record.name)
    assert code == 0
    assert out.startswith(f"{expected[0].model.name} (example) on ")
    assert err == (
        f"cgdft: there are no parameters of {record.name} for general use; these are illustrative: "
        f"{example.__doc__.splitlines()[0]}\n"
    )
    code, out, again = run(capsys, "solve", tmp_path / "some.extxyz", "--index", ":", "--model", record.name)
    assert (code, again) == (0, err)
    assert out.startswith(f"{record.maker} (example) on {len(structures)} structures")
    energies = [float(one.energy.detach()) for one in expected]
    assert [float(line.split()[3]) for line in out.splitlines()[2:]] == pytest.approx(energies, abs=2e-8)


@pytest.mark.parametrize("record", [one for one in citations.models() if not one.needs], ids=lambda one: one.name)
def test_named_models_with_parameters_say_nothing(capsys, tmp_path, record):
    write(tmp_path / "one.xyz", known(record, [Structure.from_ase(molecule(name)) for name in MOLECULES])[0].to_ase())
    code, out, err = run(capsys, "solve", tmp_path / "one.xyz", "--model", record.name, "--json")
    assert code == 0
    assert ("other minima" in err) if record.name == "integer-charges" else err == ""
    assert "(example)" not in json.loads(out)["model"]


PROGRAM = """
import neighbour
from cgdft.functionals import QEq, Hardness

def model(structure):
    return QEq() + Hardness(structure.positions.new_full((structure.n_atoms,), neighbour.ETA))
"""


def test_solve_with_a_file(capsys, water_file, trajectory_file, tmp_path):
    (tmp_path / "variable.py").write_text("from cgdft.functionals import QEqDipoles\nmodel = QEqDipoles()\n")
    (tmp_path / "function.py").write_text(PROGRAM)
    (tmp_path / "neighbour.py").write_text("ETA = 0.1\n")
    code, out, err = run(capsys, "solve", water_file, "--model", tmp_path / "variable.py")
    assert (code, err) == (0, "")
    assert out == run(capsys, "solve", water_file, "--model", "qeq-dipoles")[1]
    model = QEq() + Hardness(0.1)
    energies = [float(model(Structure.from_ase(atoms)).energy) for atoms in read(trajectory_file, ":")]
    code, out, err = run(capsys, "solve", trajectory_file, "--index", ":", "--model", tmp_path / "function.py")
    assert (code, err) == (0, "")
    assert "function.py on 3 structures" in out
    assert [float(line.split()[3]) for line in out.splitlines()[2:]] == pytest.approx(energies, abs=2e-8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must define model"),
        ("model = 3", "must be a cgdft.Model or a function structure -> cgdft.Model, got int 3"),
        (
            "from cgdft.functionals import QEq as model",
            "got QEq, which does not take a structure alone; write model = QEq(",
        ),
        ("model = (", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import no_such_package", "ModuleNotFoundError"),
        ("def model(structure): return structure", "must return a cgdft.Model, got Structure"),
        ("def model(structure): raise KeyError('two\\nlines')", "model(structure) failed (KeyError"),
    ],
)
def test_a_bad_file_of_a_model_is_one_line(capsys, water_file, tmp_path, text, message):
    path = tmp_path / "bad.py"
    path.write_text(text)
    assert message in error(capsys, "solve", water_file, "--model", path)
    assert "bad.py" in error(capsys, "solve", water_file, "--model", path)
    assert "no file" in error(capsys, "solve", water_file, "--model", tmp_path / "missing.py")
    assert "no file" in error(capsys, "solve", water_file, "--model", ".py")


def test_models_lists_every_model_file(capsys):
    code, out, _ = run(capsys, "models")
    assert code == 0
    folder = citations.HERE.parent / "functionals" / "models"
    for path in folder.glob("[!_]*.py"):
        assert path.stem.replace("_", "-") in out
    assert "p0" in out


def test_models_can_be_made_and_their_sources_are_known():
    for record in citations.models():
        maker = getattr(sys.modules.get(record.module) or __import__(record.module, fromlist=["_"]), record.maker)
        assert record.keys
        assert "@" in citations.bibtex(record.keys)
        if not record.needs:
            assert set(maker().references) == set(record.keys)


def test_a_source_that_is_missing_is_named_with_its_file():
    with pytest.raises(ValueError, match=r"got 'nobody1900'.*references\.bib"):
        citations.bibtex(["nobody1900"])


def test_cite(capsys, tmp_path):
    _, out, _ = run(capsys, "cite")
    assert out.count("@") == 1
    assert f"version = {{{cgdft.__version__}}}" in out
    (tmp_path / "mine.py").write_text("from cgdft.functionals import QEq\nmodel = QEq()\n")
    _, out, _ = run(capsys, "cite", tmp_path / "mine.py")
    assert "@article{rappe1991" in out
    _, out, _ = run(capsys, "cite", "qeq-dipoles", "qeq", "pyscf2020", "--output", tmp_path / "a.bib")
    assert out == ""
    text = (tmp_path / "a.bib").read_text()
    for key in ("@software{cgdft,", "@article{rappe1991,", "@article{tessman1953,", "@article{pyscf2020,"):
        assert text.count(key) == 1
    assert text.count("{") == text.count("}")


def test_version_help_and_examples(capsys):
    assert run(capsys, "--version")[1] == f"cgdft {cgdft.__version__}\n"
    for arguments in ([], ["--help"], ["solve", "--help"], ["validate", "--help"], ["cite", "--help"]):
        code, out, _ = run(capsys, *arguments)
        assert code == 0
        assert "Examples" in out


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CGDFT_CACHE", str(tmp_path / "cache"))


QUICK = ["--method", "hf/sto-3g", "--threads", "1"]


def test_validate_files(capsys, water_file, tmp_path, cache):
    """Named models, those of a file and examples, on one molecule, by two definitions, as table, JSON and page."""
    (tmp_path / "mine.py").write_text("from cgdft.functionals import QEq\ndef model(structure): return QEq()\n")
    models = ["--model", "qeq", "--model", tmp_path / "mine.py", "--model", "sqe"]
    code, out, complaint = run(capsys, "validate", water_file, *models, *QUICK, "--html", tmp_path / "r.html")
    assert (code, complaint.count("\n")) == (0, 1)
    assert "of sqe for general use" in complaint
    assert "Reference: hf/sto-3g, Hirshfeld charges" in " ".join(out.split())
    assert "water" in (tmp_path / "r.html").read_text()
    again = json.loads(run(capsys, "validate", water_file, *models, *QUICK, "--json")[1])
    scores = again["molecules"]["water"]["models"]
    assert list(scores) == ["QEq", "QEq 2", "SQE (example)"]
    charges = [score["charges"] for score in scores.values()]
    assert charges[0] == charges[1] != charges[2]
    other = json.loads(run(capsys, "validate", water_file, "--model", "qeq", *QUICK, "--definition", "MBIS", "--json")[1])
    assert (again["definition"], other["definition"]) == ("Hirshfeld", "MBIS")
    assert set(other["molecules"]["water"]["reference"]["charges"]) == {"Hirshfeld", "MBIS"}


def test_validate_takes_charges_and_frames_of_files(capsys, trajectory_file, tmp_path, cache):
    charged = molecule("H2O")
    charged.set_initial_charges([-0.8, 0.4, 0.4])
    write(tmp_path / "water.extxyz", charged)
    found = json.loads(run(capsys, "validate", tmp_path / "water.extxyz", "--model", "latent-charges", *QUICK, "--json")[1])
    (score,) = found["molecules"]["water"]["models"].values()
    assert score["charges"] == pytest.approx([-0.8, 0.4, 0.4])
    some = json.loads(run(capsys, "validate", trajectory_file, "--index", ":2", "--model", "qeq", *QUICK, "--json")[1])
    assert list(some["molecules"]) == ["run 0", "run 1"]


def test_validate_refuses(capsys, water_file):
    assert "initial charges" in error(capsys, "validate", "--model", "latent-charges")
    assert "initial charges" in error(capsys, "validate", water_file, "--model", "latent-charges")
    assert "no file" in error(capsys, "validate", water_file, "--model", "none.py")
    assert "`--suite` or FILE must be left out" in error(capsys, "validate", water_file, "--suite", "small")
    assert "`definition` must be one of" in error(capsys, "validate", water_file, "--definition", "Mulliken")


# In a process of its own.


def process(*command, **environment):
    """Run with stdout and stderr as pipes: 80 columns, no colours."""
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    "arguments",
    [None, ["--help"], ["cite", "qeq"], ["solve", "--help"], "completion"],
    ids=["import", "help", "cite", "solve help", "completion"],
)
def test_nothing_heavy_is_imported(arguments):
    tail = f"\nprint('LOADED', [m for m in {HEAVY} if m in sys.modules])"
    environment = {}
    if arguments is None:
        code = "import sys, cgdft"
    elif arguments == "completion":
        environment = {"_CGDFT_COMPLETE": "complete_bash", "COMP_WORDS": "cgdft solve --model q", "COMP_CWORD": "3"}
        code = "import sys, cgdft.cli\ntry:\n    cgdft.cli.main([])\nexcept SystemExit:\n    pass"
    else:
        code = f"import sys, cgdft.cli\nassert cgdft.cli.main({arguments}) == 0"
    done = process("-c", code + tail, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"
    assert "\x1b" not in done.stdout
    if arguments == "completion":
        assert "qeq-dipoles" in done.stdout
        assert "latent" not in done.stdout


def test_a_pipe_gets_plain_text_and_an_exit_code(water_file, tmp_path):
    done = process("-m", "cgdft", "solve", water_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "charge (e)" in done.stdout
    (tmp_path / "empty.xyz").touch()
    done = process("-m", "cgdft", "solve", str(tmp_path / "empty.xyz"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cgdft: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.filterwarnings("default::UserWarning")
def test_warnings_are_lines(capsys, tmp_path):
    """One for surroundings that a trained model does not know, none beside an error that says more."""
    for atoms, code, told in (
        (Atoms("CO", [[0, 0, 0], [0, 0, 0.85]]), 0, "cgdft: atom 0 (C) is in surroundings that the model was not trained on"),
        (Atoms("AuH", [[0, 0, 0], [0, 0, 1.5]]), 2, "cgdft: `structure` must be of the elements H, C, N, O, F, Na, Si, Cl"),
    ):
        atoms.write(tmp_path / "a.xyz")
        assert main(["solve", str(tmp_path / "a.xyz"), "--model", "small-qeq"]) == code
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith(told)


@pytest.mark.parametrize("columns", [50, 80])
def test_nothing_is_cut_in_a_narrow_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["models"]) == 0
    assert main(["suites"]) == 0
    told = capsys.readouterr().out
    assert "…" not in told
    assert all(record.name in told for record in citations.models())
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in told.splitlines()) <= columns
    assert main(["validate", "--suite", "water", "--model", "qeq"]) == 0
    told = capsys.readouterr().out
    assert "…" not in told
    assert "dmu/dN" in told
    assert "a model that says" in " ".join(told.split())
