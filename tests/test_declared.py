"""What terms declare of themselves, seen where a solver ended."""

import pytest

import cgdft
from cgdft import Model, Multipoles, Structure
from cgdft.functionals import Hartree


def test_a_false_promise_to_be_convex_is_seen_where_the_solver_ended():
    """Between two wells the slope is zero; the curvature of what is local is looked at in any case."""

    def wells(rho, k=0.5):
        return rho.total(k * (rho.charges**2 - 0.25) ** 2)

    pair = Structure([7, 7], [[0, 0, 0], [0, 0, 6.0]])
    model = Model(Hartree(), Multipoles(width=1.5))
    with pytest.raises(ValueError, match="`wells` is declared convex, but bends downwards"):
        (model + cgdft.term(wells, convex=True)())(pair)
    honest = (model + cgdft.term(wells)())(pair)
    local = (model + cgdft.term(wells, convex=True, local=True)())(pair)
    assert float(honest.charges.abs().min()) > 0.3
    assert float(local.energy) == pytest.approx(float(honest.energy))
