"""Properties that hold for any structure: hypothesis looks for one where they do not."""

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cgdft import Model, Multipoles, Structure
from cgdft.electrostatics.multipole import rotation
from cgdft.functionals import Electronegativity, Hardness, Hartree
from cgdft.testing.structures import TURN

D = torch.float64
ELEMENTS = [1, 6, 8, 11, 17]
MODEL = Model(
    Hartree()
    + Electronegativity({"H": 0.17, "C": 0.2, "O": 0.32, "Na": 0.1, "Cl": 0.31})
    + Hardness(0.3)
    + Hardness(0.25, l=1)
    + Hardness(0.2, l=2),
    Multipoles(2, width={"H": 0.8, "C": 1.2, "O": 1.0, "Na": 1.8, "Cl": 1.5}),
)
SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@st.composite
def structures(draw, periodic=None):
    """One to six atoms on a jittered grid, open or in any right-handed cell, with any charge that it can have."""
    n = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    periodic = draw(st.booleans()) if periodic is None else periodic
    cell = 7.0 * np.eye(3) + rng.uniform(-2, 2, (3, 3)) if periodic else None
    grid = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) / 2
    chosen = grid[rng.permutation(8)[:n]] + rng.uniform(-0.1, 0.1, (n, 3))
    positions = chosen @ (cell if periodic else 6.0 * np.eye(3))
    numbers = rng.choice(ELEMENTS, n)
    charge = draw(st.floats(-2, min(2, int(numbers.sum()))))
    return Structure(numbers, positions, cell, periodic, charge)


@SETTINGS
@given(structures())
def test_rotation_and_translation(structure):
    solution = MODEL(structure)
    shift = torch.tensor([0.7, -11.3, 4.1], dtype=D)
    eye = torch.eye(3, dtype=D)
    turned = structure.deformed(shift.expand(structure.n_atoms, 3), (TURN.T - eye)[None])
    other = MODEL(turned)
    assert torch.allclose(other.energy, solution.energy, atol=1e-10)
    assert torch.allclose(other.coefficients, solution.coefficients @ rotation(TURN, 2).T, atol=1e-9)
    assert torch.allclose(other.forces(), solution.forces() @ TURN.T, atol=1e-9)
    assert torch.allclose(other.chemical_potential, solution.chemical_potential, atol=1e-10)


@SETTINGS
@given(structures(), st.randoms(use_true_random=False))
def test_permutation(structure, random):
    order = list(range(structure.n_atoms))
    random.shuffle(order)
    permuted = Structure(structure.numbers[order], structure.positions[order], structure.cell, structure.pbc, structure.charge)
    a, b = MODEL(structure), MODEL(permuted)
    assert torch.allclose(a.energy, b.energy, atol=1e-11)
    assert torch.allclose(a.coefficients[order], b.coefficients, atol=1e-10)
    assert torch.allclose(a.forces()[order], b.forces(), atol=1e-10)


@SETTINGS
@given(st.lists(structures(), min_size=2, max_size=3))
def test_batch(members):
    together = MODEL(Structure.batch(members))
    alone = [MODEL(s) for s in members]
    assert torch.allclose(together.energy, torch.cat([a.energy for a in alone]), atol=1e-11)
    assert torch.allclose(together.coefficients, torch.cat([a.coefficients for a in alone]), atol=1e-10)
    assert torch.allclose(together.forces(), torch.cat([a.forces() for a in alone]), atol=1e-10)


@SETTINGS
@given(structures(periodic=True), st.integers(-3, 3), st.integers(-3, 3))
def test_cell_does_not_depend_on_its_description(structure, m, n):
    """Another basis of the same lattice, and atoms moved by lattice vectors."""
    change = torch.tensor([[1, m, 0], [0, 1, n], [0, 0, 1]], dtype=D)
    shifts = torch.arange(3 * structure.n_atoms, dtype=D).reshape(-1, 3) % 3 - 1
    moved = structure.positions + shifts @ structure.cell[0]
    other = Structure(structure.numbers, moved, change @ structure.cell[0], True, structure.charge)
    a, b = MODEL(structure), MODEL(other)
    assert torch.allclose(a.energy, b.energy, atol=1e-10)
    assert torch.allclose(a.forces(), b.forces(), atol=1e-9)
    assert torch.allclose(a.stress(), b.stress(), atol=1e-10)


@SETTINGS
@given(structures())
def test_minimum(structure):
    """Charge conserved, potentials equal, energy below that of any other density of the same charge."""
    solution = MODEL(structure)
    assert torch.allclose(solution.total_charge, structure.charge, atol=1e-10)
    with torch.no_grad():
        felt = sum(term.gradient(solution.density) for term in solution.problem.functional)
    assert torch.allclose(felt[:, 0], -solution.chemical_potential.expand(structure.n_atoms), atol=1e-9)
    assert float(felt[:, 1:].abs().max()) < 1e-9
    noise = torch.randn(solution.coefficients.shape, generator=torch.Generator().manual_seed(0), dtype=D)
    noise[:, 0] -= noise[:, 0].mean()
    x = (solution.coefficients + 0.1 * noise).flatten()
    assert float(solution.problem.objective(x).detach()) > float(solution.energy)


@SETTINGS
@given(structures(periodic=False))
def test_forces_sum_to_zero_and_carry_no_torque(structure):
    forces = MODEL(structure).forces()
    assert float(forces.sum(0).abs().max()) < 1e-10
    assert float(torch.linalg.cross(structure.positions, forces).sum(0).abs().max()) < 1e-9


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=3, max_size=3),
        min_size=1,
        max_size=4,
    ),
    st.integers(-5, 130),
)
def test_nonsense_is_refused_or_finite(positions, number):
    """Whatever the input: a ValueError that names an argument, or finite numbers."""
    try:
        structure = Structure([number] * len(positions), positions)
        model = Model(Hartree() + Hardness(0.3), Multipoles(width=1.0))
        energy = model(structure).energy
    except ValueError as error:
        assert "`" in str(error)  # noqa: PT017
    else:
        assert torch.isfinite(energy).all()
