"""Which operator is chosen."""

import pytest
import torch

from cgdft import Multipoles, Structure
from cgdft.functionals import Hartree, Operator

D = torch.float64


@pytest.mark.parametrize(
    ("settings", "lmax", "most"),
    [
        ({}, 0, 100),
        ({"accuracy": 1e-7}, 0, 200),
        ({"self_interaction": False}, 0, 200),
        ({"self_interaction": False, "accuracy": 1e-7}, 0, 400),
        ({}, 1, 200),
        ({"accuracy": 1e-7}, 1, 400),
    ],
)
def test_how_large_a_periodic_matrix_is(settings, lmax, most):
    """As docs/scale.md says; larger ones are sums in compiled loops."""
    basis, largest = Multipoles(lmax, width=1.0), most // (lmax + 1) ** 2
    for n, operator in ((largest, Operator.DENSE), (largest + 1, Operator.COMPILED)):
        positions = torch.arange(n, dtype=D)[:, None] * torch.tensor([3.0, 0.0, 0.0], dtype=D)
        structure = Structure([1] * n, positions, torch.diag(torch.tensor([3.0 * n, 12.0, 12.0], dtype=D)), True)
        assert Hartree(**settings).prepare(structure, basis.prepare(structure)).operator is operator
