"""Energy terms, one a file, and the models made of them."""

from cgdft.functionals.anharmonic import Anharmonic
from cgdft.functionals.electronegativity import Electronegativity
from cgdft.functionals.hardness import Hardness
from cgdft.functionals.hartree import Hartree, Operator
from cgdft.functionals.models.latent_charges import LatentCharges
from cgdft.functionals.models.qeq import QEq
from cgdft.functionals.models.qeq_dipoles import QEqDipoles
from cgdft.functionals.pairwise import Pairwise
from cgdft.functionals.point_charges import PointCharges
from cgdft.functionals.uniform_field import UniformField

__all__ = [
    "Anharmonic",
    "Electronegativity",
    "Hardness",
    "Hartree",
    "LatentCharges",
    "Operator",
    "Pairwise",
    "PointCharges",
    "QEq",
    "QEqDipoles",
    "UniformField",
]

if __name__ != "cgdft.functionals":
    raise ImportError("this folder installs as `cgdft.functionals`; write `from cgdft.functionals import ...`")
