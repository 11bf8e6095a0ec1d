"""Slabs in a field: the metal must screen it, the ice must not, and charge equilibration takes them for the same.

Nine layers of Al(100) and seven of proton-ordered cubic ice, periodic in x and y, field along z. Where charge may go anywhere
at the cost of a hardness, ice too is a metal: no field inside, charge carried from one surface to the other. Split charges
within molecules, response modes between near atoms, and dipoles leave a dielectric (ice at optical frequencies: 1.7), response
modes even though they pass charge from molecule to molecule. Charges that the surroundings give do not answer at all.
"""

import torch
from ase import Atoms
from ase.build import fcc100
from matplotlib.figure import Figure

from cgdft import Density, Model, Multipoles, Structure
from cgdft.functionals import ACKS2, LES, SQE, BondSoftness, FluctuatingDipoles, Hardness, Hartree, QEq, UniformField
from cgdft.units import angstrom, eV

torch.set_default_dtype(torch.float64)
OUTER, CUBE = 0.005, 6.36  # hartree / (e bohr); of ice, angstrom
CHARGES = {"O": -0.8, "H": 0.4}
METALS = {"metal": Model(Hartree() + Hardness(0.5 * eV), Multipoles(width=1.0 * angstrom))}
DIELECTRICS = {
    "QEq": QEq(),
    "SQE": SQE(0.1),  # bonds within molecules
    "ACKS2": ACKS2(BondSoftness(300.0, 6.0)),
    "dipoles": FluctuatingDipoles(CHARGES),
    "LES": LES(CHARGES),
}


def ice(layers):
    """One molecule in each layer, which gives one hydrogen bond upwards and one downwards; polar along x."""
    bond = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0]]) / 3**0.5
    slab = Atoms(cell=[[CUBE / 2, CUBE / 2, 0], [CUBE / 2, -CUBE / 2, 0], [0, 0, 0]])
    for k in range(layers):
        oxygen = CUBE / 4 * torch.tensor([k, k % 2, k])
        arms = 0.98 * bond * torch.tensor([1.0, -1.0 if k % 2 else 1.0, 1.0])
        slab += Atoms("OHH", torch.cat([oxygen[None], oxygen + arms]).numpy())
    return slab


def profile(density, z):
    """Its potential averaged over planes at z, hartree / e."""
    grid = torch.cartesian_prod(torch.arange(5) / 5, torch.arange(5) / 5) @ density.structure.cell[0, :2]
    points = grid[None] + z[:, None, None] * torch.tensor([0.0, 0.0, 1.0])
    return density.potential(points.reshape(-1, 3)).reshape(len(z), -1).mean(1)


figure = Figure(figsize=(8, 3.4), layout="constrained")
panels = figure.subplots(1, 2, sharey=True)
slabs = (("Al(100)", fcc100("Al", (1, 1, 9)), 1, METALS), ("ice", ice(7), 3, DIELECTRICS))
inner, carried = {}, {}
print("                 dipole / area (e / bohr)   inner / outer field   charge of an atom or molecule (e)")
for axes, (title, atoms, unit, models) in zip(panels, slabs, strict=True):
    atoms.pbc = [True, True, False]
    structure = Structure.from_ase(atoms)
    height = structure.positions[::unit, 2]
    centre, period = height[len(height) // 2], height[2] - height[0]
    z = centre + torch.linspace(-22, 22, 45)
    for name, model in models.items():
        change = (model + UniformField([0.0, 0.0, OUTER]))(structure).coefficients - model(structure).coefficients
        induced = Density(structure, model.basis, change)
        dipole = induced.dipole[0, 2] / torch.linalg.cross(*structure.cell[0, :2]).norm()
        low, high = profile(induced, centre + period * torch.tensor([-1.0, 1.0]))
        inner[name] = 1 - float((high - low) / (2 * period * OUTER))
        carried[name] = float(induced.charges.reshape(-1, unit).sum(1).abs().max())
        print(f"{title:8} {name:10} {dipole:15.6f} {inner[name]:25.4f} {carried[name]:20.4f}")
        axes.plot((z - centre) / angstrom, (profile(induced, z) - OUTER * (z - centre)) / eV, label=name)
    for layer in (height - centre) / angstrom:
        axes.axvline(float(layer), color="0.9", linewidth=1, zorder=0)
    axes.set(title=title, xlabel="z (angstrom)", ylabel="change of potential (V)")
    axes.legend(fontsize=7)
figure.savefig("slab_in_a_field.png", dpi=150)

assert max(abs(inner["metal"]), abs(inner["QEq"])) < 0.01
assert all(0.4 < inner[name] < 0.9 for name in ("SQE", "ACKS2", "dipoles"))
assert inner["LES"] == 1.0
assert carried["QEq"] > carried["ACKS2"] > 1e-3 > 1e-12 > max(carried[name] for name in ("SQE", "dipoles", "LES"))
