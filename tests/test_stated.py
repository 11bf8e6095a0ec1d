"""Derivatives that a user states are those of the energy that is stated, or the solve says that they are not."""

import pytest
import torch
from ase.build import molecule

import cgdft
from cgdft import Density, GrandPotential, Model, Multipoles, Response, ResponseLaw, Structure, Term
from cgdft.ase import CGDFT
from cgdft.checks.declared import lacks
from cgdft.electrostatics.coulomb import Coulomb, Sites
from cgdft.functionals import Electronegativity, Hartree, QEq

D = torch.float64
WATER = Structure.from_ase(molecule("H2O"))


class Coupled(Term):
    """Of the total charge and of each, with derivatives by autograd, times a factor."""

    quadratic = True
    factor = 1.0

    def energy(self, rho):
        return 0.1 * rho.total(rho.charges) ** 2 + 0.2 * rho.total(rho.charges**2)


class OwnGradient(Coupled):
    def gradient(self, rho):
        return self.factor * super().gradient(rho)


class OwnCurvature(Coupled):
    def curvature(self, rho):
        product = super().curvature(rho)
        return lambda v: self.factor * product(v)


class OwnHessian(Coupled):
    def hessian(self, rho):
        return self.factor * super().hessian(rho)


class OwnBlocks(Term):
    local = True
    factor = 1.0

    def energy(self, rho):
        return 0.2 * rho.total(rho.charges**4 + rho.charges**2)

    def blocks(self, rho):
        return self.factor * super().blocks(rho)


OWN = {"gradient": OwnGradient, "curvature": OwnCurvature, "hessian": OwnHessian, "blocks": OwnBlocks}


@pytest.mark.parametrize("name", OWN)
def test_derivatives_of_their_own(name):
    own, plain = OWN[name](), (OwnBlocks if name == "blocks" else Coupled)()
    assert torch.allclose((QEq() + own)(WATER).charges, (QEq() + plain)(WATER).charges, atol=1e-10)
    own.factor = 1.1
    with pytest.raises(ValueError, match=f"the {name} of `{type(own).__name__}` must be that of its energy"):
        (QEq() + own)(WATER).polarizability()


@cgdft.term
def hidden(rho):
    """Not seen by torch."""
    return rho.total(torch.from_numpy(rho.charges.detach().numpy() ** 2))


def test_hidden_terms_of_a_readout():
    with pytest.raises(ValueError, match="`hidden` must be seen by torch"):
        QEq().replace(readout=Hartree() + hidden())(WATER)


class Soft(GrandPotential):
    """Independent atoms, with part of the potential hidden."""

    def __init__(self, hidden):
        super().__init__()
        self.hidden = hidden

    def forward(self, structure, v):
        v = v.detach() if self.hidden else v
        return -structure.total((v[:, 0] + 0.3 - 0.13 * (structure.numbers == 1)) ** 2) / 0.8


class Law(ResponseLaw):
    def __init__(self, hidden):
        super().__init__()
        self.hidden = hidden

    def forward(self, structure, v):
        return -(v + 0.3 - 0.13 * (structure.numbers == 1)[:, None]) / 0.4 + (0.5 * v.detach() if self.hidden else 0.0)


@pytest.mark.parametrize("law", [Soft, Law])
def test_hidden_laws(law):
    readout = Hartree() + Electronegativity(0.2) if law is Law else None
    made = [Model(Hartree(), Multipoles(width=1.0), Response(law(hidden)), readout=readout) for hidden in (False, True)]
    assert made[0](WATER).charges.isfinite().all()
    with pytest.raises(ValueError, match=f"derivative by potentials, as torch sees it, of `{law.__name__}`"):
        made[1](WATER)


@cgdft.term
def by_distance(rho):
    """With a root at zero, which torch multiplies by zero."""
    r = ((rho.structure.positions[:, None] - rho.structure.positions) ** 2).sum(-1).sqrt()
    near = (r > 0) & (rho.structure.index[:, None] == rho.structure.index)
    return 0.1 * rho.total(rho.charges * (torch.where(near, torch.exp(-r), 0.0) @ rho.charges))


def test_forces_that_are_no_numbers():
    solution = (QEq() + by_distance())(WATER)
    for ask in ("forces", "virial", "born_charges"):
        with pytest.raises(ValueError, match="the derivative of the energy of `by_distance` by .* must be finite, got NaN"):
            getattr(solution, ask)()
    atoms = molecule("H2O")
    atoms.calc = CGDFT(QEq() + by_distance())
    with pytest.raises(ValueError, match="by_distance"):
        atoms.get_forces()
    with pytest.raises(AssertionError, match="a root or norm at zero"):
        cgdft.check_term(by_distance(), WATER)


def test_sites_of_a_structure_adjoin():
    one = Structure([8, 8], [[0, 0, 0], [0, 0, 4.0]])
    both = Structure.batch([one, one])
    sites = Sites(torch.cat([both.positions, both.positions + 0.3]), torch.cat([both.index] * 2), torch.ones(8, dtype=D), 0)
    with pytest.raises(ValueError, match="`sources` must have the sites of each structure beside each other"):
        Coulomb(both, sites)


LACKING = {
    "dipoles": (lambda rho, k: (rho.dipoles**2).sum(1), Multipoles(1, width=1.0)),
    "dipoles and quadrupoles": (lambda rho, k: rho.dipoles.sum(1) ** 2 * rho.quadrupoles[:, 0], Multipoles(2, width=1.0)),
    "spin": (lambda rho, k: rho.spin_moments**2, Multipoles(0, width=1.0, spin=True)),
}


@pytest.mark.parametrize("name", LACKING)
@pytest.mark.parametrize("flags", [{}, {"local": True}, {"local": True, "quadratic": True, "convex": True}])
def test_terms_of_multipoles_that_a_basis_has_not(name, flags):
    """They are silent zeros there; beside those that it has they may be."""
    part, basis = LACKING[name]

    @cgdft.term(**flags)
    def bent(rho, k=0.5):
        return rho.total(k * part(rho, k))

    @cgdft.term
    def both(rho, k=0.5):
        return rho.total(k * (part(rho, k) + rho.charges**2))

    with pytest.raises(
        ValueError, match=rf"`bent` must be of multipoles that the basis has, got one of {name} alone.*lmax=0\) has"
    ):
        (QEq() + bent())(WATER)
    (QEq() + both())(WATER)
    known = basis.prepare(WATER)
    assert not lacks(bent(), Density(WATER, known, torch.zeros(3, known.size, dtype=D)))


def test_terms_of_the_structure_alone_ask_for_nothing():
    @cgdft.term
    def repulsion(rho, k=0.5):
        i, j = torch.triu_indices(3, 3, 1)
        return rho.total(k) + torch.exp(-(rho.structure.positions[i] - rho.structure.positions[j]).norm(dim=1)).sum()

    assert float((QEq() + repulsion())(WATER).energy) > float(QEq()(WATER).energy)


def test_a_term_of_the_total_charge_where_that_is_found():
    class Charged(Term):
        def energy(self, rho):
            return rho.structure.charge**2 * rho.total(rho.charges**2)

    class Found(Term):
        def energy(self, rho):
            return rho.total(rho.charges) ** 2 * rho.total(rho.charges**2)

    (QEq() + Charged())(WATER)
    with pytest.raises(
        ValueError, match="`Charged` must not depend on structure.charge where charges are at a given potential"
    ):
        (QEq() + Charged()).at_potential(0.2)(WATER)
    at = (QEq() + Found()).at_potential(0.2)(WATER)
    total = float(at.charges.sum())
    same = (QEq() + Charged())(WATER.charged(torch.tensor([total], dtype=D)))
    assert at.charges.tolist() == pytest.approx(same.charges.tolist(), abs=1e-9)
