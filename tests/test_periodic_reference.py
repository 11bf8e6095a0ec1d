"""Density-functional references of periodic cells: forces, invariances, known limits, mistakes."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from cgdft.units import angstrom
from cgdft.validation.dft import periodic
from cgdft.validation.dft.mean_field import NotConverged
from cgdft.validation.dft.periodic_hirshfeld import hirshfeld, mesh_residual, promolecule, radial_atoms

pytestmark = pytest.mark.usefixtures("one_thread")


def solve(atoms, **settings):
    return periodic.solve(atoms.numbers, atoms.positions * angstrom, atoms.cell.array * angstrom, **settings)


def charges(field):
    return hirshfeld(field, radial_atoms(field.numbers, field.xc, field.basis))


def boxed(name, side, shift=0.0):
    atoms = molecule(name, cell=[side] * 3, pbc=True)
    atoms.positions += shift - atoms.positions.mean(axis=0)
    return atoms


def hydrogen():
    """A stretched, tilted molecule across the face of a skewed cell."""
    return Atoms("H2", [[0.1, 0.2, 0.3], [-0.1, 0.7, 1.0]], cell=[[4.8, 0, 0], [0.6, 5.0, 0], [0, 0.4, 5.2]], pbc=True)


def aluminium():
    atoms = bulk("Al", "fcc", a=4.05, cubic=True)
    atoms.rattle(0.1, seed=2)
    return atoms


SMALL = "gth-szv-molopt-sr"
CASES = {
    "molecule": (hydrogen, {"cutoff": 100.0, "basis": SMALL}),
    "charged, unpaired": (hydrogen, {"cutoff": 100.0, "basis": SMALL, "charge": 1, "spin": 1}),
    "metal": (aluminium, {"cutoff": 60.0, "basis": SMALL, "smearing": 0.02}),
    "metal, unpaired": (aluminium, {"cutoff": 60.0, "basis": SMALL, "smearing": 0.02, "spin": 2}),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == "molecule" else pytest.mark.slow) for name in CASES])
def test_forces_are_the_derivative_of_the_energy(name):
    make, settings = CASES[name]
    atoms = make()
    field = solve(atoms, **settings)
    step = 0.01  # bohr
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 2] += sign * step / angstrom
        energies.append(solve(moved, guess=field.density_matrix, **settings).energy)
    assert np.diff(energies)[0] / (2 * step) == pytest.approx(field.forces[1, 2], abs=2e-5)
    assert np.abs(field.forces).max() > 1e-3
    assert (field.energy < field.internal_energy - 1e-4) == ("smearing" in settings)


SIDE = 8.0  # angstrom


@pytest.fixture(scope="module")
def water():
    return solve(boxed("H2O", SIDE, shift=SIDE / 2), cutoff=120.0)


def test_density_holds_all_electrons_and_is_positive_but_for_ripples(water):
    volume = np.linalg.det(water.cell)
    assert water.density.mean() * volume == pytest.approx(8, abs=1e-5)
    assert water.density.min() > -1e-5
    assert water.valence.tolist() == [6, 1, 1]


def test_promolecule_is_neutral_on_the_mesh(water):
    atoms = radial_atoms(water.numbers, water.xc, water.basis)
    assert promolecule(water, atoms).mean() * np.linalg.det(water.cell) == pytest.approx(8, abs=1e-5)
    for atom in atoms.values():
        radii = np.linspace(0, atom.radius, 4001)
        assert np.trapezoid(4 * np.pi * radii**2 * atom.spline(radii), radii) == pytest.approx(atom.valence, abs=1e-5)


def test_molecule_in_a_box_has_the_multipoles_of_the_isolated_one(water):
    multipoles = charges(water)
    assert abs(mesh_residual(water, multipoles)) < 1e-5
    expected = isolated_multipoles(water)
    np.testing.assert_allclose(multipoles[:, :4], expected[:, :4], atol=3e-3)  # the images polarise it
    assert multipoles[0, 0] < -0.2


def isolated_multipoles(field):
    """The same molecule and pro-atoms with PySCF's molecular code, on atom-centred grids."""
    from pyscf import dft, gto
    from pyscf.dft.gen_grid import Grids

    from cgdft.validation.dft.mean_field import electron_density
    from cgdft.validation.dft.moments import solid_harmonics

    symbols = ["O", "H", "H"]
    pairs = list(zip(symbols, field.positions.tolist(), strict=True))
    mol = gto.M(atom=pairs, unit="Bohr", verbose=0, **periodic.gth(symbols, field.xc, field.basis))
    mf = dft.RKS(mol, xc=field.xc)
    mf.chkfile = None
    mf.kernel()
    assert mf.converged
    grid = Grids(mol)
    grid.level, grid.prune = 4, None
    grid.build(with_non0tab=False)
    atoms = radial_atoms(field.numbers, field.xc, field.basis)
    vectors = grid.coords - field.positions[:, None]
    distance = np.linalg.norm(vectors, axis=2)
    atomic = np.stack(
        [np.where(r < atoms[z].radius, atoms[z].spline(r), 0.0) for z, r in zip(field.numbers, distance, strict=True)]
    )
    total = atomic.sum(axis=0)
    share = grid.weights * (total - electron_density(mol, mf.make_rdm1(), grid.coords)) / np.maximum(total, 1e-300)
    return np.einsum("ag,agc->ac", atomic * share, solid_harmonics(vectors))


def test_translation_by_part_of_a_mesh_spacing(water):
    there = boxed("H2O", SIDE, shift=SIDE / 2)
    there.positions += [0.031, 0.057, 0.078]
    here, moved = charges(water), charges(solve(there, cutoff=120.0, guess=water.density_matrix))
    np.testing.assert_allclose(moved[:, 0], here[:, 0], atol=1e-4)
    np.testing.assert_allclose(moved[:, 1:4], here[:, 1:4], atol=1e-3)
    np.testing.assert_allclose(moved[:, 4:], here[:, 4:], atol=2e-3)


@pytest.fixture(scope="module")
def salt():
    return solve(bulk("NaCl", "rocksalt", a=5.6402, cubic=True), basis=SMALL)


@pytest.mark.slow
def test_equivalent_atoms_of_a_salt(salt):
    multipoles = charges(salt)
    sodium, chloride = multipoles[salt.numbers == 11], multipoles[salt.numbers == 17]
    assert abs(mesh_residual(salt, multipoles)) < 1e-5
    assert 0.1 < sodium[:, 0].min() < sodium[:, 0].max() < 1
    np.testing.assert_allclose(sodium[:, 0], -chloride[:, 0].mean(), atol=1e-3)
    np.testing.assert_allclose(multipoles[:, 1:4], 0, atol=1e-6)  # forbidden by inversion, which the mesh has


def test_a_coarse_mesh_is_refused(water):
    coarse = dataclasses.replace(water, density=water.density[::4, ::4, ::4])
    with pytest.raises(ArithmeticError, match="higher cutoff"):
        charges(coarse)


def test_unconverged_raises(monkeypatch):
    monkeypatch.setattr(periodic, "MAX_CYCLE", 1)
    with pytest.raises(NotConverged, match="smearing"):
        solve(hydrogen(), cutoff=50.0, basis=SMALL)


def test_notes_say_what_is_left_out():
    field = solve(boxed("H2", 7.0), cutoff=60.0, basis=SMALL, pbc=(True, True, False), charge=1, spin=1)
    assert "no dipole correction" in field.notes[1]
    assert "background of -1 e" in field.notes[2]
    assert charges(field)[:, 0].sum() == pytest.approx(1, abs=1e-4)


GOOD = {"numbers": [1, 1], "positions": [[0, 0, 0], [0, 0, 1.4]], "cell": np.eye(3) * 8}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"numbers": [1, 0]}, "`numbers`"),
        ({"numbers": [[1, 1]]}, "`numbers`"),
        ({"positions": [[0, 0, 0]]}, "`positions`"),
        ({"positions": [[0, 0, np.nan], [0, 0, 1.4]]}, "`positions`"),
        ({"cell": np.zeros((3, 3))}, "`cell`"),
        ({"cell": -np.eye(3)}, "right-handed"),
        ({"xc": "pbe0"}, "`xc`.*pbesol"),
        ({"basis": "def2-svp"}, "`basis`.*gth-dzvp-molopt-sr"),
        ({"basis": "gth-nonsense"}, "`basis`"),
        ({"numbers": [1, 92]}, "`basis`.*U"),
        ({"spin": 1}, "`spin` must be the even number"),
        ({"charge": 1}, "`spin` must be the odd number"),
        ({"charge": 2}, "`charge`"),
        ({"cutoff": 0.0}, "`cutoff`"),
        ({"smearing": -0.1}, "`smearing`"),
        ({"pbc": (True, True)}, "`pbc`"),
        ({"pbc": (True, True, False)}, "10.0 bohr of vacuum.*6.6 bohr"),
    ],
)
def test_mistakes_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        periodic.solve(**{**GOOD, **wrong})
