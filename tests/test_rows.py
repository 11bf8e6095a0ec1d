"""Constraint rows against plain linear algebra: apart, nested and overlapping, idle in some structures of a batch."""

import pytest
import torch

from cgdft.problems.constraint_rows import ConstraintRows

D = torch.float64


def rows(counts, kinds, seed=0):
    """Rows on structures of these sizes, by kind; and their matrix in each structure."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    place = torch.cat([torch.arange(n) for n in counts])
    made = {
        "whole": torch.ones(len(index), dtype=D),
        "first half": (place < 3).to(D),
        "second half": ((place >= 3) & (place < 6)).to(D),
        "one": (place == 1).to(D),
        "weights": torch.rand(len(index), generator=generator, dtype=D) + 0.1,
        "of the first structure": ((index == 0) & (place == 4)).to(D),
        "of none": torch.zeros(len(index), dtype=D),
    }
    chosen = [made[kind] for kind in kinds]
    target = torch.rand(len(counts), len(kinds), generator=generator, dtype=D)
    for k, row in enumerate(chosen):
        target[:, k] *= torch.zeros(len(counts), dtype=D).index_add(0, index, row.abs()) > 0
    built = ConstraintRows.build(chosen, index, len(counts), target.clone(), kinds, like=torch.zeros(1, dtype=D))
    return built, torch.stack(chosen) if chosen else torch.zeros(0, len(index), dtype=D), index, target


CASES = [
    [],
    ["whole"],
    ["whole", "first half", "one"],
    ["first half", "second half"],
    ["of the first structure", "whole", "of none", "second half", "weights"],
    ["weights", "one", "of the first structure"],
]


@pytest.mark.parametrize("counts", [[7], [6, 8, 9]])
@pytest.mark.parametrize("kinds", CASES, ids=" ".join)
def test_rows(counts, kinds):
    built, matrix, index, target = rows(counts, kinds)
    generator = torch.Generator().manual_seed(1)
    v, g = torch.randn(2, len(index), generator=generator, dtype=D)
    d = torch.rand(len(index), generator=generator, dtype=D) + 0.5
    c = torch.randn(len(counts), len(kinds), generator=generator, dtype=D)
    charges, forces, particular = built.charges(v), built.forces(c), built.particular(target)
    multipliers, projected = built.multipliers(g), built.project(v)
    weighted = d * built.along(built.weighted(d)(built.coordinates(d * v)))
    for s in range(len(counts)):
        of = index == s
        rows_of, basis = matrix[:, of], built.basis[:, of]
        pseudo = torch.linalg.pinv(rows_of)
        active = built.active[s]
        assert torch.equal(active, rows_of.abs().sum(1) > 0)
        assert torch.allclose(basis @ basis.T, torch.diag(~built.idle[s]).to(D), atol=1e-12)
        assert torch.allclose(basis @ v[of], built.coordinates(v)[s], atol=1e-12)
        assert torch.allclose(charges[s][active], (rows_of @ v[of])[active], atol=1e-12)
        assert torch.allclose(forces[of], rows_of.T @ (c[s] * active), atol=1e-12)
        assert torch.allclose(particular[of], pseudo @ target[s], atol=1e-12)
        assert torch.allclose(projected[of], v[of] - pseudo @ rows_of @ v[of], atol=1e-12)
        assert torch.allclose((multipliers[s] * active), pseudo.T @ g[of], atol=1e-12)
        bent = rows_of @ torch.diag(d[of]) @ rows_of.T
        expected = d[of] * (rows_of.T @ torch.linalg.pinv(bent) @ rows_of @ (d[of] * v[of]))
        assert torch.allclose(weighted[of], expected, atol=1e-12)


def test_rows_that_follow_from_others():
    with pytest.raises(
        ValueError, match="must be independent, got 'whole', which follows from or contradicts 'first half', 'rest'"
    ):
        index = torch.zeros(6, dtype=torch.int64)
        first = torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=D)
        given = [torch.ones(6, dtype=D), first, 1 - first]
        ConstraintRows.build(given, index, 1, torch.ones(1, 3, dtype=D), ["whole", "first half", "rest"], like=first)


@pytest.mark.parametrize("index", [[0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 1], [0, 0, 0]])
def test_padding_of_x_in_any_order(index):
    index, n = torch.tensor(index), max(index) + 1
    made = ConstraintRows.build([], index, n, torch.zeros(n, 0, dtype=D), [], like=torch.zeros(1, dtype=D))
    v = torch.arange(1.0, len(index) + 1, dtype=D)
    longest = int(torch.bincount(index).max())
    expected = torch.stack([torch.nn.functional.pad(v[index == s], (0, longest - int((index == s).sum()))) for s in range(n)])
    assert torch.equal(made.pad(v), expected)
    assert torch.equal(made.unpad(made.pad(v)), v)
