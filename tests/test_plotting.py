"""Figures: that they are written, show what they should, and refuse what cannot be drawn."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from cgdft import Structure
from cgdft.functionals import LatentCharges, QEq, QEqDipoles
from cgdft.plotting import ACCURACY, plane, plot_solution


def solved(atoms, model=QEqDipoles):
    return model()(Structure.from_ase(atoms))


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_a_file_is_written(tmp_path, ending):
    path = tmp_path / f"water.{ending}"
    solved(molecule("H2O")).plot(path)
    assert path.stat().st_size > 5000


def test_colours_are_symmetric_and_bars_have_units():
    figure = plot_solution(solved(molecule("CH3OH")))
    charges, potential, *bars = figure.axes
    assert [bar.get_ylabel() for bar in bars] == ["charge (e)", "potential (hartree/e)"]
    for axes in (charges, potential):
        shown = next(c for c in [*axes.images, *axes.collections] if c.get_array() is not None)
        low, high = shown.get_clim()
        assert low == -high < 0
    assert any("O\n-" in text.get_text() for text in charges.texts)


@pytest.mark.parametrize(
    "atoms",
    [Atoms("H"), molecule("N2"), molecule("CH4"), bulk("NaCl", "rocksalt", a=5.64)],
    ids=["H", "N2", "CH4", "NaCl"],
)
def test_any_shape_can_be_drawn(atoms):
    figure = plot_solution(solved(atoms, QEq))
    figure.canvas.draw()
    assert len(figure.axes) == 4


def test_many_atoms_have_no_labels():
    figure = plot_solution(LatentCharges(0.0)(Structure.from_ase(molecule("C60"))))
    assert not figure.axes[0].texts


def test_plane_contains_a_flat_molecule():
    atoms = molecule("C6H6")
    atoms.rotate(33, (1, 2, 3))
    structure = Structure.from_ase(atoms)
    where = plane(structure, margin=3.0, n=20)
    np.testing.assert_allclose(where.axes @ where.axes.T, np.eye(3), atol=1e-12)
    seen = where.project(structure.positions.numpy())
    assert np.abs(seen[:, 2]).max() < 1e-4
    left, right, low, high = where.extent
    assert left == pytest.approx(seen[:, 0].min() - 3)
    assert high == pytest.approx(seen[:, 1].max() + 3)
    assert len(where.points) == len(where.across) * len(where.up)
    np.testing.assert_allclose(where.project(where.points.numpy())[1, :2], [where.across[1], where.up[0]], atol=1e-9)
    assert right > left
    assert high > low


def test_the_potential_drawn_is_that_of_the_density():
    for atoms in (molecule("H2O"), bulk("NaCl", "rocksalt", a=5.64)):
        density = solved(atoms, QEq).density
        points = torch.rand(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 6
        exact = density.potential(points).numpy()
        assert np.abs(exact).max() > 1e-3
        np.testing.assert_allclose(density.potential(points, accuracy=ACCURACY), exact, atol=1e-5)


def test_a_batch_is_refused_with_what_to_do():
    batch = Structure.from_ase([molecule("H2O"), molecule("NH3")])
    with pytest.raises(ValueError, match="batch of 2; plot model"):
        plot_solution(QEq()(batch))
    with pytest.raises(ValueError, match=r"structure\[0\]"):
        plane(batch)


def test_slabs_stand_upright():
    """Whichever side is longer; a sheet of atoms is seen from above."""
    grid = [[4.0 * i, 4.0 * j, z] for z in (0.0, 8.0) for i in range(6) for j in range(6)]
    plates = Structure([13] * 72, grid, np.diag([24.0, 24.0, 0.0]), [True, True, False])
    assert np.allclose(plane(plates).axes[1], [0, 0, 1])
    assert np.allclose(plane(Structure([13] * 36, grid[:36], plates.cell, plates.pbc)).axes[2], [0, 0, 1])
