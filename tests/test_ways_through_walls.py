"""By which way charges come through the walls of cells is known or not, of each structure of a batch by itself."""

import pytest
import torch

import cgdft
from cgdft import Model, Multipoles, ResponseModes, SplitCharges, Structure
from cgdft.electrostatics.pairs import fading, near_pairs
from cgdft.functionals import CoordinationNumber, Electronegativity, Hardness, Hartree, UniformField
from cgdft.functionals.models.local_multipoles import SharedExcess

D = torch.float64


def crowded(structure):
    """Reference charges that change with the positions."""
    numbers = CoordinationNumber()(structure)
    return 0.1 * (numbers * (structure.numbers - 14.0))[:, None]


PAIR = Structure([11, 17], [[0, 0, 0], [1.0, 2.0, 4.4]], torch.diag(torch.tensor([9.0, 9.0, 30.0])), [True, True, False])


@pytest.mark.parametrize("pbc", [(1, 1, 0), (0, 0, 1)], ids=["slab", "wire"])
def test_a_field_across_leaves_the_polarizability_along(pbc):
    """However it came to the reference charges: those are where they are."""
    structure = Structure(PAIR.numbers, PAIR.positions, torch.diag(torch.tensor([9.0, 9.0, 12.0])), pbc)
    functional = Hartree() + Electronegativity({"Na": 0.1, "Cl": 0.3}) + Hardness(0.5)
    model = Model(functional, Multipoles(width=1.2), SplitCharges(None, 0.3, SharedExcess(crowded), reach=1.8))
    across = [0.0 if axis else 0.01 for axis in pbc]
    alone = model(structure).polarizability()
    assert all(float(alone[0, axis, axis]) > 1 for axis in range(3) if pbc[axis])
    torch.testing.assert_close((model + UniformField(across))(structure).polarizability(), alone, rtol=1e-9, atol=1e-9)


def of_given_bonds(n):
    """The bond of the second structure has two images that are nearly as near."""
    return SplitCharges([[2 * s, 2 * s + 1] for s in range(n)], 0.3)


def of_modes(n):
    """The mode of the second structure moves charge by a way that is not said."""
    lone, pair = torch.tensor([0, 0, 0, 0, 0, 1.0, 0, 0], dtype=D), torch.tensor([1.0, 0, 0, 0, -1.0, 0, 0, 0], dtype=D)
    return ResponseModes(torch.block_diag(lone[:, None], pair[:, None])[: 8 * n, :n], 0.0)


def of_reference_charges(n):
    """Those of the second structure change with positions; of the first, whose atoms are far apart, they do not."""
    return SplitCharges(None, 0.3, SharedExcess(crowded_where_near), reach=2.5)


def crowded_where_near(structure):
    i, _, apart = near_pairs(structure, 5.0)
    return 0.01 * torch.zeros(structure.n_atoms, 1, dtype=D).index_add(0, i, fading(apart, 5.0)[:, None])


@pytest.mark.parametrize("field", [False, True], ids=["", "field"])
@pytest.mark.parametrize("ansatz", [of_given_bonds, of_modes, of_reference_charges])
def test_ways_are_known_of_each_structure_by_itself(ansatz, field):
    lmax = 1 if ansatz is of_modes else 0
    functional = Hartree() + Electronegativity({"Na": 0.1, "Cl": 0.3}) + Hardness(0.5)
    functional = functional + Hardness(0.4, l=1) if lmax else functional
    functional = functional + UniformField([0, 0, 0.01]) if field else functional
    wide = Structure(PAIR.numbers, [[0, 0, 0], [1.0, 2.0, 5.4]], 30 * torch.eye(3), [True, True, False])
    narrow = torch.diag(torch.tensor([8.0, 8.0, 30.0]))
    other = Structure(PAIR.numbers, [[0, 0, 0], [4.0, 0.3, 0.5]], narrow, [True, True, False])

    def solved(n, structure):
        return Model(functional, Multipoles(lmax, width=1.2), ansatz(n))(structure)

    alone, both = solved(1, wide), solved(2, Structure.batch([wide, other]))
    assert float(alone.polarizability()[0, 0, 0]) > 1e-3
    torch.testing.assert_close(both.polarizability()[0], alone.polarizability()[0], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(both.born_charges()[:2], alone.born_charges(), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(both.virial()[0], alone.virial()[0], rtol=1e-9, atol=1e-10)
    assert float(both.polarizability()[1, :2].abs().max() > 1e-3) == (ansatz is of_reference_charges)
    assert float(both.born_charges()[2:, :2].abs().max()) < 1e-12


def test_a_users_field_in_a_mixed_batch():
    """As the field of the package: of each structure as alone, whether ways are known or not."""

    class Field(cgdft.Term):
        quadratic = external = convex = True

        def energy(self, rho):
            return -0.01 * rho.followed_dipole[:, 2]

    wide = Structure(PAIR.numbers, [[0, 0, 0], [1.0, 2.0, 5.4]], 30 * torch.eye(3), [True, True, False])
    narrow = torch.diag(torch.tensor([8.0, 8.0, 30.0]))
    other = Structure(PAIR.numbers, [[0, 0, 0], [4.0, 0.3, 0.5]], narrow, [True, True, False])
    functional = Hartree() + Electronegativity({"Na": 0.1, "Cl": 0.3}) + Hardness(0.5)
    mine, right = (
        Model(functional + field, Multipoles(width=1.2), of_given_bonds(2))(Structure.batch([wide, other]))
        for field in (Field(), UniformField([0, 0, 0.01]))
    )
    torch.testing.assert_close(mine.charges, right.charges, rtol=0, atol=1e-12)
    torch.testing.assert_close(mine.forces(), right.forces(), rtol=0, atol=1e-12)
    torch.testing.assert_close(mine.polarizability(), right.polarizability(), rtol=0, atol=1e-10)
