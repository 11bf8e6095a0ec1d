"""What `check_term` sees of terms that are wrong, and what it says of them."""

import pytest
import torch

import cgdft
from cgdft import check_term
from cgdft.electrostatics.pairs import near_pairs
from cgdft.functionals import (
    Anharmonic,
    Hardness,
    Hartree,
    Pairwise,
    QEq,
)


def test_check_term_sees_what_is_wrong(structures):
    water = structures["water"]

    @cgdft.term
    def per_atom(rho):
        return rho.charges**2

    @cgdft.term
    def not_translation_invariant(rho):
        return rho.total(rho.charges * rho.structure.positions[:, 0])

    @cgdft.term
    def first_atom(rho):
        return rho.total(rho.charges**2) + rho.charges[0]

    with pytest.raises(ValueError, match=r"return rho.total\(x\)"):
        check_term(per_atom(), water)
    with pytest.raises(AssertionError, match="translation"):
        check_term(not_translation_invariant(), water)
    with pytest.raises(AssertionError, match=r"permutation|batch"):
        check_term(first_atom(), water)

    class WrongGradient(Hardness):
        def gradient(self, rho):
            return 1.01 * super().gradient(rho)

    with pytest.raises(AssertionError, match="gradient of the term"):
        check_term(WrongGradient(0.3), water)

    class NotQuadratic(Anharmonic):
        quadratic = True

    with pytest.raises(AssertionError, match="declared quadratic"):
        check_term(NotQuadratic(0.1, 0.3), water)

    class NotLocal(Hartree):
        local = True

    with pytest.raises(AssertionError):
        check_term(NotLocal(), water)

    class NotConvex(Hartree):
        def __init__(self):
            super().__init__(self_interaction=False)
            self.convex = True

    with pytest.raises(AssertionError, match="declared convex"):
        check_term(NotConvex(), water)

    @cgdft.term
    def root(rho, k=0.1):
        return rho.total(k * (rho.charges**2).sqrt())

    @cgdft.term
    def kink(rho, k=0.1):
        return rho.total(k * rho.charges.abs())

    @cgdft.term
    def rounded(rho, k=0.1):
        return rho.total(k * (rho.charges**2 + 1e-4).sqrt())

    with pytest.raises(AssertionError, match="first derivative without density"):
        check_term(root(), water)
    with pytest.raises(AssertionError, match="kink without density"):
        check_term(kink(), water)
    check_term(rounded(), water)

    class Detached(Pairwise):
        def prepare(self, structure, basis):
            with torch.no_grad():
                return super().prepare(structure, basis)

    with pytest.raises(AssertionError, match="derivative of the prepared term"):
        check_term(Detached(10.0, 0.5), water)

    @cgdft.term
    def in_place(rho):
        rho.charges.mul_(2.0)
        return rho.total(rho.charges**2)

    with pytest.raises(ValueError, match="`in_place` must leave the density as it is"):
        check_term(in_place(), water)
    with pytest.raises(TypeError, match="is one when called"):
        check_term(in_place, water)
    with pytest.raises(TypeError, match="is one when called"):
        QEq() + in_place

    @cgdft.term
    def averaged(rho):
        return rho.total(rho.charges**2) / rho.structure.counts

    with pytest.raises(AssertionError, match="supercell"):
        check_term(averaged(), structures["salt"])

    @cgdft.term
    def cut_off(rho):
        """1 / r of pairs nearer than 5 bohr."""
        i, j, apart = near_pairs(rho.structure, 5.0)
        pairs = rho.charges[i] * rho.charges[j] / apart.norm(dim=1)
        return rho.total(torch.zeros_like(rho.charges).index_add(0, i, pairs))

    for where in ("cation", "salt", "slab"):
        with pytest.raises(AssertionError, match="continuity"):
            check_term(cut_off(), structures[where])


@cgdft.term
def step(rho):
    """With a jump at a charge."""
    return rho.total(torch.where(rho.charges > 0.3, rho.charges**2, 0.0))


@cgdft.term
def within_reach(rho):
    """Of pairs nearer than any."""
    i, j, away = near_pairs(rho.structure, 0.5)
    return rho.total(rho.charges * 0.0).index_add(0, rho.structure.index[i], rho.charges[i] * rho.charges[j] * away.norm(dim=1))


@cgdft.term
def noise(rho):
    """Another value each time."""
    return rho.total(rho.charges**2 * (1 + 0.1 * torch.rand(())))


@cgdft.term(local=True)
def logarithm(rho):
    """Only of charges above -1/2."""
    return rho.total(torch.log(rho.charges + 0.5) ** 2)


@cgdft.term(local=True)
def of_the_total(rho, k=0.1):
    """Which couples all atoms."""
    return rho.total(k * rho.charges) ** 2


@cgdft.term
def detached(rho):
    """Not seen by torch."""
    return rho.total(rho.charges.detach() ** 2)


@cgdft.term
def half_detached(rho):
    return rho.total(rho.charges * rho.charges.detach())


@cgdft.term
def through_numpy(rho):
    return torch.tensor([float((rho.charges.detach().numpy() ** 2).sum())], dtype=torch.float64)


@cgdft.term
def of_one_structure(rho):
    """However many there are."""
    return (rho.charges**2).sum()[None]


@cgdft.term(convex=True)
def far_from_convex(rho):
    """Near no density it is."""
    return rho.total(1 - rho.charges.cos())


class AboveItself(cgdft.Term):
    def energy(self, rho):
        return 0.1 * rho.total(rho.charges) ** 2

    def lower_bound(self, rho, neutral):
        return torch.ones_like(rho.coefficients)


def test_what_a_check_says(structures):
    unseen = "first derivative by the density: .* no numpy, no detach"
    for term, match in (
        (step(), "continuity of the density"),
        (within_reach(), "nothing to check: its energy is zero"),
        (noise(), "repetition"),
        (of_the_total(), "its second derivatives couple atoms: leave local=True out"),
        (detached(), unseen),
        (half_detached(), unseen),
        (through_numpy(), unseen),
        (far_from_convex(), "bends downwards at some density: leave convex=True out"),
        (AboveItself(), "stated least: .* leave a lower_bound of its own out"),
    ):
        with pytest.raises(AssertionError, match=match):
            check_term(term, structures["water"])
    with pytest.raises(ValueError, match=r"must be \(n_structures,\) = \(2,\), got shape \(1,\)"):
        check_term(of_one_structure(), structures["water"])
    assert check_term(logarithm(), structures["water"])


def test_parameters_per_pair_go_with_the_order(structures):
    """As those per atom do: `PairParameter` of one number a pair."""

    class Paired(cgdft.Term):
        def __init__(self):
            super().__init__()
            self.k = cgdft.PairParameter(torch.tensor([0.1, 0.2, 0.3]), "k")

        def energy(self, rho):
            pairs = torch.tensor([[0, 1], [0, 2], [1, 2]])
            i, j = pairs.T
            each = self.k(rho.structure, pairs) * rho.charges[i] * rho.charges[j]
            return each.new_zeros(1).index_add(0, rho.structure.index[i], each)

    check_term(Paired(), structures["water"])
