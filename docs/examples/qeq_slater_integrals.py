"""QEq with the Slater integrals of the paper against the Gaussian ones used here: widths, and charges of some molecules.

The Coulomb integral of two ns Slater densities is taken from their Fourier transforms,
f(k) = (2 zeta)^(2n+1) / (2n) Im (2 zeta - i k)^(-2n) / k,  J(R) = 2/pi int f_A f_B sin(kR)/(kR) dk.
"""

import numpy as np
from ase.build import molecule
from scipy.optimize import minimize_scalar
from scipy.special import erf

import cgdft
from cgdft.functionals import QEq
from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH

#: Principal quantum number and Slater exponent (1/bohr): A. K. Rappe, W. A. Goddard, J. Phys. Chem. 95, 3358 (1991), Table I.
SLATER = {
    "H": (1, 1.0698), "Li": (2, 0.4174), "C": (2, 0.8563), "N": (2, 0.9089), "O": (2, 0.9745), "F": (2, 0.9206),
    "Na": (3, 0.4364), "Si": (3, 0.7737), "P": (3, 0.8257), "S": (3, 0.8690), "Cl": (3, 0.9154), "K": (4, 0.4524),
    "Br": (4, 1.0253), "Rb": (5, 0.5162), "I": (5, 1.0726), "Cs": (6, 0.5663),
}  # fmt: skip
nodes, weights = np.polynomial.legendre.leggauss(2000)
K, DK = 30 * (nodes + 1), 30 * weights


def transform(element: str) -> np.ndarray:
    n, zeta = SLATER[element]
    return (2 * zeta) ** (2 * n + 1) / (2 * n) * ((2 * zeta - 1j * K) ** (-2 * n)).imag / K


def slater(first: str, second: str, r: np.ndarray) -> np.ndarray:
    product = DK * transform(first) * transform(second)
    return 2 / np.pi * np.array([(product * np.sinc(K * x / np.pi)).sum() for x in np.atleast_1d(r)])


def slater_charges(symbols: list[str], positions: np.ndarray) -> np.ndarray:
    n = len(symbols)
    kkt = np.zeros((n + 1, n + 1))
    kkt[n, :n] = kkt[:n, n] = 1.0
    for i in range(n):
        kkt[i, i] = HARDNESS[symbols[i]]
        for j in range(i):
            kkt[i, j] = kkt[j, i] = slater(symbols[i], symbols[j], np.linalg.norm(positions[i] - positions[j]))[0]
    return np.linalg.solve(kkt, [*(-CHI[s] for s in symbols), 0.0])[:n]


print("element  width here  width fitted  largest error of J (hartree)")
r = (np.arange(1600) + 0.5) * 0.05
gauss = lambda sigma: erf(r / (2 * sigma)) / r  # noqa: E731
for element in SLATER:
    exact = slater(element, element, r)
    fitted = minimize_scalar(lambda s, exact=exact: ((gauss(s) - exact) ** 2).sum(), bounds=(0.3, 12), method="bounded").x
    print(f"{element:7} {WIDTH[element]:11.4f} {fitted:13.3f} {np.abs(gauss(WIDTH[element]) - exact).max():14.4f}")
    assert abs(fitted - WIDTH[element]) < 2e-3

print("\nmolecule  largest charge: Slater, Gaussian; largest difference (e)")
for name in ("LiF", "NaCl", "HCl", "H2O", "NH3", "CH4", "CH3OH", "C2H4", "CO2", "SO2", "CH3Cl", "SiH4"):
    structure = cgdft.Structure.from_ase(molecule(name))
    there, here = slater_charges(structure.symbols, structure.positions.numpy()), QEq()(structure).charges.numpy()
    k = np.abs(there).argmax()
    print(f"{name:9} {structure.symbols[k]:2} {there[k]:8.3f} {here[k]:8.3f} {np.abs(there - here).max():10.3f}")
    assert np.abs(there - here).max() < 0.05
