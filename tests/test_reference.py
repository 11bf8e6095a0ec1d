"""DFT references: each number against an independent one, the cache against accidents, input against mistakes."""

import dataclasses
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from cgdft.units import angstrom
from cgdft.validation.definitions import MBIS, Hirshfeld
from cgdft.validation.dft import mean_field
from cgdft.validation.dft.cache import read_record, write_record
from cgdft.validation.dft.electrons import ElectronDensity
from cgdft.validation.dft.moments import molecular_moments, solid_harmonics
from cgdft.validation.dft.pro_atoms import pro_atoms
from cgdft.validation.dft.reference import CorruptCache, NotConverged, Reference, cached, reference
from cgdft.validation.dft.request import Request
from cgdft.validation.dft.surfaces import fibonacci_sphere, picture_plane, van_der_waals_radius, van_der_waals_shells

pytestmark = pytest.mark.usefixtures("one_thread")

FIELD = (0.003, 0.01, -0.005)


def water():
    return molecule("H2O")


def salt():
    return Atoms("LiF", [[0.1, -0.2, 0.3], [0.1, 0.7, 1.5]])  # along no axis, off the origin


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("references")


@pytest.fixture(scope="module")
def cases(folder):
    return {
        "H2O": reference(water(), cache=folder),
        "LiF": reference(salt(), cache=folder, polarizability=False),
        "H2O in a field": reference(water(), cache=folder, field=FIELD, polarizability=False),
    }


@pytest.fixture(params=["H2O", "LiF", "H2O in a field"])
def case(request, cases):
    return cases[request.param]


def mean(ref, positions=None, field=None):
    """A mean field as `reference` solves it, at other positions or in another field."""
    symbols = [str(Atoms(numbers=[number]).symbols) for number in ref.numbers]
    where = ref.positions if positions is None else positions
    mol = mean_field.build(symbols, where, ref.method, ref.charge, ref.spin)
    return mean_field.solve(mol, "pbe", density_fit=True, field=ref.field if field is None else field)


@pytest.fixture(scope="module")
def solved(cases):
    return mean(cases["H2O"])


# The numbers


def test_solid_harmonics_are_those_of_e3nn():
    import torch
    from e3nn import o3

    vectors = np.random.default_rng(0).normal(size=(20, 3))
    theirs = o3.spherical_harmonics([0, 1, 2], torch.tensor(vectors), normalize=False, normalization="norm")
    np.testing.assert_allclose(solid_harmonics(vectors), theirs.numpy(), atol=1e-12)
    assert solid_harmonics(vectors, 1).shape == (20, 4)


def test_hirshfeld_multipoles_carry_charge_dipole_and_quadrupole(case):
    charge, dipole, quadrupole = molecular_moments(case.positions, case.multipoles)
    assert abs(charge - case.charge) < 1e-6
    np.testing.assert_allclose(dipole, case.dipole, atol=1e-6)
    np.testing.assert_allclose(quadrupole, case.quadrupole, atol=1e-5)
    assert np.linalg.norm(case.dipole) > 0.5
    assert np.abs(case.quadrupole).max() > 0.5
    assert abs(np.trace(case.quadrupole)) < 1e-10


def test_hirshfeld_charges_have_the_known_sign_and_size(cases):
    oxygen, *hydrogens = cases["H2O"].multipoles[:, 0]
    assert -0.35 < oxygen < -0.28  # about -0.31 e
    np.testing.assert_allclose(hydrogens, -oxygen / 2, atol=1e-6)
    assert 0.5 < cases["LiF"].multipoles[0, 0] < 0.6
    np.testing.assert_allclose(cases["H2O"].multipoles[0, 1:4] * [1, 1, 0], 0, atol=1e-8)  # the axis is z


def test_molecular_moments_move_with_the_origin():
    rng = np.random.default_rng(1)
    positions, multipoles = rng.normal(size=(4, 3)), rng.normal(size=(4, 9))
    multipoles[:, 4:] = 0
    step = 1e-4  # each dipole as two charges
    poles = np.concatenate([positions, positions + step * multipoles[:, 1:4], positions - step * multipoles[:, 1:4]])
    charges = np.concatenate([multipoles[:, 0], np.full(4, 0.5 / step), np.full(4, -0.5 / step)])
    second = np.einsum("a,ai,aj->ij", charges, poles, poles)
    _, dipole, quadrupole = molecular_moments(positions, multipoles)
    np.testing.assert_allclose(dipole, charges @ poles, atol=1e-8)
    np.testing.assert_allclose(quadrupole, 1.5 * second - 0.5 * np.trace(second) * np.eye(3), atol=1e-7)


def test_polarizability_is_the_change_of_the_dipole_in_a_field(cases):
    step = 1e-3
    for axis in range(3):
        plus, minus = (mean(cases["H2O"], field=sign * step * np.eye(3)[axis]) for sign in (1, -1))
        dipoles = [mean_field.dipole(mf.mol, mean_field.total_density_matrix(mf)) for mf in (plus, minus)]
        found = (dipoles[0] - dipoles[1]) / (2 * step)
        np.testing.assert_allclose(found, cases["H2O"].polarizability[axis], atol=1e-3)


def test_spin_moments_are_of_the_unpaired_electrons(folder):
    """Their sum is the number of unpaired electrons; oxygen carries them in OH, both atoms alike in O2."""
    hydroxyl = reference(Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]), spin=1, polarizability=False, cache=folder)
    assert hydroxyl.spin_moments[:, 0].sum() == pytest.approx(1, abs=1e-5)
    assert hydroxyl.spin_moments[0, 0] > 0.9
    oxygen = reference(molecule("O2"), spin=2, polarizability=False, cache=folder)
    np.testing.assert_allclose(oxygen.spin_moments[:, 0], 1, atol=1e-5)
    assert reference(water(), cache=folder).spin_moments is None


def test_periodic_cell_is_a_reference_too(tmp_path):
    """What exists of it, kept like the others; a slab says what it leaves out."""
    atoms = Atoms("H2", [[0.3, 0, 0], [0.3, 0, 0.75]], cell=[4, 4, 12], pbc=[True, True, False])
    ref = reference(atoms, "pbe/gth-szv-molopt-sr", cutoff=60, cache=tmp_path)
    assert ref.dipole is ref.polarizability is ref.potential is None
    assert ref.density.ndim == 3
    assert ref.density.mean() * np.linalg.det(ref.cell) == pytest.approx(2, abs=1e-3)
    np.testing.assert_allclose(ref.multipoles[:, 0], 0, atol=1e-3)
    assert "dipole correction" in " ".join(ref.provenance["notes"])
    same(Reference.load(next(tmp_path.glob("*.h5"))), ref)
    structure = ref.structure()
    assert structure.pbc.tolist() == [[True, True, False]]


@pytest.mark.parametrize("name", ["LiF", "H2O in a field"])
def test_forces_are_minus_the_derivative_of_the_energy(cases, name):
    ref, step = cases[name], 2e-3
    shift = np.zeros_like(ref.positions)
    shift[1, 2] = step
    plus, minus = (mean(ref, positions=ref.positions + sign * shift).e_tot for sign in (1, -1))
    assert abs(ref.forces[1, 2]) > 1e-3
    assert ref.forces[1, 2] == pytest.approx(-(plus - minus) / (2 * step), abs=2e-6)


def test_forces_add_up_to_the_field_on_the_charge(folder):
    hydroxide = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    ion = reference(hydroxide, charge=-1, field=FIELD, polarizability=False, cache=folder)
    np.testing.assert_allclose(ion.forces.sum(axis=0), -np.array(FIELD), atol=1e-6)


def test_energy_in_a_field_has_minus_the_dipole_as_derivative(cases):
    ref, step = cases["LiF"], 1e-3
    plus, minus = (mean(ref, field=sign * step * np.eye(3)[1]).e_tot for sign in (1, -1))
    assert -(plus - minus) / (2 * step) == pytest.approx(ref.dipole[1], abs=1e-4)


def test_pro_atoms_are_neutral_and_spherical():
    atoms = pro_atoms(["O", "Li", "Rb"], "pbe/def2-svp")  # an open p shell, an s shell, a core potential
    for symbol, electrons in (("O", 8), ("Li", 3), ("Rb", 9)):
        atom = atoms[symbol]
        number = np.einsum("ij,ji->", atom.density_matrix, atom.mol.intor("int1e_ovlp"))
        assert number == pytest.approx(electrons, abs=1e-8)
        density = atom.density(1.3 * fibonacci_sphere(50))
        np.testing.assert_allclose(density, density[0], rtol=1e-8)
        assert atom.electron_potential(np.array([[0.0, 30.0, 0.0]]))[0] == pytest.approx(-electrons / 30, rel=1e-6)


def test_potential_is_that_of_nuclei_and_electrons(cases, solved):
    ref = cases["H2O"]
    density_matrix = solved.make_rdm1()
    for index in (0, 300, 700):
        point = ref.points[index]
        with solved.mol.with_rinv_origin(point):
            electrons = -np.einsum("ij,ij->", solved.mol.intor("int1e_rinv"), density_matrix)
        nuclei = (ref.numbers / np.linalg.norm(ref.positions - point, axis=1)).sum()
        assert ref.potential[index] == pytest.approx(nuclei + electrons, abs=1e-7)


def test_multipoles_give_the_potential_outside(cases):
    """PBE/def2-SVP water: a few per cent, and both potentials become one where neutral atoms have ended."""
    ref = cases["H2O"]
    potential = np.zeros(len(ref.points))
    power = 2 * np.repeat([0, 1, 2], [1, 3, 5]) + 1
    for position, moments in zip(ref.positions, ref.multipoles, strict=True):
        vectors = ref.points - position
        potential += solid_harmonics(vectors) / np.linalg.norm(vectors, axis=1)[:, None] ** power @ moments
    for shell, tolerance in ((0, 0.08), (1, 0.03)):
        here = ref.shell == shell
        for exact in (ref.potential, ref.potential_difference):
            error = np.linalg.norm((potential - exact)[here]) / np.linalg.norm(exact[here])
            assert 0 < error < tolerance


def test_surfaces_surround_the_molecule(case):
    distance = np.linalg.norm(case.points[:, None] - case.positions, axis=2)
    scaled = (distance / [van_der_waals_radius(number) for number in case.numbers]).min(axis=1)
    for shell, scales in ((0, (1.4, 1.6, 1.8, 2.0)), (1, (2.25, 2.5, 2.75, 3.0))):
        here = scaled[case.shell == shell]
        assert 300 < len(here) < 1100
        np.testing.assert_allclose(np.unique(here.round(6)), scales)
    assert case.plane.shape == (61, 61, 3)
    assert np.isfinite(case.plane_potential).all()


@pytest.mark.parametrize("name", ["H2O", "CO2", "H", "CH4"])
def test_plane_holds_the_centre_and_ends_beyond_the_nuclei(name):
    positions = (molecule(name).positions + np.array([0.3, 0.1, -0.4])) * angstrom
    plane = picture_plane(positions)
    centre = positions.mean(axis=0)
    normal = np.cross(plane[0, 1] - plane[0, 0], plane[1, 0] - plane[0, 0])
    assert np.linalg.norm(normal) > 0
    np.testing.assert_allclose((plane - centre) @ normal, 0, atol=1e-10)
    assert np.linalg.norm(plane[0, 0] - plane[0, -1]) >= 10 - 1e-9
    np.testing.assert_array_equal(plane, picture_plane(positions))


def test_shells_are_deterministic():
    args = water().numbers, water().positions * angstrom
    np.testing.assert_array_equal(van_der_waals_shells(*args)[0], van_der_waals_shells(*args)[0])


def test_open_shells_ions_and_hartree_fock(folder):
    radical = reference(Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]), "HF/def2-SVP", spin=1, polarizability=False, cache=folder)
    assert radical.method == "hf/def2-svp"
    assert radical.multipoles[:, 0].sum() == pytest.approx(0, abs=1e-6)
    assert radical.dipole[2] > 0.5
    atom = reference(Atoms("Li"), spin=1, polarizability=False, cache=folder)
    assert atom.polarizability is None
    np.testing.assert_allclose(atom.multipoles[0, :4], 0, atol=1e-6)
    ion = reference(Atoms("Li"), charge=1, cache=folder)
    np.testing.assert_allclose(ion.multipoles[0], [1, *[0] * 8], atol=1e-6)
    np.testing.assert_allclose(ion.polarizability, ion.polarizability[0, 0] * np.eye(3), atol=1e-6)
    far = np.linalg.norm(ion.points - ion.positions, axis=1)
    np.testing.assert_allclose(ion.potential, 1 / far, rtol=1e-4)
    hydrogen = reference(Atoms("H"), "hf/def2-svp", spin=1, polarizability=False, cache=folder)
    assert hydrogen.energy == pytest.approx(-0.5, abs=2e-3)


def test_coarse_grid_is_refused(solved):
    with pytest.raises(ArithmeticError, match=r"`level` must be .* got 0"):
        Hirshfeld(level=0)(ElectronDensity.of(solved, "pbe/def2-svp"))


def test_unconverged_field_is_no_result(monkeypatch, tmp_path):
    monkeypatch.setattr(mean_field, "MAX_CYCLE", 1)
    with pytest.raises(NotConverged, match=r"did not converge .* check the geometry"):
        reference(water(), cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


# The cache


def same(one, two):
    for entry in dataclasses.fields(Reference):
        np.testing.assert_equal(getattr(one, entry.name), getattr(two, entry.name))


def test_file_holds_everything(cases, tmp_path):
    for ref in cases.values():
        ref.save(tmp_path / "one.h5")
        same(Reference.load(tmp_path / "one.h5"), ref)
    assert [path.name for path in tmp_path.iterdir()] == ["one.h5"]
    with pytest.raises(FileNotFoundError, match="no such file"):
        Reference.load(tmp_path / "two.h5")


def test_second_call_computes_nothing(cases, folder, monkeypatch):
    monkeypatch.setattr(sys.modules["cgdft.validation.dft.reference"], "compute", lambda *_: pytest.fail("computed again"))
    same(reference(water(), "PBE/def2-SVP", charge=0, spin=0, cache=folder), cases["H2O"])
    assert reference(water(), polarizability=False, cache=folder).polarizability is not None  # more is at hand
    assert cached(water(), cache=folder).is_file()
    assert cached(water(), "pbe/def2-tzvp", cache=folder) is None


def test_key_knows_its_input():
    def key(atoms=None, method="pbe/def2-svp", **changes):
        return Request.from_atoms(atoms or water(), method, **changes).key

    noise, moved = water(), water()
    noise.positions += 1e-13
    moved.positions[0, 0] += 1e-6
    assert key(noise) == key()
    changes = [{"charge": 2}, {"spin": 2}, {"field": FIELD}, {"density_fit": False}, {"polarizability": False}]
    changes += [{"response": True}, {"definitions": [Hirshfeld(), MBIS()]}, {"definitions": [Hirshfeld(1)]}]
    keys = [key(), key(moved), key(method="pbe/def2-tzvp"), *(key(**change) for change in changes)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("damage", ["truncated", "edited", "other", "empty", "zeros", "another"])
def test_damaged_file_is_computed_again(cases, folder, damage, tmp_path, monkeypatch, caplog):
    path = tmp_path / cached(water(), cache=folder).name
    cases["H2O"].save(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-5000])
    elif damage == "edited":
        import h5py

        with h5py.File(path, "r+") as file:
            file["dipole"][2] += 0.1
    elif damage == "other":
        write_record(path, {"energy": 1.0})
    elif damage == "zeros":  # a sector that HDF5 walks through for ever
        content = path.read_bytes()
        start = content.index(b"GCOL")
        path.write_bytes(content[:start] + bytes(512) + content[start + 512 :])
    elif damage == "another":
        dataclasses.replace(cases["H2O"], positions=cases["H2O"].positions + 1e-3).save(path)
    else:
        path.write_bytes(b"")
    if damage != "another":
        with pytest.raises(CorruptCache, match="must be "):
            Reference.load(path)
    monkeypatch.setattr(sys.modules["cgdft.validation.dft.reference"], "compute", lambda *_: cases["H2O"])
    same(reference(water(), cache=tmp_path), cases["H2O"])
    assert "computed again" in caplog.text
    same(Reference.load(path), cases["H2O"])


def test_killed_run_leaves_no_half_file(tmp_path):
    script = (
        "import os, sys, numpy, cgdft.validation.dft.cache as c\n"
        "c.os.replace = lambda *_: os._exit(9)\n"
        "c.write_record(sys.argv[1], {'a': numpy.zeros(1000)})\n"
    )
    path = tmp_path / "one.h5"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", script, str(path)], env=environment, check=False).returncode == 9
    assert not path.exists()
    write_record(path, {"a": np.zeros(3)})
    assert read_record(path)["a"].shape == (3,)


def test_failed_write_keeps_what_was_there(tmp_path):
    path = tmp_path / "one.h5"
    write_record(path, {"a": np.zeros(3)})
    with pytest.raises(TypeError):
        write_record(path, {"a": np.array([object()])})
    assert read_record(path)["a"].shape == (3,)
    assert list(tmp_path.iterdir()) == [path]


def test_cache_folder_follows_the_environment(cases, folder, monkeypatch):
    monkeypatch.setenv("CGDFT_CACHE", str(folder))
    assert cached(water()) == cached(water(), cache=folder)
    monkeypatch.delenv("CGDFT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "none"))
    assert cached(water()) is None


def test_provenance_says_how(cases):
    from pyscf import lib

    provenance = cases["H2O"].provenance
    assert provenance["threads"] == lib.num_threads() == 1
    assert {"pyscf", "numpy", "python", "settings", "accuracy", "threads", "wall_seconds", "date"} <= set(provenance)
    assert provenance["accuracy"]["charge_error_e"] < 1e-6
    assert provenance["settings"]["definitions"] == ["Hirshfeld(lmax=2, width=None, level=5)"]


@pytest.mark.parametrize(("length", "lowest"), [(1.2, True), (2.0, False)])
def test_closed_shells_that_are_not_the_lowest_state_are_told(length, lowest, tmp_path):
    """Beyond 1.66 angstrom PBE parts the electrons of H2; PySCF's own analysis says the same."""
    stretched = Atoms("H2", [[0, 0, 0], [0, 0, length]])
    for _ in range(2):  # computed, and read back
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = reference(stretched, "pbe/def2-svp", polarizability=False, cache=tmp_path)
        assert any("not its lowest state" in str(one.message) for one in told) != lowest
        assert bool(found.doubts) != lowest
        assert (found.provenance["accuracy"]["curvature_towards_open_shells"] > 0) == lowest
    mol = mean_field.build(["H", "H"], stretched.positions * angstrom, "pbe/def2-svp", 0, 0)
    mf = mean_field.solve(mol, "pbe", density_fit=True, field=np.zeros(3))
    assert mf.stability(internal=False, external=True, return_status=True)[3] == lowest


def test_fitted_integrals_that_are_off_are_told(folder):
    """Two electrons of equal spin in helium are far from what the basis for fitting was made for."""
    with pytest.warns(UserWarning, match="Reference.He, .*: fitted Coulomb integrals change the energy by -2e-02 hartree"):
        fitted = reference(Atoms("He"), "pbe/def2-svpd", spin=2, polarizability=False, cache=folder)
    exact = reference(Atoms("He"), "pbe/def2-svpd", spin=2, polarizability=False, density_fit=False, cache=folder)
    told = fitted.provenance["accuracy"]["density_fit_hartree"]
    assert told == pytest.approx(fitted.energy - exact.energy, rel=0.05)
    assert "density_fit_hartree" not in exact.provenance["accuracy"]
