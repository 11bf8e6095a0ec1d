"""Which pairs are found: those of a batch, in cells of every shape, and of sites beside the atoms."""

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from cgdft import Structure
from cgdft.electrostatics import pairs
from cgdft.electrostatics.compiled import CompiledCoulomb
from cgdft.electrostatics.coulomb import Coulomb, Sites

D = torch.float64


@pytest.mark.parametrize("most", [0, 10**6], ids=["searched", "all"])
def test_pairs_of_a_batch_are_those_of_its_structures(monkeypatch, most):
    """Beside each other: nine molecules that lie upon each other, a crystal, one atom and a chain."""
    monkeypatch.setattr(pairs, "FEW", most)
    found = [molecule(name) for name in ("H2O", "CH4", "C6H6", "NH3", "Li2", "CH3OH", "C2H6", "HCl", "SiH4")]
    chain = Atoms("He30", positions=[[1.5 * i, 0.1 * i, 0.0] for i in range(30)])
    structures = [Structure.from_ase(one) for one in [*found, bulk("NaCl", "rocksalt", 5.64), Atoms("Ar"), chain]]
    cutoff, first, expected = 5.0, 0, set()
    for one in structures:
        shifts = range(-3, 4) if one.pbc.any() else [0]
        for a, b, c in itertools.product(shifts, repeat=3):
            shift = torch.tensor([a, b, c], dtype=torch.float64)
            apart = (one.positions[:, None] - one.positions - shift @ one.cell[0]).norm(dim=2)
            for i, j in torch.nonzero((apart < cutoff) & (apart > 0)).tolist():
                expected.add((first + i, first + j, a, b, c))
        first += one.n_atoms
    i, j, shift = pairs.pairs_within(Structure.batch(structures), cutoff)
    listed = [(*two, *three) for two, three in zip(zip(i.tolist(), j.tolist(), strict=True), shift.int().tolist(), strict=True)]
    assert len(listed) == len(set(listed))
    assert set(listed) == expected


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, True), (False, True, False)])
def test_neighbours_in_flat_and_wide_cells(monkeypatch, pbc):
    """The search is another one there; in a cell that both can do they agree."""
    flat = [[0, 0, 0], [0, 0, 1.9], [1.8, 0, -0.4]]
    wide = Structure([8, 1, 1], flat, 1e6 * torch.eye(3, dtype=torch.float64), pbc)
    assert len(pairs.periodic_pairs(wide, 0, 3.0)[0]) == 9
    assert len(pairs.pairs_within(wide, 3.0)[0]) == 6
    lattice = torch.tensor([[3.0, 0.2, 0.0], [0.4, 4.0, 0.0], [0.0, 0.3, 5.0]], dtype=torch.float64)
    small = Structure([8, 1, 1], flat, lattice, pbc)

    def listed():
        a, b, shift = pairs.periodic_pairs(small, 0, 6.0)
        i, j, apart = pairs.neighbours(small, 0, 6.0, both=False)
        lengths = np.linalg.norm(apart, axis=1).round(9).tolist()
        once = sorted((*sorted(two), r) for *two, r in zip(i.tolist(), j.tolist(), lengths, strict=True))
        return sorted(zip(a.tolist(), b.tolist(), map(tuple, shift.int().tolist()), strict=True)), once

    searched = listed()
    monkeypatch.setattr(pairs, "CELLS", 1e-9)
    assert listed() == searched


def test_each_pair_counts_once_in_cells_of_any_shape():
    """Own images too, where cells are those of fcc(110), a diagonal of which is as long as another edge."""
    for scale in (1.0, 0.7071, 1.3):
        lattice = scale * torch.diag(torch.tensor([3.0 * 2**0.5, 3.0, 3.0 * 3**0.5], dtype=torch.float64))
        cell = Structure([8, 1], [[0.1, 0.2, 0.3], [1.0, 1.4, 2.1]], lattice, (True, True, False))
        both, once = pairs.near_pairs(cell, 16.0), pairs.near_pairs(cell, 16.0, both=False)
        assert len(both[0]) == 2 * len(once[0])
        assert len(pairs._images(cell, 0, 16.0, "ijS", both=False)[0]) == len(once[0])


@pytest.mark.parametrize("pbc", [False, True, (True, True, False), (False, True, False)])
def test_sites_beside_the_atoms(pbc):
    """Cores and shells of two ions, in a batch with one ion, are as good as four atoms and two; points feel the same."""
    cell = torch.tensor([[8.0, 0, 0], [1.0, 8.5, 0], [0, 0, 9.0]], dtype=D)
    ions = torch.tensor([[0.0, 0, 0], [3.0, 1, 2], [1.0, 1, 1]], dtype=D)
    shells = ions + torch.tensor([[0.3, 0.2, -0.1], [-0.2, 0.4, 0.1], [9.0, 0.0, 0.4]], dtype=D)
    both, index = torch.stack([ions, shells], 1).reshape(-1, 3), torch.tensor([0, 0, 0, 0, 1, 1])
    few = Structure.batch([Structure([11, 17], ions[:2], cell, pbc), Structure([11], ions[2:], cell, pbc)])
    many = Structure.batch([Structure([1] * 4, both[:4], cell, pbc), Structure([1] * 2, both[4:], cell, pbc)])
    p = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=D)
    sites = Sites(both, index, torch.tensor([0.5, 0.6, 0.5, 0.6, 1.5, 0.7], dtype=D), 1)
    points = Sites(ions + 1.0, torch.tensor([0, 0, 1]), torch.zeros(3, dtype=D), 0)
    for self_interaction in (True, False):
        one, two = (Coulomb(each, sites, self_interaction=self_interaction) for each in (few, many))
        assert torch.allclose(one.energy(p), two.energy(p), rtol=1e-13)
        assert torch.allclose(one.potential(p), two.potential(p), rtol=1e-12, atol=1e-13)
    assert torch.allclose(Coulomb(few, sites, points).potential(p), Coulomb(many, sites, points).potential(p), atol=1e-12)
    with pytest.raises(ValueError, match="must be the atoms"):
        CompiledCoulomb(few, sites)
