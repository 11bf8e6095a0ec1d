"""Polarizability and Born charges along periodic axes, where it is said how charge moves."""

import math

import numpy as np
import pytest
import torch
from ase.build import molecule
from torch.autograd import gradcheck

import cgdft
from cgdft import Fixed, Free, Model, Multipoles, ResponseModes, SolverError, SplitCharges, Structure
from cgdft.derivatives.observables import Undefined
from cgdft.electrostatics.pairs import fading, near_pairs
from cgdft.functionals import (
    ACKS2,
    SQE,
    Anharmonic,
    BondSoftness,
    Electronegativity,
    Hardness,
    Hartree,
    QEq,
    UniformField,
)
from cgdft.learning.data.frames import Batch, Frame
from cgdft.learning.training.prediction import minimised
from cgdft.solvers import CG
from cgdft.space import Entries
from cgdft.testing.structures import doubled

D = torch.float64
SIDE = 8.0
LATTICES = {
    "simple cubic": [[0.0, 0, 0]],
    "body-centred": [[0.0, 0, 0], [SIDE / 2] * 3],
    "face-centred": [[0.0, 0, 0], [SIDE / 2, SIDE / 2, 0], [SIDE / 2, 0, SIDE / 2], [0, SIDE / 2, SIDE / 2]],
}


def ions(alpha, charges):
    """Fixed charges with polarizable dipoles, too narrow to overlap."""
    functional = Hartree(self_interaction=False) + Hardness({symbol: 1 / a for symbol, a in alpha.items()}, l=1)
    return Model(functional, Multipoles(1, width=0.3), SplitCharges(bonds=[], p0=charges))


@pytest.mark.parametrize("name", LATTICES)
def test_clausius_mossotti(name):
    """(epsilon - 1) / (epsilon + 2) = 4 pi n alpha / 3 of dipoles on cubic lattices."""
    positions = LATTICES[name]
    structure = Structure([1] * len(positions), positions, SIDE * torch.eye(3), True)
    share = 4 * math.pi / 3 * len(positions) * 6.0 / SIDE**3
    epsilon = ions({"H": 6.0}, 0.0)(structure).dielectric_tensor()[0]
    assert torch.allclose(epsilon, (1 + 2 * share) / (1 - share) * torch.eye(3, dtype=D), atol=1e-10)


def test_szigeti():
    """Z = q (epsilon + 2) / 3 of ions that do not overlap, and no less (B. Szigeti, Trans. Faraday Soc. 45, 155 (1949))."""
    structure = Structure([11, 17], [[0.0, 0, 0], [SIDE / 2] * 3], SIDE * torch.eye(3), True)
    solution = ions({"Na": 2.0, "Cl": 9.0}, {"Na": 0.8, "Cl": -0.8})(structure)
    epsilon = solution.dielectric_tensor()[0, 0, 0]
    expected = 0.8 * (epsilon + 2) / 3 * torch.eye(3, dtype=D) * torch.tensor([1.0, -1.0])[:, None, None]
    assert torch.allclose(solution.born_charges(), expected, atol=1e-10)


BONDED = {
    "split charges": Model(
        Hartree() + Electronegativity({"H": 0.2, "Li": 0.1}) + Hardness(0.5),
        Multipoles(width=1.0),
        SplitCharges(hardness=0.7, reach=2.2),
    ),
    "response modes": ACKS2(BondSoftness(200.0, 7.0)),
}


def chain(n, periodic, symbols=(1, 3)):
    """Cells of 6 bohr along x, of two atoms or of one."""
    places = [[0.0, 0.0, 0.0], [2.6, 0.1, 0.0]][: len(symbols)]
    steps = 6.0 * torch.arange(n)[:, None, None] * torch.tensor([1.0, 0, 0])
    positions = (torch.tensor(places, dtype=D) + steps).reshape(-1, 3)
    cell = np.diag([6.0 * n, 0, 0]) if periodic else None
    return Structure(list(symbols) * n, positions, cell, [periodic, False, False])


@pytest.mark.parametrize("name", BONDED)
def test_wires_are_long_chains(name):
    """What a cell adds to the polarizability of a long chain, and to the Born charges in its middle."""
    model = BONDED[name]
    wire = model(chain(1, periodic=True))
    short, long = (model(chain(n, periodic=False)) for n in (20, 40))
    added = (long.polarizability() - short.polarizability())[0, 0, 0] / 20
    assert float(wire.polarizability()[0, 0, 0]) == pytest.approx(float(added), rel=2e-3)
    assert torch.allclose(wire.born_charges(), long.born_charges()[40:42], atol=2e-3)
    assert torch.allclose(wire.born_charges().sum(0), torch.zeros(3, 3, dtype=D), atol=1e-10)


@pytest.mark.parametrize("symbols", [(1, 3), (1,)])
@pytest.mark.parametrize("name", BONDED)
def test_cells_do_not_matter(name, symbols):
    """Not even that of one atom, whose bonds are to its own images."""
    one = BONDED[name].replace(ansatz=SplitCharges(hardness=0.7, reach=6.0)) if name == "split charges" else BONDED[name]
    alpha = [one(chain(n, periodic=True, symbols=symbols)).polarizability()[0] / n for n in (1, 2, 3)]
    assert float(alpha[0][0, 0]) > 0.01
    assert torch.allclose(alpha[0], alpha[1], atol=1e-9)
    assert torch.allclose(alpha[0], alpha[2], atol=1e-9)


def crystal(positions=((0.0, 0.1, 0.0), (2.4, 2.3, 2.7))):
    return Structure([3, 1], torch.as_tensor(positions, dtype=D), [[5.0, 0, 0], [0.6, 5.2, 0], [0.0, 0.3, 5.1]], True)


@pytest.mark.parametrize("name", BONDED)
def test_bulk_is_differentiable(name):
    """alpha and Z by positions, and alpha by a parameter."""

    def found(positions, chi):
        start = crystal()
        structure = start.deformed(positions - start.positions, torch.zeros_like(start.cell))
        model = BONDED[name].replace(functional=Hartree() + Electronegativity({"H": 0.3, "Li": chi}) + Hardness(0.5))
        solution = model(structure)
        return solution.polarizability(), solution.born_charges()

    inputs = crystal().positions.clone().requires_grad_(), torch.tensor(0.1, dtype=D, requires_grad=True)
    assert gradcheck(found, inputs, fast_mode=True, atol=1e-5)


IN_FIELDS = {
    **BONDED,
    "bonds by iteration": BONDED["split charges"].replace(solver=CG(tolerance=1e-12)),
    "anharmonic": BONDED["response modes"] + Anharmonic(0.4),
    "ions": ions({"Li": 2.0, "H": 9.0}, {"Li": 0.8, "H": -0.8}),
    "read out": BONDED["split charges"].replace(readout=Hartree() + Electronegativity({"H": 0.1, "Li": 0.3})),
}
FIELD = torch.tensor([0.01, -0.02, 0.03], dtype=D)


@pytest.mark.parametrize("name", IN_FIELDS)
def test_fields_along_periodic_axes(name):
    """Polarization, forces and virial in a field, by differences; the energy of a minimum falls by the dipole."""
    model, structure = IN_FIELDS[name], crystal()
    volume = float(structure.volume)
    driven = (model + UniformField(FIELD))(structure)
    assert torch.allclose(sum(driven.energies.values()), driven.energy, atol=1e-14)

    def by_field(k):
        solution = (model + UniformField(FIELD + k * 1e-3 * torch.tensor([0.6, 0.0, 0.8], dtype=D)))(structure)
        return solution.polarization[0] * volume, solution.energy

    def by_motion(dr, de):
        return (model + UniformField(FIELD))(structure.deformed(dr, de)).energy

    def slope(up, down, twice_up, twice_down, step):
        return (8 * (up - down) - (twice_up - twice_down)) / (12 * step)

    found = [slope(*one, 1e-3) for one in zip(*(by_field(k) for k in (1, -1, 2, -2)), strict=True)]
    direction = torch.tensor([0.6, 0.0, 0.8], dtype=D)
    assert torch.allclose(found[0], driven.polarizability()[0] @ direction, rtol=1e-6, atol=1e-9)
    if model.readout is None:
        assert torch.allclose(found[1], -driven.polarization @ direction * volume, rtol=1e-6, atol=1e-9)
    generator = torch.Generator().manual_seed(0)
    u, e = torch.randn(2, 3, generator=generator, dtype=D), torch.randn(1, 3, 3, generator=generator, dtype=D)
    e = 0.2 * (e + e.transpose(1, 2))
    force = slope(*(by_motion(k * 1e-3 * u, 0 * e) for k in (1, -1, 2, -2)), 1e-3)
    assert torch.allclose(-(driven.forces() * u).sum()[None], force, rtol=1e-6, atol=1e-9)
    strained = slope(*(by_motion(0 * u, k * 1e-3 * e) for k in (1, -1, 2, -2)), 1e-3)
    assert torch.allclose((driven.virial() * e).sum()[None], strained, rtol=1e-6, atol=1e-9)


def test_a_field_in_bulk_is_the_macroscopic_one():
    """Clausius and Mossotti's dipoles in a field, one for each structure of a batch; cells of twice the size; forces Z F."""
    cubic = Structure([1], [[0.0, 0, 0]], SIDE * torch.eye(3), True)
    share = 4 * math.pi / 3 * 6.0 / SIDE**3
    fields = torch.stack([FIELD, -2 * FIELD])
    dipoles = (ions({"H": 6.0}, 0.0) + UniformField(fields))(Structure.batch([cubic, cubic])).dipoles
    assert torch.allclose(dipoles, 6.0 / (1 - share) * fields, atol=1e-10)
    salt = Structure([11, 17], [[0.0, 0, 0], [SIDE / 2] * 3], SIDE * torch.eye(3), True)
    model = ions({"Na": 2.0, "Cl": 9.0}, {"Na": 0.8, "Cl": -0.8})
    driven = (model + UniformField(FIELD))(salt)
    assert torch.allclose(driven.forces(), torch.einsum("iab,a->ib", model(salt).born_charges(), FIELD), atol=1e-9)
    twice = (model + UniformField(FIELD))(doubled(salt))
    assert torch.allclose(twice.forces()[:2], driven.forces(), atol=1e-9)
    assert torch.allclose(twice.dipoles[:2], driven.dipoles, atol=1e-10)


def test_a_field_across_some_of_a_batch():
    """A slab and an open structure feel it as they do alone; a wire as the middle of a long chain."""
    model = BONDED["response modes"] + UniformField(FIELD)
    slab = Structure(crystal().numbers, crystal().positions, crystal().cell, [True, True, False])
    alone = Structure(crystal().numbers, crystal().positions)
    both = model(Structure.batch([slab, alone]))
    assert torch.allclose(both.charges, torch.cat([model(slab).charges, model(alone).charges]), atol=1e-12)
    assert torch.allclose(both.energy, torch.cat([model(slab).energy, model(alone).energy]), atol=1e-12)
    assert torch.allclose(both.forces()[:2], model(slab).forces(), atol=1e-10)
    wire, long = model(chain(1, periodic=True)), model(chain(40, periodic=False))
    assert torch.allclose(wire.charges, long.charges[40:42], atol=1e-5)
    assert torch.allclose(wire.forces(), long.forces()[40:42], atol=1e-5)


def test_a_slab_in_a_field_across_it_sheared():
    """Of bonds the virial is the slope of the energy, though a sheared slab has the field along itself."""
    slab = Structure(crystal().numbers, crystal().positions, [[5.0, 0, 0], [0.6, 5.2, 0], [0, 0, 0]], [True, True, False])
    model, step = BONDED["split charges"], 1e-3

    def energy(solved, k):
        strain = torch.zeros(1, 3, 3, dtype=D)
        strain[0, 0, 2] = strain[0, 2, 0] = k * step
        return solved(slab.deformed(torch.zeros_like(slab.positions), strain)).energy

    across = model + UniformField([0.0, 0.0, 0.02])
    slope = (energy(across, 1) - energy(across, -1)) / (2 * step)
    assert float(2 * across(slab).virial()[0, 0, 2]) == pytest.approx(float(slope), abs=1e-6)
    nearly = (model + UniformField([1e-9, 0.0, 0.02]))(slab)
    assert torch.allclose(nearly.virial(), across(slab).virial(), atol=1e-8)
    assert (QEq() + UniformField([0.0, 0.0, 0.02]))(slab).virial().isfinite().all()


def test_fields_that_conductors_do_not_have():
    moving = SplitCharges(hardness=0.7, reach=2.2, p0=lambda s: 0.1 * torch.stack([s.positions[1, 0], -s.positions[1, 0]]))
    for model in (QEq(), BONDED["split charges"].replace(ansatz=moving)):
        with pytest.raises(ValueError, match="`field` along a periodic axis needs charges that are fixed or move along bonds"):
            (model + UniformField(FIELD))(crystal())
        with pytest.raises(ValueError, match="`polarization` needs charges that are fixed"):
            _ = model(crystal()).polarization
    ring = BONDED["split charges"].replace(ansatz=SplitCharges(hardness=0.0, reach=2.2))
    with pytest.raises(SolverError):
        (ring + UniformField(FIELD))(crystal())


def test_born_charges_are_those_of_what_moves():
    """D of bonds that are moved by hand, by differences: dD = sum_i q_i dR_i + what charge flows."""
    model = BONDED["split charges"]
    start, h = crystal(), 1e-4
    z = model(start).born_charges()
    for atom in range(2):
        sides = []
        for sign in (1, -1):
            shift = torch.zeros_like(start.positions)
            shift[atom, 2] = sign * h
            solution = model(start.deformed(shift, torch.zeros_like(start.cell)))
            carried = solution.problem.space.carried
            assert carried is not None
            sides.append((solution.minimum.x[:, None] * carried).sum(0))
        assert torch.allclose((sides[0] - sides[1]) / (2 * h), z[atom, :, 2], atol=1e-6)


def test_fixed_charges_carry_themselves():
    structure = crystal()
    solution = Model(Hartree(), Multipoles(width=1.0), Fixed({"Li": 0.7, "H": -0.7}))(structure)
    assert torch.equal(solution.polarizability(), torch.zeros(1, 3, 3, dtype=D))
    assert torch.allclose(solution.born_charges(), torch.tensor([0.7, -0.7], dtype=D)[:, None, None] * torch.eye(3, dtype=D))


def test_what_is_not_said_is_refused():
    structure = crystal()
    given = SQE(0.3, bonds=[[0, 1]])
    dense = Model(Hartree(), Multipoles(width=1.0), ResponseModes(torch.tensor([[1.0], [-1.0]], dtype=D)))
    for model in (QEq(), given, dense):
        for call in ("polarizability", "born_charges", "dielectric_tensor"):
            with pytest.raises(ValueError, match="of bulk needs charges that are fixed or move along bonds"):
                getattr(model(structure), call)()
    moving = Model(
        Hartree(), Multipoles(width=1.0), Fixed(lambda s: 0.1 * torch.stack([s.positions[1, 0], -s.positions[1, 0]]))
    )
    with pytest.raises(ValueError, match="reference charges that positions do not change"):
        moving(structure).born_charges()
    layer = Structure(structure.numbers, structure.positions, structure.cell[0], [True, True, False])
    z = moving(layer).born_charges()
    assert float(z[:, :2].abs().max()) < 1e-12
    assert torch.allclose(z[:, 2, 2], moving(layer).charges)
    with pytest.raises(ValueError, match="`dielectric_tensor` needs bulk"):
        QEq()(chain(1, periodic=True)).dielectric_tensor()
    way = (structure.positions[0] - structure.positions[1] + structure.cell[0, 1])[None]
    said, short = (
        Entries(torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([1.0, -1.0], dtype=D), 1, one)
        for one in (way, 0.5 * way)
    )
    alpha = dense.replace(ansatz=ResponseModes(said))(structure).polarizability()[0]
    assert torch.allclose(alpha, alpha[0, 0] * way.T @ way / way[0, 0] ** 2)
    assert float(alpha[0, 0]) > 0.0
    with pytest.raises(ValueError, match="`carried` must be, along open axes, the dipole of the charge that a mode moves"):
        dense.replace(ansatz=ResponseModes(short))(layer)
    endless = said._replace(carried=torch.full_like(way, torch.inf))
    with pytest.raises(ValueError, match="`carried` of a Space must be finite"):
        dense.replace(ansatz=ResponseModes(endless))(structure)


def test_charge_that_goes_around_a_cell_at_no_cost_has_no_response():
    """Bonds without hardness conduct; around a ring of atoms nothing is driven."""
    structure = crystal()
    softer = [float(SQE(kappa)(structure).polarizability()[0, 0, 0]) for kappa in (1e-3, 1e-4)]
    assert softer[1] == pytest.approx(10 * softer[0], rel=0.1)
    for call in ("polarizability", "born_charges"):
        with pytest.raises(SolverError, match="something moves at no cost, as in a conductor"):
            getattr(SQE(0.0)(structure), call)()
    ring = Structure.from_ase(molecule("C6H6"))
    torch.testing.assert_close(SQE(0.0)(ring).polarizability(), QEq()(ring).polarizability(), rtol=0, atol=1e-9)
    born = SQE(0.0, bonds=[[0, 1], [1, 2], [2, 0]])(Structure.from_ase(molecule("H2O"))).born_charges()
    assert torch.allclose(born, SQE(0.0, bonds=[[0, 1], [1, 2]])(Structure.from_ase(molecule("H2O"))).born_charges(), atol=1e-9)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0)], ids=["bulk", "slab", "wire"])
def test_bonds_that_are_given_join_nearest_images(pbc):
    """Of a molecule cut by the walls of a skewed cell, as bonds that are found."""
    water = molecule("H2O", cell=[[9, 0, 0], [4, 8, 0], [1, 2, 9]], pbc=pbc)
    cut = water.copy()
    cut.positions[1] += 2 * water.cell[1] - pbc[0] * water.cell[0]
    found, given = SQE(0.3)(Structure.from_ase(water)), SQE(0.3, bonds=[[0, 1], [0, 2]])(Structure.from_ase(cut))
    torch.testing.assert_close(given.polarizability(), found.polarizability(), rtol=0, atol=1e-9)
    torch.testing.assert_close(given.born_charges(), found.born_charges(), rtol=0, atol=1e-9)


def test_labels_of_bulk():
    """Predicted for training as for a user; and not as zero where a model has none."""
    wanted = {"polarizability": torch.eye(3, dtype=D), "born_charges": torch.zeros(2, 3, 3, dtype=D)}
    batch = Batch.of([Frame("crystal", crystal(), wanted)])
    model = BONDED["split charges"]
    prediction = minimised(model, batch, list(wanted))
    assert torch.allclose(prediction.get("polarizability", [0])[0], model(crystal()).polarizability()[0], atol=1e-9)
    assert torch.allclose(prediction.get("born_charges", [0]), model(crystal()).born_charges(), atol=1e-9)
    free = model.replace(ansatz=Free())
    for name in wanted:
        with pytest.raises(Undefined, match="of bulk needs charges that are fixed"):
            minimised(free, batch, [name]).get(name, [0])


@pytest.mark.parametrize("pbc", [(1, 1, 0), (0, 1, 0)], ids=["slab", "wire"])
def test_open_directions_turn_with_the_cell(pbc):
    """Dipole, polarizability and Born charges of slabs and wires as functions of the cell, differentiated by it."""
    numbers, positions = [8, 1, 1], [[0.0, 0.1, 0.2], [1.5, 0.2, -1.1], [-1.4, 0.3, -1.2]]
    cell = torch.tensor([[7.0, 0.2, 0.1], [1.0, 6.5, -0.3], [-0.7, 0.9, 9.0]], dtype=D, requires_grad=True)

    def observed(cell):
        solution = QEq()(Structure(numbers, positions, cell, pbc))
        return solution.dipole, solution.polarizability(), solution.born_charges()

    assert torch.autograd.gradcheck(observed, (cell,), atol=1e-6)


def test_fields_across_slabs_do_not_ask_how_reference_charges_came():
    """Reference charges that change with the positions: which image an atom is does not matter, nor a field along the slab."""

    def reference(structure):
        i, _, apart = near_pairs(structure, 12.0)
        crowd = structure.positions.new_zeros(3).index_add(0, i, fading(apart, 12.0))
        return crowd - crowd.mean()

    numbers, cell = [6, 8, 1], [[7.0, 0, 0], [1.0, 8.0, 0], [0, 0, 0]]
    positions = torch.tensor([[0.0, 0, 0], [2.0, 0.5, 1.0], [1.0, 2.5, -1.5]], dtype=D)
    elsewhere = positions.clone()
    elsewhere[1] += torch.tensor(cell[0], dtype=D)
    found = []
    for at in (positions, elsewhere):
        field = torch.tensor([0.0, 0.0, 0.02], dtype=D, requires_grad=True)
        model = Model(Hartree() + UniformField(field), Multipoles(width=1.0), Fixed(reference))
        solution = model(Structure(numbers, at, cell, [True, True, False]))
        (by_field,) = torch.autograd.grad(solution.energy.sum(), field, retain_graph=True)
        found.append((solution.virial().detach(), by_field))
    torch.testing.assert_close(found[0], found[1], atol=1e-12, rtol=0)
    assert float(found[0][1][:2].abs().max()) < 1e-14


def test_terms_on_the_itinerant_dipole_say_so():
    """They are external, and linear in it: else what crosses walls would be missing in the minimum."""

    @cgdft.term(local=True, quadratic=True)
    def unsaid(rho):
        return -0.01 * rho.itinerant_dipole[:, 0]

    @cgdft.term(external=True)
    def bent(rho):
        return 0.01 * rho.itinerant_dipole[:, 0] ** 2

    @cgdft.term(local=True, quadratic=True, external=True)
    def field(rho):
        return -0.01 * rho.itinerant_dipole[:, 0]

    salt = Structure([11, 17], [[0.0, 0, 0], [4.0, 0.3, 0.2]], 8 * torch.eye(3), pbc=True)
    for term in (unsaid(), bent()):
        with pytest.raises(ValueError, match="must be external, and linear in the itinerant dipole"):
            (SQE(0.3) + term)(salt)
    both = [(SQE(0.3) + term)(salt).charges for term in (field(), UniformField([0.01, 0, 0]))]
    torch.testing.assert_close(*both, atol=1e-12, rtol=0)
