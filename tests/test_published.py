"""Published sets: what their files say is read with the right units, signs and orders; the report of a training is written."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from cgdft import Model, Multipoles, Structure
from cgdft.ansatz import Fixed
from cgdft.functionals import Hartree
from cgdft.units import angstrom, eV
from cgdft.validation.published import charged_dimers, dipeptides, field_fireann, water_ion_clusters
from cgdft.validation.published.__main__ import STORED, main
from cgdft.validation.published.field_fireann import POLARIZABILITY
from cgdft.validation.published.published_set import atoms_of
from cgdft.validation.published.reporting import SETS, markdown, page, table
from cgdft.validation.published.training import trained

SHARED = Path(__file__).parents[2] / "shared" / "data"
there = pytest.mark.skipif(not SHARED.is_dir(), reason="the published sets are not here")


def labelled(atoms, energy=-10.0, **more):
    rng = np.random.default_rng(len(atoms))
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=0.1 * rng.standard_normal((len(atoms), 3)), **more)
    return atoms


@pytest.fixture
def water(tmp_path):
    """Seven clusters: small neutral ones, and one of 27 atoms."""
    rng, frames = np.random.default_rng(0), []
    for n in (1, 1, 2, 2, 3, 3, 9):
        cluster = Atoms()
        for k in range(n):
            one = molecule("H2O")
            one.rotate(rng.uniform(0, 360), rng.standard_normal(3))
            one.translate([3.0 * (k % 3), 3.0 * (k // 3), 0.1 * rng.standard_normal()])
            cluster += one
        multipoles = 0.1 * rng.standard_normal((len(cluster), 9))
        multipoles[:, 0] -= multipoles[:, 0].mean()
        dipole = multipoles[:, 0] @ cluster.positions + multipoles[:, [3, 1, 2]].sum(0)
        cluster.arrays["aims_atom_multipoles"] = multipoles
        cluster.info["total_charge"] = 0
        frames.append(labelled(cluster, -10.0 * n, dipole=dipole))
    (tmp_path / "water_ion_clusters_aims").mkdir()
    write(tmp_path / "water_ion_clusters_aims" / "water100.extxyz.xz", frames, format="extxyz")
    return tmp_path


def dipole_of(frame):
    p, positions = frame.labels["multipoles"], frame.structure.positions
    return p[:, 0] @ positions + p[:, 1:4].sum(0)


def check_water(divided):
    for frame in [*divided.train, *divided.validation, *divided.test]:
        assert float(frame.labels["multipoles"][:, 0].sum()) == pytest.approx(float(frame.structure.charge[0]), abs=1e-6)
        assert torch.allclose(dipole_of(frame), frame.labels["dipole"], atol=1e-5)
    assert max(frame.structure.n_atoms for frame in divided.train) <= 25 < min(f.structure.n_atoms for f in divided.test)


def test_water_clusters(water):
    divided = water_ion_clusters.read(water / "water_ion_clusters_aims")
    assert [len(part) for part in (divided.train, divided.validation, divided.test)] == [5, 1, 1]
    check_water(divided)


def test_what_is_absent_is_left_out_and_the_rest_is_reported(water, tmp_path, capsys):
    output = tmp_path / "found"
    main([str(water), "--epochs", "2", "--architectures", "local", "qeq", "--output", str(output)])
    printed = capsys.readouterr().out
    assert "charged_dimers: left out, there is no CC_train.extxyz.xz" in printed
    assert "| qeq |" in printed
    results = json.loads(output.with_suffix(".json").read_text())
    assert list(results) == ["water_ion_clusters"]
    assert results["water_ion_clusters"]["qeq"][0]["errors"]["charges"] > 0
    assert "charges" not in results["water_ion_clusters"]["local"][0]["errors"]
    assert "data:image/png;base64" in output.with_suffix(".html").read_text()
    before = output.with_suffix(".json").read_text()
    main([str(water), "water_ion_clusters", "--epochs", "2", "--architectures", "qeq", "--output", str(output)])
    assert output.with_suffix(".json").read_text() == before  # seconds included: nothing was trained again
    seeds = ["--epochs", "2", "--architectures", "qeq", "--seeds", "0", "1"]
    main([str(water), "water_ion_clusters", *seeds, "--output", str(output)])
    first, second = json.loads(output.with_suffix(".json").read_text())["water_ion_clusters"]["qeq"]
    assert first == json.loads(before)["water_ion_clusters"]["qeq"][0]
    assert second["errors"]["energy"] != first["errors"]["energy"]
    assert " to " in table("water_ion_clusters", {"qeq": [first, second]})
    main([str(water), "water_ion_clusters", "--epochs", "1", "--architectures", "qeq", "--output", str(output)])
    assert len(json.loads(output.with_suffix(".json").read_text())["water_ion_clusters"]["qeq"]) == 1  # one budget in a table


def test_dimers(tmp_path):
    """Two ions in a cube of 30 angstrom; curves leave from the nearest frame and keep each molecule as it is."""
    for pair in charged_dimers.PAIRS:
        frames = []
        for distance in (4.0, 5.0, 6.0, 7.0, 12.0):
            atoms = molecule("H2O") + molecule("NH3")
            atoms.positions[3:] += [0, 0, distance]
            more = {"distance": distance, "inter_energy": -14.4 / distance, "energyA": -4.0, "energyB": -6.0, "indexB": 3}
            atoms.info = {"chargeA": 1.0, "chargeB": -1.0, **more}
            frames.append(labelled(atoms, -10 - 14.4 / distance))
        write(tmp_path / f"{pair}_train.extxyz.xz", frames[:4], format="extxyz")
        write(tmp_path / f"{pair}_test.extxyz.xz", frames[4:], format="extxyz")
    dimers = charged_dimers.read(tmp_path)
    assert [dimer.pair for dimer in dimers] == list(charged_dimers.PAIRS)
    for dimer in dimers:
        assert [len(part) for part in (dimer.train, dimer.validation, dimer.test)] == [3, 1, 1]
        assert all(float(frame.structure.charge[0]) == 0 and frame.structure.pbc.all() for frame in dimer.train)
        assert float(dimer.test[0].structure.cell[0, 0, 0]) == pytest.approx(30 * angstrom)
    curve = dimers[0].curve
    first, last = curve.structures[0].positions, curve.structures[len(curve.distances) - 1].positions
    assert torch.allclose(first[:3], last[:3])
    assert torch.allclose(torch.pdist(first[3:]), torch.pdist(last[3:]))
    assert curve.distances[-1] == pytest.approx(15)
    assert curve.apart == pytest.approx(-10 * eV)
    assert curve.known[-1] == (12.0, -1.2, False)


def test_dipeptides(tmp_path):
    """Quadrupoles without their trace, Born charges [atom, dipole, displacement]."""
    rng = np.random.default_rng(0)
    for name in dipeptides.FILES:
        atoms = molecule("CH3OH")
        born = rng.standard_normal((len(atoms), 3, 3))
        second = rng.standard_normal((3, 3))
        atoms.info = {"quadrupole": (second + second.T).flatten(), "charge": 0}
        atoms.arrays["mbis_charges"] = np.zeros(len(atoms))
        atoms.arrays["bec"] = born.transpose(0, 2, 1).reshape(-1, 9)
        write(tmp_path / name, [labelled(atoms, dipole=np.zeros(3))], format="extxyz")
    divided = dipeptides.read(tmp_path)
    found = divided.test[0].labels
    assert found["born_charges"].numpy() == pytest.approx(born, abs=1e-7)
    assert float(found["quadrupole"].trace()) == pytest.approx(0, abs=1e-7)
    assert found["multipoles"].shape == (6, 1)


def in_field(strength, e0=-100.0):
    """E0 - F.D0 - F.a.F/2 of a molecule that the field, written with the opposite sign, polarizes."""
    atoms, field = molecule("CH3OH"), np.array([strength, 0, 0])
    atoms.positions += 1e-3 * strength
    alpha, own = np.diag([0.3, 0.2, 0.1]), np.array([0.2, 0.1, 0.0])
    energy = e0 - field @ own - 0.5 * field @ alpha @ field
    atoms.info = {"field_raw": -field, "dipole_raw": own + alpha @ field, "pol_raw": -alpha.flatten()}
    return labelled(atoms, energy)


def test_fields_are_taken_out(tmp_path):
    write(tmp_path / field_fireann.FILES[0], [in_field(0.002 * k) for k in range(1, 13)], format="extxyz")
    write(tmp_path / field_fireann.FILES[1], [in_field(0.1 * k) for k in range(1, 4)], format="extxyz")
    divided = field_fireann.read(tmp_path)
    assert (len(divided.train), len(divided.test)) == (10, 2)
    energies = [float(frame.labels["energy"]) / eV for frame in divided.train]
    assert energies == pytest.approx([-100.0] * 10, abs=1e-4)
    for frame in divided.train:
        assert frame.labels["dipole"].numpy() / angstrom == pytest.approx([0.2, 0.1, 0.0], abs=1e-5)
        alpha = frame.labels["polarizability"].diagonal().numpy() / angstrom**3
        assert alpha == pytest.approx(np.array([0.3, 0.2, 0.1]) * POLARIZABILITY, rel=1e-5)
    assert divided.works.numpy() / eV == pytest.approx([-0.046, -0.0735], abs=1e-4)


@there
def test_the_sets_themselves():
    """Water's charges add up to the total charge and to the dipole; Born charges of molecules to nothing; E0 to one number."""
    check_water(water_ion_clusters.read(SHARED / SETS["water_ion_clusters"].folder))
    tested = dipeptides.read(SHARED / SETS["dipeptides"].folder).test
    assert len(tested) == 50
    assert max(float(frame.labels["born_charges"].sum(0).abs().max()) for frame in tested) < 0.02
    path = SHARED / SETS["field_fireann"].folder
    places = [
        (np.round(atoms.positions, 4).tobytes(), atoms) for name in field_fireann.FILES for atoms in atoms_of(path / name)
    ]
    often = Counter(place for place, _ in places).most_common(1)[0][0]
    alone = [field_fireann.without_field(atoms)[0] for place, atoms in places if place == often]
    assert len(alone) == 14
    assert np.ptp(alone) < 1e-4


@there
@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_an_epoch_of_each(name):
    one = SETS[name]
    few = {"train": 4, "validation": 2, "test": 2, "fields": 2, "works": 2}
    part = one.parts(SHARED / one.folder)[0]
    small = type(part)(**{key: value[: few[key]] if key in few else value for key, value in vars(part).items()})
    row = trained(one, [small], "les", 1)
    assert row["failed"] == 0
    assert set(row["errors"]) <= set(one.columns)
    assert all(np.isfinite(value) for value in row["errors"].values())


@there
def test_the_ions_are_in_a_periodic_cube():
    """Energies of two ions alone with their images, -2.837 e^2 / L together, are what is left of the binding at a distance."""
    known = charged_dimers.read(SHARED / SETS["charged_dimers"].folder)[0].curve.known
    far = [(distance, energy) for distance, energy, _ in known if distance > 11]

    def left(edge):
        """Of energies, less those of two ions in a cube of this edge; two ions at that distance, along its diagonal."""
        place = [[0, 0, 0], [1, 1, 1]]
        cell = None if edge is None else edge * angstrom * torch.eye(3)
        found = []
        for distance, energy in far:
            positions = torch.tensor(place, dtype=torch.float64) * distance / 3**0.5 * angstrom
            pair = Structure(torch.tensor([7, 8]), positions, cell, edge is not None)
            ions = Model(Hartree(), Multipoles(width=1.0), Fixed(torch.tensor([1.0, -1.0])), constraints=[])
            found.append(energy - float(ions(pair).energy[0]) / eV)
        return np.ptp(found)

    assert left(30.0) < 0.5 * left(None)


def test_the_page_is_generated():
    """docs/published.md: `python -m cgdft.validation.published --stored > docs/published.md`."""
    results = json.loads(STORED.read_text())
    assert (Path(__file__).parents[1] / "docs" / "published.md").read_text() == markdown(results)
    assert "data:image/png;base64" in page(results)


def test_what_was_found():
    """Far dimers: without Coulomb's law nothing is felt beyond the cutoff."""
    dimers = json.loads(STORED.read_text())["charged_dimers"]
    curve = dimers["local"][0]["curves"]["CC"]
    flat = [e for d, e in zip(curve["distance"], curve["energy"], strict=True) if d > 13]
    assert max(flat) - min(flat) < 1e-3
