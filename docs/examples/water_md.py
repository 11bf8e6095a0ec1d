"""Molecular dynamics with a functional: eight water molecules, relaxed, then followed at constant energy.

QEq has charges but no water molecule: nothing in it keeps H off O, and a repulsion between pairs alone makes the
molecule linear, because its hydrogens repel each other. So it gets

- a `Pairwise` repulsion that puts the oxygens of a dimer 2.8 angstrom apart, weak where H takes part;
- `bonds`, a term of our own: springs O-H and H-H within each molecule, of such lengths that the free molecule, under
  the forces of its charges, has 0.957 angstrom and 104.5 degrees; it vibrates at 1440, 3600 and 4480 / cm.

QEq over-polarizes: charge flows between molecules, and a dimer binds about twice too strongly. But charges follow the
atoms at every step, forces are derivatives of the minimum, and so the total energy must not drift.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from matplotlib.figure import Figure

from cgdft import term
from cgdft.ase import CGDFT
from cgdft.functionals import Pairwise, QEq
from cgdft.units import angstrom, eV

torch.set_num_threads(1)  # 24 atoms are too few to share between processors
N, STEPS, DT, TEMPERATURE = 8, 1000, 0.5, 150.0  # molecules, -, fs, K


@term(quadratic=True, local=True, convex=True)
def bonds(rho, stretch, bend, oh=0.974 * angstrom, hh=1.441 * angstrom):
    """E = sum over molecules O, H, H of stretch/2 [(r1 - oh)^2 + (r2 - oh)^2] + bend/2 (r12 - hh)^2 (hartree, bohr)."""
    o, a, b = rho.structure.positions.reshape(-1, 3, 3).unbind(1)
    r1, r2, r12 = ((x - y).norm(dim=1).repeat_interleave(3) for x, y in ((a, o), (b, o), (a, b)))
    return rho.total(stretch / 6 * ((r1 - oh) ** 2 + (r2 - oh) ** 2) + bend / 6 * (r12 - hh) ** 2)


repulsion = Pairwise(strength={"O": 700.0, "H": 4e-5}, length={"O": 0.47, "H": 0.66})  # hartree, bohr
model = QEq() + repulsion + bonds(stretch=0.45, bend=0.17)

water = molecule("H2O")
water.calc = CGDFT(model)
BFGS(water, logfile=None).run(fmax=1e-3)
print(f"free molecule: O-H {water.get_distance(0, 1):.3f} angstrom, H-O-H {water.get_angle(1, 0, 2):.1f} degrees")

rng = np.random.default_rng(1)
atoms = Atoms()
for place in np.ndindex(2, 2, N // 4):  # a cubic grid, turned at random
    turned = molecule("H2O")
    turned.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COM")
    turned.translate(2.9 * np.array(place) - turned.get_center_of_mass())
    atoms += turned
atoms.calc = CGDFT(model)
BFGS(atoms, logfile=None).run(fmax=0.02, steps=400)
bound, charges = water.get_potential_energy() - atoms.get_potential_energy() / N, atoms.get_charges()
print(f"cluster: {bound:.2f} eV per molecule bound; O {charges[::3].mean():.2f} e, free {water.get_charges()[0]:.2f} e")

# twice the temperature at the start, half of it goes into vibrations
atoms.set_velocities(rng.normal(size=(3 * N, 3)) * np.sqrt(units.kB * 2 * TEMPERATURE / atoms.get_masses())[:, None])
seen = []
dynamics = VelocityVerlet(atoms, timestep=DT * units.fs)
dynamics.attach(lambda: seen.append([atoms.get_total_energy() / len(atoms), atoms.get_temperature()]))
dynamics.run(STEPS)
time, (energies, temperatures) = DT * np.arange(STEPS + 1), np.array(seen).T
(drift, _), spread = np.polyfit(time / 1000, energies, 1, cov=True)
print(f"{STEPS} steps of {DT} fs at {temperatures.mean():.0f} K: energy drifts by {drift:.1e} eV/atom/ps = ", end="")
print(f"{1000 * drift * eV:.1e} hartree/atom/ns, its standard error {spread[0, 0] ** 0.5:.1e} eV/atom/ps")

figure = Figure(figsize=(7, 5), layout="constrained")
above, below = figure.subplots(2, 1, sharex=True)
above.plot(time, 1000 * (energies - energies[0]))
below.plot(time, temperatures, color="C1")
above.set(ylabel="change of energy (meV/atom)", title=f"{N} water molecules, {model.name}")
below.set(xlabel="time (fs)", ylabel="temperature (K)")
figure.savefig(Path(*sys.argv[1:2]) / "water_md.png", dpi=160)
