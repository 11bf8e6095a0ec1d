"""Runs of `validate` over many molecules: they go on, are refused before they start, and keep what is finished."""

import os
import signal
import subprocess
import sys
import time

import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read

from cgdft.functionals import QEq
from cgdft.validation import Reference, cached, compare, demo_models, reference, validate
from cgdft.validation.campaigns.point import Point, named
from cgdft.validation.campaigns.results import campaign
from cgdft.validation.suites import load

QUICK = "hf/sto-3g"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("references")


@pytest.fixture(scope="module")
def water(folder):
    return reference(molecule("H2O"), threads=1, cache=folder)


def test_suite():
    points = named(load("small"))
    assert len(points) == 6
    dimer = points["(H2O)2"].atoms
    assert dimer.get_chemical_formula() == "H4O2"
    assert 2.85 < dimer.get_distance(0, 3) < 2.98  # O-O in angstrom
    assert len(demo_models()) == 4
    with pytest.raises(ValueError, match="`suite` must be one of .*small.* got 'large'"):
        load("large")


def test_run_goes_on_after_a_broken_molecule(folder, water, tmp_path):
    structures = [
        ("no spin", Atoms("OH", [[0, 0, 0], [0, 0, 1]])),
        ("no basis", Atoms("Cm")),
        ("H2O", molecule("H2O")),
        ("radical", Atoms("H", info={"spin": 1})),
    ]
    made = []

    def model(ref):
        made.append(ref)
        return QEq()

    result = validate(structures, [model], cache=folder, html=tmp_path / "one.html", progress=False)
    assert list(result.references) == ["H2O", "radical"]
    assert set(result.failed) == {"no spin", "no basis"}
    assert "`spin` must be given" in result.failed["no spin"]
    assert "no basis 'def2-svp' for Cm" in result.failed["no basis"]
    assert "no spin has no reference: ValueError" in str(result)
    assert "no basis" in (tmp_path / "one.html").read_text(encoding="utf-8")
    assert len(made) == 2
    assert result.of_molecule("H2O")[0].charges_rms == compare(QEq(), water).scores[0].charges_rms
    again = validate(structures[:1], [QEq()], cache=folder)
    assert list(again.failed) == ["no spin"]
    assert "no spin" in str(again)
    assert again.to_dict()["molecules"] == {}


def test_dead_process_is_a_failed_molecule(folder, water, monkeypatch):
    from cgdft.validation.campaigns import workers

    monkeypatch.setattr(workers, "START", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    result = validate([("He", Atoms("He")), ("H2O", molecule("H2O"))], [QEq()], cache=folder)
    assert "ended with code -9" in result.failed["He"]
    assert list(result.references) == ["H2O"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"structures": []}, "`structures` must hold at least one"),
        ({"models": []}, "`models` must hold at least one"),
        ({"structures": [("a", Atoms("He")), ("a", Atoms("He"))]}, "`structures` must have different names, got a"),
        ({"threads": 0}, "`threads` must be at least 1"),
        ({"html": "/nowhere/report.html"}, "`html` must be in a folder that exists"),
    ],
)
def test_bad_run_is_refused_before_it_starts(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        validate(**{"structures": [("He", Atoms("He"))], "models": [QEq()], "cache": tmp_path} | change)
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
import sys
from ase import Atoms
from cgdft.functionals import QEq
from cgdft.validation import validate
structures = [(name, Atoms(name, [[0, 0, 0], [0, 0, d]])) for name, d in (("LiH", 1.6), ("HF", 0.9))]
result = validate(structures, [QEq()], "hf/sto-3g", cache=sys.argv[1], threads=1)
print(sorted(result.references))
"""  # no `if __name__ == "__main__"`: none is needed


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_run_keeps_what_is_finished(tmp_path, how):
    run = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    process = subprocess.Popen(run, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.h5")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(how)
    process.communicate()
    assert process.returncode != 0
    first, *_ = (path for path in tmp_path.glob("*.h5"))
    before = first.stat().st_mtime_ns, first.read_bytes()
    done = subprocess.run(run, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['HF', 'LiH']"
    assert (first.stat().st_mtime_ns, first.read_bytes()) == before
    files = sorted(tmp_path.glob("*.h5"))
    assert len(files) == 2
    for path in files:
        Reference.load(path)


def test_truncated_file_is_computed_again(tmp_path):
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    first = validate([("H2", atoms)], [QEq()], QUICK, cache=tmp_path)
    path = cached(atoms, QUICK, cache=tmp_path)
    path.write_bytes(path.read_bytes()[:-2000])
    again = validate([("H2", atoms)], [QEq()], QUICK, cache=tmp_path)
    assert again.failed == {}
    assert Reference.load(path).energy == pytest.approx(first.references["H2"].energy)


def test_doubts_reach_whoever_looks_at_results(folder, tmp_path):
    """H2 with its electrons in a pair, far beyond where they part."""
    far = Atoms("H2", [[0, 0, 0], [0, 0, 3.5]])
    with pytest.warns(UserWarning, match="^far: closed shells are not its lowest state"):
        validate([("far", far)], [QEq()], QUICK, html=tmp_path / "one.html", cache=folder, progress=False)
    assert "<b>the reference of far</b>: closed shells are not its lowest state" in (tmp_path / "one.html").read_text()
    with pytest.warns(UserWarning, match="^far: closed shells are not its lowest state"):
        results = campaign([Point(far, method=QUICK, name="far")], tmp_path / "one.h5", cache=folder, progress=False)
    assert "not its lowest state" in read(results.export(tmp_path / "one.extxyz")).info["doubts"]
