"""How often solutions may be differentiated."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from cgdft import Structure
from cgdft.functionals import QEq


def test_derivatives_are_exact_or_refused():
    """Along one coordinate of water: as often as promised those of a polynomial through many points, then an error."""
    water = Structure.from_ase(molecule("H2O"))
    along = torch.zeros_like(water.positions)
    along[0, 2] = 1.0
    promised = {"charges": 2, "energy": 5, "forces": 2, "hardness": 3, "fukui": 2, "polarizability": 2}

    def asked(what, t):
        value = getattr(QEq()(Structure(water.numbers, water.positions + t * along)), what)
        return (value() if callable(value) else value).reshape(-1)[-1 if what != "forces" else 2]

    steps = np.linspace(-0.4, 0.4, 25)
    for what, order in promised.items():
        values = [asked(what, torch.tensor(step)).item() for step in steps]
        series = np.polynomial.Polynomial.fit(steps, values, 16).convert().coef
        t = torch.zeros((), dtype=torch.float64, requires_grad=True)
        value, factorial = asked(what, t), 1
        for k in range(1, order + 1):
            (value,) = torch.autograd.grad(value, t, create_graph=True)
            factorial *= k
            assert value.item() == pytest.approx(factorial * series[k], rel=1e-4, abs=1e-6)
        with pytest.raises(RuntimeError, match="would not be exact"):
            torch.autograd.grad(value, t)
