"""Charges and multipoles that the surroundings give: conserved, with the right forces and Born charges, deaf to fields."""

import pytest
import torch
from ase.build import bulk, molecule

from cgdft import Structure
from cgdft.functionals import LocalMultipoles, LocalSplitCharges, UniformField
from cgdft.functionals.models import local_multipoles, local_split_charges
from cgdft.learning import MessagePassing, PassedHead

D = torch.float64
METHANOL = Structure.from_ase(molecule("CH3OH"), charge=-1.0)
MODELS = [local_multipoles.example(METHANOL), local_split_charges.example(METHANOL)]


def weight(apart):
    return torch.exp(-(apart**2).sum(1) / 8)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_charge_and_born_charges(model):
    """They add up to the total charge, also in a batch; Born charges to Q on the diagonal, and by finite differences."""
    water = Structure.from_ase(molecule("H2O"))
    both = model(Structure.batch([METHANOL, water]))
    assert both.total_charge.tolist() == pytest.approx([-1.0, 0.0], abs=1e-13)
    solution = model(METHANOL)
    assert float((solution.charges - solution.charges.mean()).abs().max()) > 0.05
    born = solution.born_charges()
    assert torch.allclose(born.sum(0), -torch.eye(3, dtype=D), atol=1e-10)
    step = torch.zeros_like(METHANOL.positions)
    step[1, 2] = 1e-4
    ends = [model(METHANOL.deformed(sign * step, METHANOL.cell)).dipole[0] for sign in (1, -1)]
    assert torch.allclose(born[1, :, 2], (ends[0] - ends[1]).detach() / 2e-4, atol=1e-7)
    assert float(solution.polarizability().abs().max()) == 0.0
    driven = (model + UniformField((0.0, 0.0, 0.01)))(METHANOL)
    assert torch.equal(driven.charges, solution.charges)
    assert torch.allclose(driven.forces() - solution.forces(), 0.01 * born[:, 2], atol=1e-10)


def test_fragments_keep_their_charge():
    """Passed charge stays within reach; a shared excess reaches everywhere."""
    water = molecule("H2O")
    far = water.copy()
    far.translate([60.0, 0.0, 0.0])
    far.numbers[:] = [16, 1, 1]
    both = Structure.from_ase(water + far)
    assert float(MODELS[1](both).charges[:3].sum()) == pytest.approx(0.0, abs=1e-14)
    given = LocalMultipoles(lambda s: (0.1 * s.numbers[:, None]).to(D), width=1.0, lmax=0)(both)
    assert abs(float(given.charges[:3].sum())) > 0.3
    assert float(given.total_charge) == pytest.approx(0.0, abs=1e-14)


def test_formulas():
    """By hand for two atoms, and images counted: a cell is its double."""
    pair = Structure([1, 9], [[0.0, 0, 0], [0, 0, 1.8]], charge=0.5)
    passed = LocalSplitCharges(lambda s, i, j, u: 0.03 * weight(u) * s.numbers[i], 0.8, 16.0, p0={"H": 0.4, "F": 0.1})(pair)
    moved = 0.03 * (1 - 9) * float(weight(torch.tensor([[0.0, 0.0, 1.8]], dtype=D)))
    assert passed.charges.tolist() == pytest.approx([0.4 + moved, 0.1 - moved], abs=1e-14)
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.1, seed=2)
    for model in MODELS:
        one, two = model(Structure.from_ase(atoms)), model(Structure.from_ase(atoms.repeat((1, 1, 2))))
        assert torch.allclose(torch.cat([one.coefficients, one.coefficients]), two.coefficients, atol=1e-12)
        assert torch.allclose(one.stress(), two.stress(), atol=1e-12, rtol=0)


def test_training_reaches_the_modules():
    """Forces differentiate through what makes the charges, and again by its parameters."""

    class Learnt(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.k = torch.nn.Parameter(torch.tensor(0.02, dtype=D))

        def forward(self, s, i, j, u):
            return self.k * weight(u) * s.numbers[j]

    model = LocalSplitCharges(Learnt(), 1.0, 16.0)
    assert len(list(model.parameters())) == 1
    (slope,) = torch.autograd.grad(model(METHANOL).forces()[0, 2], list(model.parameters()))

    def force(k):
        return float(LocalSplitCharges(lambda s, i, j, u: k * weight(u) * s.numbers[j], 1.0, 16.0)(METHANOL).forces()[0, 2])

    assert float(slope) == pytest.approx((force(0.0201) - force(0.0199)) / 2e-4, rel=1e-6)


def test_edge_transfers_conserve_charge_and_fade():
    """`PassedHead` in split charges of the surroundings: weights get a gradient, far fragments keep their charge."""
    torch.manual_seed(1)
    heads = MessagePassing(["H", "O"], channels=4, dtype=torch.float64)
    water = Structure.from_ase(molecule("H2O"))
    model = LocalSplitCharges(PassedHead(heads, 6.0, scale=0.3), width=1.0, cutoff=6.0)
    solution = model(water)
    assert float(solution.charges.detach().sum()) == pytest.approx(0.0, abs=1e-12)
    assert float(solution.charges.detach().abs().max()) > 1e-3
    (solution.dipole**2).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    far = Structure(
        torch.cat([water.numbers, water.numbers]),
        torch.cat([water.positions, water.positions + torch.tensor([0.0, 0.0, 30.0])]),
    )
    torch.testing.assert_close(model(far).charges[:3], solution.charges, atol=1e-10, rtol=0)
