"""The benchmark: its structures, its independent reference, and a run of it without and with missing peers."""

import json
import sys

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from cgdft import Fixed, Model, Multipoles, Structure
from cgdft.functionals import Electronegativity, Hardness, Hartree
from cgdft.units import angstrom, eV
from cgdft.validation.speed import electrodes, fixed, qeq, reference, systems, table
from cgdft.validation.speed.__main__ import main, measure
from cgdft.validation.speed.peers import OURS, PEERS, Code, Limits, Row, run


def structure(system: systems.System) -> Structure:
    box = torch.diag(torch.tensor(system.box)) * angstrom
    return Structure(torch.tensor(system.numbers), torch.tensor(system.positions) * angstrom, box, system.pbc)


@pytest.mark.parametrize("n", [2, 4])
def test_salt(n):
    salt = systems.salt(n)
    assert len(salt) == 8 * n**3
    assert systems.salt_cells(len(salt)) == n
    assert np.isclose(salt.box, n * 5.64).all()
    assert (salt.numbers == 11).sum() == (salt.numbers == 17).sum() == len(salt) // 2
    assert fixed.charges(salt).sum() == 0
    assert (systems.salt(n).positions == salt.positions).all()
    near = cKDTree(salt.positions % salt.box, boxsize=salt.box).query(salt.positions % salt.box, 7)
    assert near[0][:, 1].min() > 1.9  # a point charge of `run_cgdft` has width 0.2
    assert abs(near[0][:, 1:].mean() - 2.82) < 0.03
    shells = near[1][:, 1:]
    assert (salt.numbers[shells] != salt.numbers[:, None]).mean() > 0.999
    ideal = np.round(salt.positions / 2.82) * 2.82
    assert abs((salt.positions - ideal).std() - 0.1) < 0.01


def test_salt_sizes():
    assert [systems.salt_cells(atoms) for atoms in (64, 512, 4096, 32768, 110592, 1_000_000)] == [2, 4, 8, 16, 24, 50]
    for wrong in (0, 100, -64):
        with pytest.raises(ValueError, match="`atoms` must be 8 n\\^3"):
            systems.salt_cells(wrong)
    with pytest.raises(ValueError, match="`n` must be at least 1"):
        systems.salt(0)


def test_water():
    water = systems.water(5)
    assert len(water) == 375
    assert (water.numbers.reshape(-1, 3) == [8, 1, 1]).all()
    molecules = water.positions.reshape(-1, 3, 3)
    bonds = molecules[:, 1:] - molecules[:, :1]
    lengths = np.linalg.norm(bonds, axis=2)
    assert np.allclose(lengths, 0.9572)
    cosine = (bonds[:, 0] * bonds[:, 1]).sum(1) / lengths.prod(1)
    assert np.allclose(cosine, np.cos(np.radians(104.52)))
    assert abs(np.einsum("nab->b", bonds) / len(bonds)).max() < 0.2  # turned at random
    assert abs(125 / water.box.prod() - 0.0334) < 5e-4
    near = cKDTree(water.positions % water.box, boxsize=water.box).query(water.positions % water.box, 2)[0][:, 1]
    assert near.min() > 0.6


@pytest.mark.parametrize("make", [systems.wide_slab, systems.thick_slab])
def test_slab(make):
    small, large = make(2), make(4)
    for slab in (small, large):
        assert slab.pbc == (True, True, False)
        metal = slab.positions[slab.numbers == 79]
        water = slab.positions[slab.numbers != 79]
        assert metal[:, 2].max() < water[:, 2].min()
        assert slab.positions[:, 2].max() < slab.box[2] - 8  # vacuum
        assert slab.positions[:, 2].min() > -1
        assert (slab.numbers == 1).sum() == 2 * (slab.numbers == 8).sum()
        assert cKDTree(slab.positions).query(slab.positions, 2)[0][:, 1].min() > 0.6
    assert len(large) > 1.8 * len(small)
    assert (large.box[2] > small.box[2]) == (make is systems.thick_slab)
    assert (large.box[0] > small.box[0]) == (make is systems.wide_slab)


def test_nearest():
    assert len(systems.nearest(systems.water, 600)) == 648
    for atoms in (66, 1000, 100_000):
        assert abs(np.log(len(systems.nearest(systems.wide_slab, atoms)) / atoms)) < 0.4


def test_reference_is_the_answer():
    """The nonuniform FFT and cgdft's dense Ewald sum, two methods with nothing in common."""
    salt = systems.salt(2)
    model = Model(
        Hartree()
        + Electronegativity(torch.tensor(qeq.per_atom(qeq.CHI, salt)) * eV)
        + Hardness(torch.tensor(qeq.per_atom(qeq.HARDNESS, salt)) * eV),
        basis=Multipoles(width=qeq.SIGMA * angstrom),
    )
    solution, exact = model(structure(salt)), reference.solve(salt)
    assert np.abs(solution.charges.numpy() - exact.charges).max() < 1e-9
    assert np.abs(exact.charges).max() > 0.3
    assert np.abs(solution.forces().numpy() * angstrom / eV - exact.forces).max() < 1e-9
    charges = fixed.charges(salt)
    points = Model(
        Hartree(self_interaction=False),
        basis=Multipoles(width=0.2 * angstrom),
        ansatz=Fixed(torch.tensor(charges)),
    )
    for width in (1.0, 0.8):
        forces = reference.fixed_charges(salt, width).forces
        assert np.abs(points(structure(salt)).forces().numpy() * angstrom / eV - forces).max() < 1e-8


def test_reference_refuses_slabs():
    with pytest.raises(ValueError, match="`system` must be periodic along all axes"):
        reference.solve(systems.wide_slab(2))
    with pytest.raises(ValueError, match="`system` must hold Na and Cl only"):
        fixed.charges(systems.water(2))


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    main(["--sizes", "64", "--peers", "none", "--output", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out/speed.json").read_text())
    assert report["threads"] == 1
    assert [(row["test"], row["system"]) for row in report["rows"]] == [
        ("qeq", "salt"),
        ("fixed", "salt"),
        ("qeq", "water"),
        ("qeq", "wide slab"),
        ("qeq", "thick slab"),
    ]
    for row in report["rows"]:
        assert row["skipped"] == ""
        assert 0 < row["cpu_s"] < 60
        assert row["wall_s"] > 0
        assert row["memory_mb"] >= 0
        assert row["repeats"] > 0
        assert row["ratio"] == 1
        assert row["settings"]
        assert (row["iterations"] is not None) == (row["test"] == "qeq")
    assert report["rows"][0]["charge_error"] < 1e-7
    assert report["rows"][0]["force_error"] < 1e-5
    assert report["rows"][1]["force_error"] < fixed.ACCURACY
    assert {"test", "code", "exponent"} == set(report["exponents"][0])
    assert (tmp_path / "out/speed.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "Charge equilibration" in printed
    assert "thick slab" in printed


def test_peers_that_are_not_there_are_skipped_with_the_reason():
    salt = systems.salt(2)
    missing = Code("missing", "run_missing", ("qeq",))
    for code, python, reason in (
        (missing, sys.executable, "not installed"),
        (PEERS[0], "/nowhere/python", "`python` must be an interpreter"),
        (PEERS[0], "false", "failed"),
    ):
        row = run(code, "qeq", salt, Limits(), python)
        assert reason in row.skipped
        assert row.cpu_s is None
    assert "no answer within" in run(OURS, "qeq", salt, Limits(seconds=0.01)).skipped


def test_a_code_that_failed_is_not_tried_on_larger_systems():
    missing = Code("missing", "run_missing", ("qeq",))
    rows = list(measure([512, 64], [missing], Limits(), tests=["qeq"], families=[]))
    assert [row.atoms for row in rows] == [64, 512]
    assert "not installed" in rows[0].skipped
    assert rows[1].skipped == "not tried, see 64 atoms"


def test_exponents_and_ratios():
    rows = [
        Row("qeq", "salt", n, code, cpu_s=c * n**b)
        for code, c, b in (("cgdft", 1e-5, 1.0), ("lammps", 1e-6, 1.4))
        for n in (64, 4096, 32768, 110592)
    ]
    assert table.exponent(rows, "qeq", "lammps") == pytest.approx(1.4)
    assert table.exponent(rows[:2], "qeq", "cgdft") is None
    assert table.ratio(rows, rows[-1]) == pytest.approx(0.1 * 110592**0.4)
    assert table.ratio(rows[4:], rows[-1]) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sizes", "100"], "must be numbers 8 n"),
        (["--peers", "gromacs"], "must be 'all', 'none' or some of lammps"),
        (["--threads", "0"], "--threads must be at least 1"),
        (["--tests", "speed"], "must be some of qeq, fixed"),
    ],
)
def test_mistakes_on_the_command_line(words, message, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert message in capsys.readouterr().err


def test_electrodes():
    """Steps are timed once the inverse is kept; charges are those of the matrix."""
    system = electrodes.cell(4, 12)
    assert system.charges.sum() == 0
    assert cKDTree(system.positions).query(system.positions, 2)[0][:, 1].min() > 2
    ms, charges = electrodes.ours(system, 2)
    assert ms > 0
    metal = charges[: 2 * system.metal]
    assert abs(metal.sum()) < 1e-9
    assert abs(metal).max() > 1e-3
    assert (charges[2 * system.metal :] == system.charges[2 * system.metal :]).all()
