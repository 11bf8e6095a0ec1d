"""The same structure twice, and what only looks like it."""

import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from springs import FREE, water, written

from cgdft import Structure, units
from cgdft.learning import Frame
from cgdft.learning.data.checks import check_set
from cgdft.learning.data.sets import FrameSet
from cgdft.testing.structures import TURN


def test_duplicates(tmp_path, trajectory):
    frames = FrameSet.read(trajectory)
    turned = [water(5), water(20)]
    results = [one.calc.results for one in turned]
    turned = [one[[2, 0, 1]] for one in turned]  # other orders of atoms are the same structure
    for atoms, one in zip(turned, results, strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=one["energy"])
    others = FrameSet.read(written(tmp_path / "b.xyz", turned))
    with pytest.raises(ValueError, match="`validation` must have no structure of `train`, got frame b-0, which is water-5"):
        check_set(frames, others)
    assert check_set(frames, others.subset([1]), atomic_energies=FREE) == []
    both = [*frames, *others]
    assert "1 frames are there twice: water-5 = b-0" in check_set(both)
    copies = [Frame(f"copy {k}", frames[5].structure, {}) for k in range(3)]
    assert check_set(copies)[-1] == "2 frames are there twice: copy 0 = copy 1, copy 0 = copy 2"  # not the 3 pairs of them
    with pytest.raises(ValueError, match="`train` must have one energy for one structure"):
        check_set([*frames, *(Frame(f.name, f.structure, {"energy": f.labels["energy"] + 0.1}) for f in others)])
    rounded = (frames[3].structure.positions / units.angstrom).round(decimals=5) * units.angstrom
    with pytest.raises(ValueError, match="got frame rounded, which is water-3"):
        check_set(frames, [Frame("rounded", Structure(frames[3].structure.numbers, rounded), {})])
    ion = Structure(frames[0].structure.numbers, frames[0].structure.positions, charge=1, spin=1)
    assert check_set([*frames, Frame("ion", ion, {})], atomic_energies=FREE) == []  # another charge is another structure


def test_duplicates_that_are_elsewhere(trajectory):
    """Shifted, turned or mirrored a molecule has the same energy; one that is bent, or in a cell, is another."""
    frames = list(FrameSet.read(trajectory))
    mirrored = TURN * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    for turn in (torch.eye(3, dtype=torch.float64), TURN, mirrored):
        s = frames[4].structure
        places = ((s.positions @ turn + 3.0) / units.angstrom).round(decimals=5) * units.angstrom
        copy = Frame("copy", s.holding(positions=places), dict(frames[4].labels))
        with pytest.raises(ValueError, match=r"got frame copy, which is water-4 shifted, turned or mirrored; leave one out"):
            check_set(frames, [copy])
        assert "1 frames are there twice: water-4 = copy shifted, turned or mirrored" in check_set([*frames, copy])
        bent = places.clone()
        bent[0] += 1e-3
        assert check_set(frames, [Frame("bent", s.holding(positions=bent), {})], atomic_energies=FREE) == []
    cell, pbc = 30.0 * torch.eye(3, dtype=torch.float64), torch.ones(3, dtype=torch.bool)
    one, other = (Frame("in a cell", Structure(s.numbers, x, cell=cell, pbc=pbc), {}) for x in (s.positions, places))
    assert not any("twice" in note for note in check_set([*frames, one, other]))
