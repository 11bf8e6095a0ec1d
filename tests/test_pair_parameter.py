"""Parameters of pairs of atoms: every way to give them, with gradients, and what is refused."""

import pytest
import torch
from ase.build import molecule

from cgdft import PairParameter, Structure

D = torch.float64
METHANOL = Structure.from_ase(molecule("CH3OH"))  # C O H H H H
PAIRS = torch.tensor([[0, 1], [1, 0], [2, 0], [1, 3], [4, 5]])


def learnt(value):
    return torch.nn.Parameter(torch.tensor(value, dtype=D))


def pairwise(structure, pairs):
    return (structure.numbers[pairs[:, 0]] * structure.numbers[pairs[:, 1]]).double()


TABLE = {("C", "O"): 1.0, ("H", "C"): learnt(2.0), ("O", "H"): torch.tensor(3.0), ("H", "H"): 4, ("Og", "H"): 5.0}
WAYS = {
    "number": (0.5, [0.5] * 5),
    "table": (TABLE, [1.0, 1.0, 2.0, 3.0, 4.0]),
    "tensor": (torch.arange(5.0), [0.0, 1.0, 2.0, 3.0, 4.0]),
    "list": ([0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0, 4.0]),
    "module": (pairwise, [48.0, 48.0, 6.0, 8.0, 1.0]),
    "parameter": (learnt(0.3), [0.3] * 5),
}


@pytest.mark.parametrize("way", WAYS)
def test_values_of_pairs(way):
    given, wanted = WAYS[way]
    k = PairParameter(given, "k", non_negative=True)
    value = k(METHANOL, PAIRS)
    assert value.dtype is D
    assert value.tolist() == pytest.approx(wanted)
    assert value.requires_grad == (way in ("table", "parameter"))
    assert torch.equal(k(METHANOL, PAIRS.flip(1)), value)
    nothing = way in ("tensor", "list")
    assert nothing or len(k(METHANOL, PAIRS[:0])) == 0
    for name, one in k.named_parameters():
        (slope,) = torch.autograd.grad(value.sum(), one)
        assert float(slope) == (1.0 if name == "table.C-H" else 5.0)


WRONG = {
    "a symbol": ({"O": 1.0}, r"keyed by pairs of chemical symbols, such as \('O', 'H'\), got 'O'"),
    "no element": ({("O", "Xx"): 1.0}, r"got \('O', 'Xx'\)"),
    "two for one": ({("O", "H"): 1.0, ("H", "O"): 2.0}, "one value for each pair of elements, got two for H-O"),
    "negative": ({("O", "H"): -1.0}, "`k` of H-O must be at least zero, got -1.0"),
    "negative number": (-1, "`k` must be at least zero"),
    "not finite": (torch.tensor([1.0, float("nan")]), "`k` must be finite"),
    "complex": (torch.tensor(1 + 1j), "`k` must be of real numbers, got torch.complex64"),
    "complex of a pair": ({("O", "H"): 1j}, "`k` of H-O must be a real number, got 1j"),
    "several of a pair": ({("O", "H"): torch.tensor([1.0])}, r"`k` of H-O must be a real number, got tensor"),
    "a word of a pair": ({("O", "H"): "a"}, "`k` of H-O must be a real number, got 'a'"),
    "a word": ("stiff", "must be a number, a dict per pair of elements, a tensor per pair or a module, got 'stiff'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(case):
    given, said = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=said):
        PairParameter(given, "k", non_negative=True)


def test_what_is_refused_at_the_call():
    with pytest.raises(ValueError, match=r"every pair of elements, got none for H-H, C-H, C-O \(given: H-O\); add"):
        PairParameter({("O", "H"): 0.1}, "k")(METHANOL, PAIRS)
    with pytest.raises(ValueError, match=r"\(n_pairs,\) = \(5,\), got a torch.float32 of shape \(4,\)"):
        PairParameter(torch.ones(4), "k")(METHANOL, PAIRS)
    with pytest.raises(ValueError, match="got a float"):
        PairParameter(lambda structure, pairs: 1.0, "k")(METHANOL, PAIRS)
    with pytest.raises(ValueError, match="`k` must be greater than zero"):
        PairParameter(lambda structure, pairs: -pairwise(structure, pairs), "k", positive=True)(METHANOL, PAIRS)
