"""The Coulomb operator against analytic, published and independent numbers."""

import math

import e3nn.o3
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from scipy.special import erf, gamma, gammainc

from cgdft import Density, Model, Multipoles, Structure
from cgdft.electrostatics.boys import boys
from cgdft.electrostatics.coulomb import Coulomb, Sites
from cgdft.electrostatics.multipole import QUADRUPOLE
from cgdft.functionals import Hardness, Hartree, Operator, PointCharges
from cgdft.units import angstrom

D = torch.float64


def lattice_energy(atoms: Atoms, charges: dict[str, float], width: float) -> float:
    structure = Structure(torch.tensor(atoms.numbers), torch.tensor(atoms.positions), torch.tensor(atoms.cell.array), True)
    q = torch.tensor([[charges[s]] for s in atoms.get_chemical_symbols()], dtype=D)
    density = Density(structure, Multipoles(width=width), q)
    return float(Hartree(self_interaction=False).energy(density))


# Madelung constants by the nearest distance, per formula unit and unit charges: NaCl, OEIS A085469; CsCl, OEIS A181152; ZnS
# (zincblende), OEIS A182566. Fluorite follows exactly from two of them: with fcc lattices of +2 at 0 and -1 at +-1/4 of the
# diagonal its energy is 4 E(ZnS) - E(NaCl) at the same cube edge; J. Sherman, Chem. Rev. 11, 93 (1932) has 5.0388.
NACL, CSCL, ZNS = 1.747564594633182190636, 1.762674773070988397936, 1.638055053388789423750
FLUORITE = (4 * ZNS * 4 / math.sqrt(3) - 2 * NACL) * math.sqrt(3) / 4
MADELUNG = {
    "NaCl": ("rocksalt", {"Na": 1, "Cl": -1}, 0.5, NACL),
    "CsCl": ("cesiumchloride", {"Cs": 1, "Cl": -1}, math.sqrt(3) / 2, CSCL),
    "ZnS": ("zincblende", {"Zn": 1, "S": -1}, math.sqrt(3) / 4, ZNS),
    "CaF2": ("fluorite", {"Ca": 2, "F": -1}, math.sqrt(3) / 4, FLUORITE),
}


@pytest.mark.parametrize("name", MADELUNG)
@pytest.mark.parametrize("cubic", [True, False])
def test_madelung(name, cubic):
    kind, charges, nearest, expected = MADELUNG[name]
    if kind == "cesiumchloride":
        cubic = True
    a = 7.0
    atoms = bulk(name, kind, a=a, cubic=cubic)
    formula_units = len(atoms) // (3 if kind == "fluorite" else 2)
    energy = lattice_energy(atoms, charges, width=0.05) / formula_units
    assert abs(-energy * nearest * a / expected - 1) < 1e-12
    assert abs(-energy * nearest * a - expected) < 1e-9


def test_fluorite_constant_is_the_published_one():
    assert abs(FLUORITE - 5.0388) < 5e-5


def test_wigner_crystal():
    """One electron on a cubic lattice in its background: -2.837297 / (2 L) (C. A. Sholl, Proc. Phys. Soc. 92, 434 (1967))."""
    structure = Structure([1], [[0.1, 0.2, 0.3]], 5.0 * np.eye(3), True, charge=-1)
    for width in (0.05, 0.2, 0.35):
        density = Density(structure, Multipoles(width=width), -torch.ones(1, 1, dtype=D))
        energy = float(Hartree(self_interaction=False).energy(density))
        # a Gaussian sees the background: (2 pi / V) Q^2 sigma^2
        assert abs(energy - 2 * math.pi * width**2 / 125 + 2.837297479480620 / 10) < 1e-12


def test_boys():
    t = np.concatenate([np.linspace(1e-9, 90, 4001), [1e-3, 39.99, 40.0, 40.01, 1000.0]])
    for n in (0, 1, 4, 8):
        values = boys(torch.tensor(t), n).numpy()
        for m in range(n + 1):
            expected = gamma(m + 0.5) * gammainc(m + 0.5, t) / (2 * t ** (m + 0.5))
            assert np.abs(values[m] / expected - 1).max() < 3e-13
    assert boys(torch.zeros(1, dtype=D), 3)[:, 0].tolist() == pytest.approx([1, 1 / 3, 1 / 5, 1 / 7], rel=1e-15)


def test_harmonics_are_e3nn_s():
    r = torch.randn(7, 3, dtype=D)
    expected = e3nn.o3.spherical_harmonics(2, r, normalize=False, normalization="norm")
    assert torch.allclose(torch.einsum("na,mab,nb->nm", r, QUADRUPOLE, r), expected, atol=1e-14)
    first = e3nn.o3.spherical_harmonics(1, r, normalize=False, normalization="norm")
    assert torch.allclose(first, r)


def test_unit_moments_of_the_basis():
    """Each basis function has unit moment by its solid harmonic and none by the others, by quadrature."""
    structure = Structure([1], [[0.0, 0, 0]])
    x, w = np.polynomial.hermite.hermgauss(12)
    sigma = 0.8
    grid = torch.tensor(np.stack(np.meshgrid(x, x, x, indexing="ij"), -1).reshape(-1, 3)) * math.sqrt(2) * sigma
    weight = torch.tensor(np.einsum("i,j,k->ijk", w, w, w).ravel() * (math.sqrt(2) * sigma) ** 3)
    weight = weight * torch.exp((grid**2).sum(1) / (2 * sigma**2))
    harmonics = e3nn.o3.spherical_harmonics([0, 1, 2], grid, normalize=False, normalization="norm")
    for k in range(9):
        p = torch.zeros(1, 9, dtype=D)
        p[0, k] = 1.0
        moments = (weight[:, None] * Density(structure, Multipoles(2, width=sigma), p).values(grid)[:, None] * harmonics).sum(0)
        assert torch.allclose(moments, p[0], atol=1e-12)


@pytest.mark.parametrize("r", [0.3, 2.0, 9.0])
def test_pairs_in_open_space(r):
    """Analytic: charge-charge, charge-dipole, dipole-dipole along the axis, and self-interactions."""
    s1, s2 = 0.7, 1.1
    structure = Structure([1, 8], [[0.0, 0, 0], [0, 0, r]])
    basis = Multipoles(2, width=torch.tensor([s1, s2], dtype=D))

    def energy(first, second):
        p = torch.zeros(2, 9, dtype=D)
        for i, parts in enumerate((first, second)):
            for k, v in parts.items():
                p[i, k] = v
        alone = [torch.where(torch.arange(2)[:, None] == i, p, 0.0) for i in range(2)]
        h = Hartree()
        return float(h.energy(Density(structure, basis, p)) - sum(h.energy(Density(structure, basis, a)) for a in alone))

    a = 1 / math.sqrt(2 * (s1**2 + s2**2))
    f = lambda x: math.erf(a * x) / x  # noqa: E731
    gauss = 2 * a / math.sqrt(math.pi) * math.exp(-((a * r) ** 2))
    df = gauss / r - f(r) / r
    ddf = -2 * a * a * gauss - 2 * df / r
    q, dz, qzz = 0, 3, 6  # charge; z dipole; y^2 - (x^2 + z^2)/2
    assert energy({q: 0.8}, {q: -0.5}) == pytest.approx(-0.4 * f(r), abs=1e-14)
    assert energy({q: 0.8}, {dz: 0.5}) == pytest.approx(0.4 * df, abs=1e-14)
    assert energy({dz: 0.8}, {dz: 0.5}) == pytest.approx(-0.4 * ddf, abs=1e-13)
    # along z, (y^2 - (x^2 + z^2)/2)(grad) / 3 f = (f'/r - f'')/6
    assert energy({q: 0.8}, {qzz: 0.5}) == pytest.approx(0.4 * (df / r - ddf) / 6, abs=1e-13)
    far = Structure([1], [[0.0, 0, 0]])
    itself = [float(Hartree().energy(Density(far, Multipoles(2, width=s1), p[None]))) for p in torch.eye(9, dtype=D)]
    assert itself[0] == pytest.approx(1 / (2 * math.sqrt(math.pi) * s1), abs=1e-15)
    assert itself[1:4] == pytest.approx([1 / (12 * math.sqrt(math.pi) * s1**3)] * 3, abs=1e-15)
    assert itself[4:] == pytest.approx([1 / (40 * math.sqrt(math.pi) * s1**5 * 3)] * 5, abs=1e-14)


def test_ewald_does_not_depend_on_its_division(monkeypatch):
    from cgdft.electrostatics import coulomb

    torch.manual_seed(0)
    cell = torch.tensor([[9.0, 0, 0], [2.0, 8, 0], [-1.0, 1.5, 4]], dtype=D)
    structure = Structure([8] * 6, torch.rand(6, 3, dtype=D) @ cell, cell, True)
    p, width = torch.randn(6, 9, dtype=D), torch.rand(6, dtype=D) + 0.5
    values = []
    for cost in (1e-3, 0.05, 10.0):
        monkeypatch.setattr(coulomb, "WAVE_COST", cost)
        operator = Coulomb(structure, Sites(structure.positions, structure.index, width, 2))
        matrix = operator.matrix()[0]
        values.append(float(operator.bilinear(p, p)))
        assert float(p.flatten() @ matrix @ p.flatten()) == pytest.approx(values[-1], abs=1e-12)
        assert torch.allclose(operator.potential(p).flatten(), matrix @ p.flatten(), atol=1e-12)
        assert float(torch.linalg.eigvalsh(matrix).min()) > -1e-12
    assert max(values) - min(values) < 1e-11
    assert abs(values[0]) > 0.1


@pytest.mark.parametrize("lmax", [0, 1, 2])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, False, True)])
def test_ewald_is_as_accurate_as_asked(lmax, pbc):
    generator = torch.Generator().manual_seed(lmax)
    cell = torch.tensor([[11.0, 0, 0], [0.0, 12, 0], [0.0, 0, 9]], dtype=D)
    structure = Structure([8] * 10, torch.rand(10, 3, generator=generator, dtype=D) @ cell, cell, pbc)
    p = torch.randn(10, (lmax + 1) ** 2, generator=generator, dtype=D)
    p[:, 0] -= p[:, 0].mean()
    for width in (0.3, 1.5, 3.0):  # by pairs above all, by waves alone, by few waves
        sites = Sites(structure.positions, structure.index, torch.full((10,), width, dtype=D), lmax)
        exact, *found = (Coulomb(structure, sites, accuracy=one).potential(p) for one in (1e-15, 1e-5, 1e-8, 1e-12))
        for felt, accuracy in zip(found, (1e-5, 1e-8, 1e-12), strict=True):
            for l in range(lmax + 1):  # noqa: E741
                shell = slice(l**2, (l + 1) ** 2)
                assert (felt - exact)[:, shell].norm() < accuracy * exact[:, shell].norm()


def test_large_cell_tends_to_open_space():
    """Neutral, without dipole: what is left falls as 1 / L^5."""
    positions = torch.tensor([[0.0, 0, 0], [0, 0, 2.0], [0, 0, -2.0]], dtype=D)
    q = torch.tensor([[-1.0], [0.5], [0.5]], dtype=D)
    basis = Multipoles(width=0.8)
    alone = float(Hartree().energy(Density(Structure([8, 1, 1], positions), basis, q)))
    errors = [
        abs(float(Hartree().energy(Density(Structure([8, 1, 1], positions, length * np.eye(3), True), basis, q))) - alone)
        for length in (20.0, 40.0)
    ]
    assert errors[1] < 2e-6
    assert errors[0] / errors[1] == pytest.approx(32, rel=0.05)


def test_torch_pme_agrees():
    torchpme = pytest.importorskip("torchpme")
    from ase.neighborlist import neighbor_list

    atoms = bulk("NaCl", "rocksalt", a=6.0, cubic=True)
    atoms.rattle(0.2, seed=2)
    q = torch.tensor([[1.0 if s == "Na" else -1.0] for s in atoms.get_chemical_symbols()], dtype=D)
    calculator = torchpme.EwaldCalculator(torchpme.CoulombPotential(smearing=0.4), lr_wavelength=0.1).to(dtype=D)
    i, j, d = neighbor_list("ijd", atoms, 3.0)
    potential = calculator(
        charges=q,
        cell=torch.tensor(atoms.cell.array),
        positions=torch.tensor(atoms.positions),
        neighbor_indices=torch.tensor(np.stack([i, j], 1)),
        neighbor_distances=torch.tensor(d),
    )
    # a list of both directions, which it takes for one of each pair: its potentials are half of what they are
    expected = float((q * potential).sum())
    got = lattice_energy(atoms, {"Na": 1, "Cl": -1}, width=0.05)
    assert abs(expected - got) < 1e-6 * abs(got)


@pytest.mark.parametrize("periodic", [False, True])
def test_potential_field_and_density_at_points(periodic):
    torch.manual_seed(1)
    cell = torch.tensor([[7.0, 0, 0], [1.0, 6, 0], [-1.0, 0.5, 8]], dtype=D)
    structure = Structure([8, 1], [[1.0, 1, 1], [2.5, 3, 4]], cell if periodic else None, periodic)
    density = Density(structure, Multipoles(2, width={"O": 0.9, "H": 0.7}), torch.randn(2, 9, dtype=D))
    points = torch.tensor([[0.3, 2.0, 1.0], [4.0, -1.0, 2.0], [1.0, 1.0, 1.0]], dtype=D)
    h = 1e-3
    step = h * torch.eye(3, dtype=D)
    v = lambda x: density.potential(x)  # noqa: E731
    slope = torch.stack([(v(points + s) - v(points - s)) / (2 * h) for s in step], 1)
    assert torch.allclose(density.field(points), -slope, atol=1e-6)
    laplacian = sum(v(points + s) + v(points - s) - 2 * v(points) for s in step) / h**2
    background = float(density.charges.sum()) / float(structure.volume[0]) if periodic else 0.0
    assert torch.allclose(density.values(points) - background, -laplacian / (4 * math.pi), atol=1e-5)
    if periodic:
        assert torch.allclose(v(points), v(points + 2 * cell[0] - cell[2]), atol=1e-12)
        grid = torch.cartesian_prod(*[torch.arange(24, dtype=D) / 24] * 3) @ cell
        assert float(density.values(grid).mean() * structure.volume[0]) == pytest.approx(float(density.charges.sum()), abs=1e-6)
        assert abs(float(v(grid).mean())) < 1e-6
    else:
        assert float(v(torch.tensor([[0.0, 0, 1e5]], dtype=D))) == pytest.approx(float(density.charges.sum()) / 1e5, rel=1e-3)


@pytest.mark.parametrize("pbc", [False, True])
def test_no_points_no_potential(pbc):
    structure = Structure([1], [[0.0, 0, 0]], 9.0 * torch.eye(3, dtype=D), pbc)
    density = Density(structure, Multipoles(width=1.0), torch.ones(1, 1, dtype=D))
    assert density.potential(torch.zeros(0, 3, dtype=D)).shape == (0,)


def test_potential_of_a_batch_needs_an_index():
    batch = Structure.batch([Structure([8], [[0.0, 0, 0]]), Structure([1], [[0.0, 0, 0]])])
    density = Density(batch, Multipoles(width=1.0), torch.tensor([[1.0], [2.0]], dtype=D))
    points = torch.tensor([[0.0, 0, 3.0], [0.0, 0, 3.0]], dtype=D)
    with pytest.raises(ValueError, match="`index` must say"):
        density.potential(points)
    for index in ([0], [0, 0, 1], [0.0, 1.0], [0, 2], [-1, 0]):
        for read in (density.potential, density.field, density.values):
            with pytest.raises(ValueError, match="`index` must be"):
                read(points, torch.tensor(index))
        with pytest.raises(ValueError, match="`index` must be"):
            PointCharges(points, [1.0, 1.0], index=index).energy(density)
    v = density.potential(points, torch.tensor([0, 1]))
    assert v.tolist() == pytest.approx([float(erf(3 / math.sqrt(2)) / 3), float(2 * erf(3 / math.sqrt(2)) / 3)], rel=1e-14)


def test_dipole_and_quadrupole():
    torch.manual_seed(2)
    structure = Structure([8, 1, 1], torch.randn(3, 3, dtype=D) * 2)
    density = Density(structure, Multipoles(2, width=0.5), torch.randn(3, 9, dtype=D))
    far = torch.nn.functional.normalize(torch.randn(200, 3, dtype=D), dim=1)
    r = 4000.0
    n = far * r
    q, d, theta = density.charges.sum(), density.dipole[0], density.quadrupole[0]
    expected = q / r + far @ d / r**2 + torch.einsum("na,ab,nb->n", far, theta, far) / r**3
    assert torch.allclose(density.potential(n), expected, rtol=0, atol=1e-12)
    assert abs(float(theta.trace())) < 1e-12
    assert float((torch.einsum("na,ab,nb->n", far, theta, far) / r**3).abs().max()) > 1e-10


def test_cube_file(tmp_path):
    from ase.io.cube import read_cube_data

    structure = Structure([11, 17], [[0.0, 0, 0], [0, 0, 4.5]])
    density = Density(structure, Multipoles(width=1.0), torch.tensor([[0.8], [-0.8]], dtype=D))
    for what in ("density", "potential"):
        density.write_cube(tmp_path / "a.cube", what, spacing=0.5)
        data, atoms = read_cube_data(tmp_path / "a.cube")
        assert atoms.get_chemical_symbols() == ["Na", "Cl"]
        assert data.max() > 0 > data.min()
    wide = Density(structure, Multipoles(width={"Na": 4.0, "Cl": 2.0}), density.coefficients)
    wide.write_cube(tmp_path / "a.cube", spacing=1.0)
    data, atoms = read_cube_data(tmp_path / "a.cube")
    height = np.indices(data.shape)[2] * atoms.cell[2, 2] / data.shape[2] * angstrom
    volume = atoms.get_volume() * angstrom**3 / data.size
    assert abs(data.sum() * volume) < 1e-3
    assert (data * height).sum() * volume == pytest.approx(-0.8 * 4.5, abs=1e-2)
    with pytest.raises(ValueError, match="`what` must be"):
        density.write_cube(tmp_path / "a.cube", "spin")


SHEET = torch.tensor([[0.0, 0, 0], [2.0, 3, 1.0], [4, 1, -2.0], [1, 4, 2.5]], dtype=D)
WIDTHS = torch.tensor([0.6, 0.8, 1.0, 0.5], dtype=D)
CHARGED = torch.tensor([0.7, -0.4, 0.5, -0.1], dtype=D)


def energy_of(positions, cell, pbc, q):
    structure = Structure([1] * len(positions), positions, cell, pbc)
    return float(Hartree().energy(Density(structure, Multipoles(width=WIDTHS), q[:, None])))


def test_charged_slab_is_parry_s_sum():
    """Two-dimensional Ewald sum with the erfc terms written out; D. E. Parry, Surf. Sci. 49, 433 (1975)."""
    cell = np.array([[6.0, 0, 0], [1.0, 5.5, 0]])
    area, division, expected = 6 * 5.5, 0.5, 0.0
    dual = 2 * np.pi * np.linalg.inv(cell[:, :2]).T
    for i in range(4):
        for j in range(4):
            a = 1 / math.sqrt(2 * float(WIDTHS[i] ** 2 + WIDTHS[j] ** 2))
            u = (SHEET[i] - SHEET[j]).numpy()
            total = 0.0
            for m in np.array([[m, n] for m in range(-7, 8) for n in range(-7, 8)]):
                r = np.linalg.norm(u + m @ cell)
                total += 2 / math.sqrt(math.pi) * (a - division) if r < 1e-9 else (math.erf(a * r) - math.erf(division * r)) / r
            z = u[2]
            total -= (
                2 * np.pi / area * (z * math.erf(division * z) + math.exp(-((division * z) ** 2)) / (division * np.pi**0.5))
            )
            for m in np.array([[m, n] for m in range(-9, 10) for n in range(-9, 10) if (m, n) != (0, 0)]):
                g = m @ dual
                k = np.linalg.norm(g)
                up = math.exp(k * z) * math.erfc(k / (2 * division) + division * z)
                down = math.exp(-k * z) * math.erfc(k / (2 * division) - division * z)
                total += np.pi / (area * k) * math.cos(g @ u[:2]) * (up + down)
            expected += 0.5 * float(CHARGED[i] * CHARGED[j]) * total
    for axis in range(3):  # any axis may be the open one
        order = torch.arange(3).roll(axis + 1)
        flat = torch.zeros(3, 3, dtype=D)
        flat[:2] = torch.tensor(cell)
        turned = flat[order][:, order]
        pbc = torch.tensor([True, True, False])[order]
        assert energy_of(SHEET[:, order], turned, pbc, CHARGED) == pytest.approx(expected, abs=1e-11)


def test_neutral_slab_is_bulk_with_its_dipole_removed():
    """I.-C. Yeh, M. L. Berkowitz, J. Chem. Phys. 111, 3155 (1999): exact for much vacuum."""
    cell = torch.tensor([[6.0, 0, 0], [1.0, 5.5, 0], [0, 0, 70.0]], dtype=D)
    q = CHARGED - CHARGED.mean()
    dipole = float((q * SHEET[:, 2]).sum())
    bulk = energy_of(SHEET, cell, True, q) + 2 * math.pi * dipole**2 / float(torch.linalg.det(cell))
    assert energy_of(SHEET, cell, [True, True, False], q) == pytest.approx(bulk, abs=1e-12)


def test_wire_is_its_sum_over_images():
    """sum_n 1/|r + n c|, less (2/c) ln((2N + 1) c) for a net charge: the potential -2 lambda ln(r) of a far line."""
    axis = torch.tensor([1.0, 2.0, 5.0], dtype=D)
    cell = torch.stack([torch.zeros(3, dtype=D), torch.zeros(3, dtype=D), axis])
    period, images = float(axis.norm()), 40_000
    n = np.arange(-images, images + 1)
    expected = 0.0
    for i in range(4):
        for j in range(4):
            a = 1 / math.sqrt(2 * float(WIDTHS[i] ** 2 + WIDTHS[j] ** 2))
            r = np.linalg.norm((SHEET[i] - SHEET[j]).numpy() + n[:, None] * axis.numpy(), axis=1)
            value = np.where(r > 1e-9, erf(a * r) / np.maximum(r, 1e-9), 2 * a / math.sqrt(math.pi)).sum()
            expected += 0.5 * float(CHARGED[i] * CHARGED[j]) * (value - 2 / period * math.log((2 * images + 1) * period))
    assert energy_of(SHEET, cell, [False, False, True], CHARGED) == pytest.approx(expected, abs=2e-8)


def test_charged_plane_far_away():
    """A sheet of charge density s has the potential -2 pi s |z|, a line of density l -2 l ln(r)."""
    square = torch.tensor([[3.0, 0, 0], [0, 3.0, 0], [0, 0, 0]], dtype=D)
    one = Multipoles(width=0.7)
    sheet = Density(Structure([1], [[0.3, 0.2, 0.1]], square, [True, True, False]), one, torch.ones(1, 1, dtype=D))
    far = torch.tensor([[1.0, 1.0, 30.1], [2.0, 0.0, -49.9]], dtype=D)
    assert sheet.potential(far).tolist() == pytest.approx([-2 * math.pi / 9 * 30, -2 * math.pi / 9 * 50], abs=1e-10)
    line = Density(Structure([1], [[0.3, 0.2, 0.1]], square, [True, False, False]), one, torch.ones(1, 1, dtype=D))
    far = torch.tensor([[1.0, 20.2, 0.1], [2.0, 0.2, -39.9]], dtype=D)
    assert line.potential(far).tolist() == pytest.approx([-2 / 3 * math.log(20), -2 / 3 * math.log(40)], abs=1e-10)


def test_too_many_pairs_are_refused_before_the_work():
    n = 11_000
    grid = torch.arange(n, dtype=D)
    structure = Structure(torch.ones(n), torch.stack([3 * grid, 0 * grid, 0 * grid], 1))
    with pytest.raises(ValueError, match=r"at most 1e\+08 pairs of sites in open space"):
        Hartree(operator=Operator.EWALD).energy(Density(structure, Multipoles(width=1.0), torch.ones(n, 1, dtype=D)))


def test_widths_that_need_more_than_memory_are_refused():
    pair = Structure([11, 17], [[0.0, 0, 0], [5.0, 5.0, 5.0]], torch.eye(3, dtype=torch.float64) * 10.0, True)
    with pytest.raises(ValueError, match="`width` must be such that sums over pairs fit into memory"):
        Model(Hartree() + Hardness(0.5), Multipoles(width={"Na": 0.3, "Cl": 1e3}))(pair)
