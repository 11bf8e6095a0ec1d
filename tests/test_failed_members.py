"""A structure of a batch whose solve fails, or that lacks a quantity: the others have all that they have without it."""

import warnings

import pytest
import torch
from ase.build import bulk, molecule

import cgdft
from cgdft import Model, Multipoles, SolverError, SplitCharges, Status, Structure
from cgdft.ansatz import Free
from cgdft.derivatives.observables import Undefined
from cgdft.functionals import Electronegativity, Hardness, Hartree, QEq
from cgdft.solvers import CG, Newton


def test_failure_of_one_member_names_it():
    far, near = ([[0.0, 0, 0], [0, 0, r]] for r in (12.0, 3.0))
    batch = Structure.batch([Structure([18, 18], far), Structure([18, 18], near)])
    model = Model(Hartree(self_interaction=False) + Hardness(1.0) + Hardness(1 / 30, l=1), Multipoles(1, width=0.3))
    with pytest.raises(SolverError, match=r"structure 1 \(1 of 2 failed\)"):
        model(batch)
    assert [s.name for s in model(batch, throw=False).status] == ["CONVERGED", "UNBOUNDED"]


@pytest.mark.parametrize("solver", [None, CG(), Newton()])
def test_failure_of_one_member_leaves_the_others_their_derivatives(solver):
    """By what is learnt, as in a batch without it; what failed has no response."""
    far, near = (Structure([18, 18], [[0.0, 0, 0], [0, 0, r]]) for r in (12.0, 3.0))
    hardness = torch.tensor([1 / 30, 1 / 20], dtype=torch.float64, requires_grad=True)

    def model(eta):
        functional = Hartree(self_interaction=False) + Electronegativity(0.1) + Hardness(1.0) + Hardness(eta, l=1)
        return Model(functional, Multipoles(1, width=0.3), solver=solver)

    alone, both = model(hardness)(far), model(hardness.repeat(2))(Structure.batch([far, near]), throw=False)
    assert [one is Status.CONVERGED for one in both.status] == [True, False]
    torch.testing.assert_close(both.energy[:1], alone.energy)
    alpha = [one.polarizability()[0] for one in (alone, both)]
    torch.testing.assert_close(*alpha, rtol=1e-9, atol=1e-9)
    slopes = [torch.autograd.grad(one.sum(), hardness)[0] for one in alpha]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-9)
    asked = [one() for one in (both.polarizability, both.hardness, both.susceptibility)]
    asked += [one().reshape(2, -1) for one in (both.born_charges, both.fukui, both.softness)]
    for one in (*asked, both.chemical_potential):
        assert bool(one[0].isfinite().all())
        assert bool(one[1].isnan().all())


@cgdft.term
def falling(rho, k=0.0):
    return rho.total(-k * torch.exp(-2 * rho.charges))


@cgdft.term(local=True)
def falling_locally(rho, k=0.0):
    return rho.total(-k * torch.exp(-2 * rho.charges))


@pytest.mark.parametrize("k", [0.02, 0.5, 50.0])
@pytest.mark.parametrize("term", [falling, falling_locally])
def test_an_energy_that_falls_without_end_is_told_of_its_structure_alone(term, k):
    """Long before it overflows; that its exponential does is not the parameters' fault."""
    water, hcl = (Structure.from_ase(molecule(name)) for name in ("H2O", "HCl"))
    found = (QEq() + term(k={"H": 0.0, "O": 0.0, "Cl": k}))(Structure.batch([water, hcl]), throw=False)
    assert found.status == [Status.CONVERGED, Status.UNBOUNDED]
    assert found.charges[:3].tolist() == pytest.approx(QEq()(water).charges.tolist(), abs=1e-9)
    shallow = (QEq() + term(k={"H": 0.0, "Cl": 0.005}))(hcl)  # a minimum beside the abyss
    assert shallow.status == [Status.CONVERGED]


def test_a_hessian_that_leaves_no_digits_is_told():
    grid = 1.5 * torch.cartesian_prod(*[torch.arange(4.0, dtype=torch.float64)] * 3)
    wide, narrow = (Model(Hartree() + Electronegativity(0.1), Multipoles(width=width)) for width in (4.0, 1.5))
    with pytest.warns(UserWarning, match="nearly flat: its Hessian in structure 0 has a condition number of 1e"):
        wide(Structure([3] * 64, grid))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        narrow(Structure([3] * 64, grid))


@pytest.mark.parametrize("name", ["polarizability", "born_charges"])
def test_bulk_without_a_dipole_leaves_the_others_theirs(name):
    """Also by what is learnt; refused where no member has one."""
    salt = Structure([17, 11], [[0.0, 0, 0], [0.3, 0, 4.5]])
    bulk = Structure(salt.numbers, salt.positions, 9 * torch.eye(3), True)
    hardness = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    functional = Hartree() + Electronegativity({"Na": 0.1, "Cl": 0.3}) + Hardness(hardness)
    model = Model(functional, Multipoles(width=1.0))
    alone, both = (getattr(model(one), name)() for one in (salt, Structure.batch([salt, bulk])))
    torch.testing.assert_close(both[: len(alone)], alone)
    assert float(alone.detach().abs().max()) > 0.1
    assert bool(both[len(alone) :].isnan().all())
    slopes = [torch.autograd.grad(one.square().sum(), hardness)[0] for one in (alone, both[: len(alone)])]
    torch.testing.assert_close(*slopes)
    with pytest.raises(Undefined, match=f"`{name}` of bulk needs charges that are fixed"):
        getattr(model(Structure.batch([bulk, bulk])), name)()


def test_what_members_of_a_batch_do_not_have_is_no_number():
    """And what others have, with their derivatives by what is learnt, as without them."""
    water, salt = Structure.from_ase(molecule("H2O")), Structure.from_ase(bulk("NaCl", "rocksalt", a=5.64))
    eta = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    model = Model(
        Hartree() + Electronegativity({"H": 0.2, "O": 0.3, "Na": 0.1, "Cl": 0.3}) + Hardness(eta),
        Multipoles(width=1.5),
        SplitCharges(hardness=0.3),
    )
    both = model(Structure.batch([water, salt]))
    for name, k, other in (
        ("dipole", 0, salt),
        ("quadrupole", 0, salt),
        ("stress", 1, water),
        ("polarization", 1, water),
        ("dielectric_tensor", 1, water),
    ):
        values, alone = (_value(one, name) for one in (both, model((water, salt)[k])))
        assert values[1 - k].isnan().all()
        torch.testing.assert_close(values[k], alone[0])
        slopes = [torch.autograd.grad(one.square().sum(), eta, retain_graph=True)[0] for one in (values[k], alone)]
        torch.testing.assert_close(*slopes)
        with pytest.raises(ValueError, match=f"`{name}` "):
            _value(model(other), name)
    for name in ("polarization", "dielectric_tensor"):
        with pytest.raises(ValueError, match=f"`{name}` .*needs charges that are fixed or move along bonds"):
            _value(model.replace(ansatz=Free())(Structure.batch([water, salt])), name)


def _value(solution, name):
    found = getattr(solution, name)
    return found() if callable(found) else found
