"""Environments and heads on them: equivariance, convexity, conserved charge."""

import pytest
import torch
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import ATOMS, environment, structure

from cgdft import Density, Multipoles, Structure, check_term
from cgdft.electrostatics.multipole import rotation
from cgdft.functionals import Electronegativity, EnergyFunctional, Hardness
from cgdft.functionals.models.local_multipoles import SharedExcess
from cgdft.learning import (
    BondColumns,
    Coefficients,
    ConvexLocal,
    DipoleColumns,
    MessagePassing,
    OffCentre,
    Scalar,
    Shares,
    SiteColumns,
    SusceptibilityFactor,
    WithCharges,
)
from cgdft.learning.architectures import make
from cgdft.learning.directions import DipoleElectronegativity
from cgdft.testing.structures import TURN


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 30.0), st.floats(-3.0, 3.0))
def test_learned_functionals_are_convex_whatever_their_weights(seed, size, q):
    torch.manual_seed(seed)
    heads = MessagePassing(list(ATOMS), channels=2, layers=1, dtype=torch.float64)
    term = ConvexLocal(heads)
    with torch.no_grad():
        for p in term.parameters():
            p.mul_(size)
    s = structure("H2O", seed % 7)
    basis = Multipoles(1, width=1.0)
    rho = Density(s, basis, q * torch.randn(3, 4, dtype=torch.float64))
    blocks = term.prepare(s, basis).blocks(rho)
    values = torch.linalg.eigvalsh(blocks)
    assert float(values.min()) > -1e-10 * (1 + float(values.abs().max()))
    zero = Density(s, basis, torch.zeros(3, 4, dtype=torch.float64))
    assert abs(float(term.energy(zero).detach())) < 1e-13 * size
    assert float(term.gradient(zero).detach().abs().max()) < 1e-11 * size**2
    assert (Scalar(heads, 0.2, 50.0, positive=True)(s) > 0).all()


def test_terms_of_learning():
    s = structure("CH3OH")
    heads = environment()
    terms = (
        ConvexLocal(heads),
        DipoleElectronegativity(heads),
        OffCentre(Scalar(heads, 0.3, 0.3, positive=True), heads, scale=2.0),
        Electronegativity(Scalar(heads)),
    )
    for term in terms:
        for p in term.parameters():
            p.requires_grad_(requires_grad=False)
        for lmax in (1, 2):
            check_term(term, s, Multipoles(lmax, width=1.0))
    check_term(terms[0], s, Multipoles(0, width=1.0))


def test_shares_of_an_added_charge():
    """What a charge does to the reference density is linear in it and adds up; dipoles turn with the molecule."""
    heads = environment()
    shared = SharedExcess(Coefficients(heads, lmax=1), Shares(heads, lmax=1, scale=2.0))
    neutral, ion, dication = (shared(structure("CH3OH", charge=q)).detach() for q in (0, 1, 2))
    assert float((ion - neutral)[:, 0].sum()) == pytest.approx(1.0, abs=1e-12)
    assert (ion - neutral)[:, 0].min() > 0
    assert float((ion - neutral)[:, 1:].abs().max()) > 1e-2
    assert torch.allclose(dication - ion, ion - neutral, atol=1e-12)
    unshared = float(shared.multipoles(structure("CH3OH")).detach()[:, 0].sum())
    given = [float(shared.excess(structure("CH3OH", charge=q)).detach()) for q in (0, 1)]
    assert given == pytest.approx([unshared, unshared - 1])
    s = structure("CH3OH", charge=1)
    turned = s.deformed(torch.zeros_like(s.positions), (TURN.T - torch.eye(3, dtype=torch.float64))[None])
    assert torch.allclose(shared(turned).detach(), ion @ rotation(TURN, 1).T, atol=1e-9)


def test_surroundings_with_charges():
    """Where charge states of one geometry differ, and where they do not: alone, or far from where the charge is."""
    heads = environment()
    shared = SharedExcess(Coefficients(heads, lmax=1), Shares(heads, lmax=1, scale=2.0))
    charged = WithCharges(heads, shared)
    states = [structure("CH3OH", charge=q) for q in (0, 1, 2)]
    neutral, ion, dication = (charged(one).detach() for one in states)
    assert torch.equal(neutral[:, :-1], ion[:, :-1])
    assert torch.equal(ion[:, -1], shared(states[1])[:, 0])
    assert torch.allclose(dication - ion, ion - neutral, atol=1e-12)
    assert charged.invariants(states[0]).shape == (6, charged.n_invariants)
    assert charged.n_invariants == heads.n_invariants + 1
    assert charged.origin is heads
    assert WithCharges(charged, shared).origin is heads
    scalar = Scalar(charged, 0.3, 0.3, positive=True)
    known, other = (scalar(states[q]).detach() for q in (0, 1))
    assert float((known - other).abs().min()) > 1e-6

    def softness(positions):
        return scalar(states[1].holding(positions=positions))

    assert torch.autograd.gradcheck(softness, states[1].positions.clone().requires_grad_())


def test_elements_that_are_not_known():
    model = EnergyFunctional(Electronegativity(Scalar(environment())) + Hardness(0.3), 1.0, lmax=0)
    with pytest.raises(ValueError, match="`structure` must be of the elements H, C, O that the model was made for, got N"):
        model(structure("NH3"))
    with pytest.raises(ValueError, match="`elements` must be chemical symbols"):
        MessagePassing(["Xx"])
    with pytest.raises(ValueError, match="`architecture` must be one of"):
        make("none", environment(), ATOMS)


def test_scalars_begin_at_values_per_element():
    heads, s, start = environment(), structure("CH3OH"), {"H": 0.5, "C": 0.3, "O": 0.4}
    for positive in (True, False):
        found = Scalar(heads, start, scale=0.0, positive=positive)(s)
        assert found.tolist() == pytest.approx([start[symbol] for symbol in s.symbols])
    with pytest.raises(ValueError, match="`start` of H must be"):
        Scalar(heads, {"H": -0.5}, positive=True)


@pytest.mark.parametrize("lmax", [0, 1])
def test_columns_of_the_susceptibility(lmax):
    """Sites take up charge of either sign, bonds conserve it, dipoles carry none; together they are one after the other."""
    heads, s = environment(), structure("CH3OH")
    size = (lmax + 1) ** 2

    def dense(part):
        rows, columns, values, width, _ = part(s)
        return torch.zeros(s.n_atoms * size, width, dtype=torch.float64).index_put((rows, columns), values, accumulate=True)

    sites, bonds = SiteColumns(heads, lmax, softness=2.0), BondColumns(heads, heads.cutoff, lmax, softness=0.5)
    assert torch.allclose(dense(sites)[::size].diagonal() ** 2, torch.tensor(2.0).double(), rtol=0.5)
    assert (dense(sites)[::size] - torch.diag(dense(sites)[::size].diagonal())).abs().max() == 0
    assert float(dense(bonds)[::size].sum(0).detach().abs().max()) < 1e-15
    assert 0 < float(dense(bonds).detach().abs().max()) < 2 * 0.5**0.5
    parts = [sites, bonds] + [DipoleColumns(heads, polarizability=3.0)] * lmax
    if lmax:
        assert dense(parts[-1])[::4].abs().max() == 0
        assert torch.allclose((dense(parts[-1]) ** 2).sum(0), torch.tensor(3.0).double(), rtol=0.5)
    assert torch.equal(dense(SusceptibilityFactor(*parts)), torch.cat([dense(part) for part in parts], 1))
    assert SusceptibilityFactor(*parts)(s).carried is None  # sites take up charge, whence is not said
    assert SusceptibilityFactor(*parts[1:])(s).carried.shape == (SusceptibilityFactor(*parts[1:])(s).width, 3)
    with pytest.raises(ValueError, match="`parts` must be columns of one basis"):
        SusceptibilityFactor(SiteColumns(heads, 1), BondColumns(heads, heads.cutoff, 0))
    with pytest.raises(ValueError, match="`lmax` must be 0 or 1, got 2"):
        SiteColumns(heads, 2)


@pytest.mark.parametrize("lmax", [0, 1, 2])
def test_features_of_a_cell_are_those_of_many(lmax):
    """Cells so small that atoms see images of their own, and the other atom on many sides."""
    cell = bulk("CO", "rocksalt", 3.4)
    cell.rattle(0.1, seed=0)
    of = environment(lmax=lmax)
    once, repeated = of(Structure.from_ase(cell)), of(Structure.from_ase(cell * (2, 1, 3)))
    torch.testing.assert_close(repeated, once.repeat(6, 1))
