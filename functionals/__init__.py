"""Energy terms, one a file, and the models made of them."""

from cgdft.functionals.anharmonic import Anharmonic
from cgdft.functionals.derivative_discontinuity import DerivativeDiscontinuity
from cgdft.functionals.electronegativity import Electronegativity
from cgdft.functionals.hardness import Hardness
from cgdft.functionals.hartree import Hartree, Operator
from cgdft.functionals.models.acks2 import ACKS2, BondSoftness
from cgdft.functionals.models.eeq import EEQ
from cgdft.functionals.models.electrodes import Electrodes
from cgdft.functionals.models.energy_functional import EnergyFunctional
from cgdft.functionals.models.fixed_point_response import FixedPointResponse
from cgdft.functionals.models.fluctuating_dipoles import FluctuatingDipoles
from cgdft.functionals.models.fourth_generation import FourthGeneration
from cgdft.functionals.models.integer_charges import IntegerCharges
from cgdft.functionals.models.latent_charges import LatentCharges
from cgdft.functionals.models.les import LES
from cgdft.functionals.models.local_multipoles import LocalMultipoles
from cgdft.functionals.models.local_split_charges import LocalSplitCharges
from cgdft.functionals.models.qeq import QEq
from cgdft.functionals.models.qeq_dipoles import QEqDipoles
from cgdft.functionals.models.qtpie import QTPIE
from cgdft.functionals.models.spin_equilibration import SpinEquilibration
from cgdft.functionals.models.sqe import SQE
from cgdft.functionals.models.truncated_recursion import TruncatedRecursion
from cgdft.functionals.nuclear_repulsion import NuclearRepulsion
from cgdft.functionals.pairwise import Pairwise
from cgdft.functionals.parameters.attenuated import Attenuated
from cgdft.functionals.parameters.coordination_number import CoordinationNumber
from cgdft.functionals.point_charges import PointCharges
from cgdft.functionals.responses.spin_response import SpinResponse
from cgdft.functionals.responses.stiffening_response import StiffeningResponse
from cgdft.functionals.spin_hardness import SpinHardness
from cgdft.functionals.stiffening import Stiffening
from cgdft.functionals.uniform_field import UniformField

__all__ = [
    "ACKS2",
    "EEQ",
    "LES",
    "QTPIE",
    "SQE",
    "Anharmonic",
    "Attenuated",
    "BondSoftness",
    "CoordinationNumber",
    "DerivativeDiscontinuity",
    "Electrodes",
    "Electronegativity",
    "EnergyFunctional",
    "FixedPointResponse",
    "FluctuatingDipoles",
    "FourthGeneration",
    "Hardness",
    "Hartree",
    "IntegerCharges",
    "LatentCharges",
    "LocalMultipoles",
    "LocalSplitCharges",
    "NuclearRepulsion",
    "Operator",
    "Pairwise",
    "PointCharges",
    "QEq",
    "QEqDipoles",
    "SpinEquilibration",
    "SpinHardness",
    "SpinResponse",
    "Stiffening",
    "StiffeningResponse",
    "TruncatedRecursion",
    "UniformField",
]

if __name__ != "cgdft.functionals":
    raise ImportError("this folder installs as `cgdft.functionals`; write `from cgdft.functionals import ...`")
