"""Parameters of pairs of atoms: every way to give them, with gradients, and what is refused."""

import pytest
import torch
from ase.build import molecule

from cgdft import AtomParameter, PairParameter, Structure, Term
from cgdft.functionals import QEq

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


def test_numbers_of_tables_are_part_of_the_state():
    """Of elements and of pairs; those that are missing or too many are told, and no number that must not be gets in."""

    class Both(Term):
        def __init__(self, eta, k):
            super().__init__()
            self.eta, self.k = AtomParameter(eta, "eta", positive=True), PairParameter(k, "k")

        def energy(self, rho):
            i, j = torch.triu_indices(3, 3, 1)
            pairs = self.k(rho.structure, torch.stack([i, j], 1)) * rho.charges[i] * rho.charges[j]
            return rho.total(self.eta(rho.structure) * rho.charges**2) + pairs.sum()

    water = Structure.from_ase(molecule("H2O"))
    one, two = (QEq() + Both({"O": k, "H": 2 * k}, {("O", "H"): k, ("H", "H"): 0.1}) for k in (0.1, 0.3))
    energies = [float(model(water).energy) for model in (one, two)]
    assert energies[0] != pytest.approx(energies[1])
    state = one.state_dict()
    assert not two.load_state_dict(state).missing_keys
    assert float(two(water).energy) == pytest.approx(energies[0], abs=1e-12)
    name = [name for name in state if name.endswith("eta.numbers.O")][-1]  # QEq has some, too
    with pytest.raises(RuntimeError, match="Missing key.*eta.numbers.O"):
        two.load_state_dict({key: value for key, value in state.items() if key != name})
    with pytest.raises(RuntimeError, match="Unexpected key.*eta.numbers.C"):
        two.load_state_dict({**state, name.replace(".O", ".C"): state[name]})
    with pytest.raises(ValueError, match="`eta` of O must be greater than zero"):
        two.load_state_dict({**state, name: -state[name]})
