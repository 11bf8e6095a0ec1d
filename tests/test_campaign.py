"""Campaigns of reference calculations: what is killed is not lost, what fails is told, what is damaged is noticed."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read
from scipy.linalg import sqrtm

from cgdft.cli import main
from cgdft.units import angstrom, eV
from cgdft.validation import Point, Results, campaign, suites
from cgdft.validation.campaigns.drawn import drawn
from cgdft.validation.campaigns.export import write_extxyz
from cgdft.validation.campaigns.point import named
from cgdft.validation.campaigns.results import cost, gather
from cgdft.validation.campaigns.thermal import thermal
from cgdft.validation.campaigns.workers import on_processes
from cgdft.validation.dft.cache import CorruptCache

TEN = """
from ase import Atoms
suite = [(Atoms("HH", [[0, 0, 0], [0, 0, 0.6 + 0.05 * k]]), 0, 0, None, "pbe/6-31g") for k in range(10)]
"""


@pytest.fixture
def ten(tmp_path):
    path = tmp_path / "ten.py"
    path.write_text(TEN)
    return path


def command(ten, cache, output):
    environment = os.environ | {"CGDFT_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    arguments = [sys.executable, "-m", "cgdft", "reference", str(ten), "--workers", "2", "--output", str(output)]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(cache):
    return {path: path.stat().st_mtime_ns for path in cache.glob("*.h5")}


def wait_for(count, cache, process):
    for _ in range(1200):
        if len(finished(cache)) >= count:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail("nothing was finished in a minute")


def test_killed_driver_and_killed_worker(ten, tmp_path):
    """SIGKILL of the driver: its workers end too; started again, a worker is killed: it is replaced, nothing is done twice."""
    cache, output = tmp_path / "cache", tmp_path / "ten.h5"
    cache.mkdir()
    first = command(ten, cache, output)
    wait_for(2, cache, first)
    children = psutil.Process(first.pid).children(recursive=True)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    kept = finished(cache)
    assert 2 <= len(kept) < 10
    assert not output.exists()

    second = command(ten, cache, output)
    wait_for(len(kept) + 1, cache, second)
    for child in psutil.Process(second.pid).children(recursive=True):
        if "spawn_main" in " ".join(child.cmdline()):
            child.send_signal(signal.SIGKILL)
            break
    printed, complaints = second.communicate(timeout=120)
    assert second.returncode == 0, complaints
    assert "10 of 10 calculations" in printed
    assert {path: when for path, when in finished(cache).items() if path in kept} == kept
    results = Results.load(output)
    assert len(results.references) == 10
    energies = [one.energy for one in results.references.values()]
    assert min(energies) < -1.1
    assert len(set(energies)) == 10


def test_results_failures_and_export(tmp_path):
    """In the suite's order, with the reasons of failures, which are kept until a retry; and in other programs' units."""
    suite = [
        Point(molecule("H2O"), 0, 0, None, "pbe/sto-3g", "water"),
        (Atoms("OH", [[0, 0, 0], [0, 0, 1]]), 0),
        (Atoms("Cm"), 0, 0, None, "pbe/sto-3g"),
        Point(Atoms("HH", [[0, 0, 0], [0, 0, 0.74]]), 0, 0, (0.0, 0.0, 0.01), "pbe/sto-3g"),
    ]
    path = tmp_path / "mixed.h5"
    results = campaign(suite, path, workers=1, cache=tmp_path / "cache", progress=False)
    assert list(results.references) == ["water", "H2"]
    assert set(results.failed) == {"HO", "Cm"}
    assert "`spin` must be given" in results.failed["HO"]
    assert "no basis" in results.failed["Cm"]
    loaded = Results.load(path)
    assert loaded.failed == results.failed
    np.testing.assert_array_equal(loaded.references["water"].multipoles, results.references["water"].multipoles)
    assert list(tmp_path.glob("cache/*.failed.json"))

    def never(*_):
        pytest.fail("what failed is not tried again by itself")

    again = gather(suite, never, tmp_path / "cache", retry=False, progress=False)
    assert again.failed == results.failed

    water, hydrogen = read(results.export(tmp_path / "mixed.extxyz"), index=":")
    reference = results.references["water"]
    assert water.get_potential_energy() == pytest.approx(reference.energy / eV)
    np.testing.assert_allclose(water.get_forces(), reference.forces / (eV / angstrom), atol=1e-7)
    np.testing.assert_allclose(water.arrays["Hirshfeld_charges"], reference.multipoles[:, 0], atol=1e-7)
    odd = dataclasses.replace(reference, moments={"Fit(width={'H': 0.6, 'O': 0.9})": reference.multipoles})
    write_extxyz({"water": odd}, tmp_path / "odd.extxyz")
    charges = read(tmp_path / "odd.extxyz").arrays["Fit(width=H0.6,O0.9)_charges"]
    np.testing.assert_allclose(charges, reference.multipoles[:, 0], atol=1e-7)
    np.testing.assert_allclose(hydrogen.info["field"], [0, 0, 0.01 / (eV / angstrom)], atol=1e-7)
    with pytest.raises(ValueError, match=r"`path` must end in .xyz"):
        results.export(tmp_path / "mixed.csv")


def test_failures_of_the_machine_are_not_kept(tmp_path, monkeypatch):
    """Nor does a campaign without any result take the place of an earlier one's."""
    why = iter(["NotConverged: no", "OSError: no room", "MemoryError: ", "its result was lost"])

    def compute(requests, folder, **_):
        for name in requests:
            yield name, next(why)

    monkeypatch.setattr("cgdft.validation.campaigns.results.on_cluster", compute)
    point, path = Point(Atoms("He"), 0, 0, None, "pbe/sto-3g"), tmp_path / "one.h5"
    path.write_text("what was there")

    def again():
        found = campaign([point], path, cache=tmp_path, progress=False)
        assert path.read_text() == "what was there"
        return found.failed["He"]

    assert again() == again() == "NotConverged: no"
    (kept,) = tmp_path.glob("*.failed.json")
    for damaged in ("", "{}", "[1]", "{"):
        kept.write_text(damaged)
        if damaged == "":
            assert again() == "OSError: no room"
            assert again() == "MemoryError: "
            assert again() == "its result was lost"
            why = iter(["OSError: no room"] * 3)
        else:
            assert again() == "OSError: no room"


@pytest.mark.parametrize("damage", ["truncated", "edited", "other", "half"])
def test_damaged_results_are_noticed(tmp_path, damage):
    import h5py

    point = Point(Atoms("He"), 0, 0, None, "pbe/sto-3g", polarizability=False)
    path = tmp_path / "one.h5"
    computed = gather([point], lambda requests, folder: on_processes(requests, folder, workers=1), tmp_path, progress=False)
    computed.save(path)
    assert list(Results.load(path).references) == ["He"]
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-2000])
    elif damage == "edited":
        with h5py.File(path, "r+") as file:
            file["0000/forces"][0, 0] += 0.1
    elif damage == "half":
        with h5py.File(path, "r+") as file:
            del file["0000"]
    else:
        path.write_text("nothing of ours")
    with pytest.raises(CorruptCache, match="must be "):
        Results.load(path)
    with pytest.raises(FileNotFoundError):
        Results.load(tmp_path / "none.h5")


@pytest.mark.parametrize(
    ("suite", "error", "message"),
    [
        ([], ValueError, "`suite` must hold at least one"),
        ([molecule("H2O")], TypeError, "`suite` must hold .structure, charge"),
        ([Point(Atoms("He"), name="a"), Point(Atoms("Ne"), name="a")], ValueError, "different names, got 'a' twice"),
    ],
)
def test_bad_suites_are_named(suite, error, message, tmp_path):
    with pytest.raises(error, match=message):
        campaign(suite, tmp_path / "x.h5", progress=False)
    with pytest.raises(ValueError, match="`output` must be in a folder"):
        campaign([Point(Atoms("He"))], tmp_path / "none" / "x.h5")
    with pytest.raises(ValueError, match="`workers` must be at least 1"):
        campaign([Point(Atoms("He"))], tmp_path / "x.h5", workers=0)


def test_thermal_is_as_wide_as_said_on_any_machine():
    pairs = thermal(Atoms("HF", [[0, 0, 0], [0, 0, 0.92]]), 0.1, 4000, 1)
    apart = np.array([pair.positions[1] - pair.positions[0] - [0, 0, 0.92] for pair in pairs])
    np.testing.assert_allclose(apart.std(0), 0.1, rtol=0.05)
    # modes of equal width, between which eigenvectors are arbitrary: methane's, by another way to the same root
    methane = molecule("CH4")
    bonds = np.zeros((5, 5))
    bonds[0, 1:] = bonds[1:, 0] = 1
    root = sqrtm(np.linalg.pinv(np.diag(bonds.sum(0)) - bonds)).real
    expected = methane.positions + 0.1 * root @ np.random.default_rng(3).standard_normal((5, 3))
    np.testing.assert_allclose(thermal(methane, 0.1, 1, 3)[0].positions, expected, atol=1e-6)


def test_drawn_structures_are_those_of_the_results(tmp_path):
    shutil.copy(suites.stored("squeezed"), tmp_path / "mine.h5")
    name = suites.load("squeezed")[0].name
    other = molecule("H2")
    assert drawn(str(tmp_path / "nothing.py"), [Point(other, name=name)])[0].atoms is other
    found = drawn(str(tmp_path / "mine.py"), [Point(other, name=name), Point(other, name="not there")])
    np.testing.assert_allclose(found[0].atoms.positions, suites.load("squeezed")[0].atoms.positions)
    assert found[1].atoms is other
    with pytest.raises(ValueError, match="must have the atoms of their results in mine.h5, got others in 'H2 at"):
        drawn(str(tmp_path / "mine.py"), [Point(molecule("HF"), name=name)])


def test_suite_files(capsys, tmp_path):
    """A user's file without a suite, and a name that is none, are one line on the terminal."""
    path = tmp_path / "mine.py"
    path.write_text("points = []")
    assert main(["reference", str(path)]) == 2
    assert "must be a Python file with a list named suite" in capsys.readouterr().err
    assert main(["reference", "nonsense"]) == 2
    assert "`suite` must be one of carbon" in capsys.readouterr().err
    assert main(["suites"]) == 0
    assert "dissociation" in capsys.readouterr().out


@pytest.mark.parametrize("name", suites.names())
def test_shipped_suites(name):
    """Every suite says what it holds and makes valid requests; what is stored is what the suite asks for, and intact."""
    points = named(suites.load(name))
    assert points
    assert suites.about(name)
    requests = {key: point.request() for key, point in points.items()}
    assert all(cost(one) > 0 for one in requests.values())
    if (path := suites.stored(name)) is None:
        assert name == "small"  # computed when asked for
        return
    results = Results.load(path)
    assert list(results.references) == [key for key in points if key not in results.failed]
    for key, reference in results.references.items():
        np.testing.assert_allclose(reference.positions, requests[key].positions, atol=1e-9)
        assert (reference.charge, reference.spin, reference.method) == (
            requests[key].charge,
            requests[key].spin,
            requests[key].method,
        )
        assert list(reference.moments) == [one.name for one in requests[key].definitions]
        assert reference.provenance["pyscf"]
    assert path.stat().st_size < 7e6


def test_processes_do_not_import_what_lies_around(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queue.py").write_text("raise SystemExit('of the folder')")
    point = Point(Atoms("He"), 0, 0, None, "pbe/sto-3g", polarizability=False)
    found = gather([point], lambda requests, folder: on_processes(requests, folder, workers=1), tmp_path, progress=False)
    assert list(found.references) == ["He"], found.failed
