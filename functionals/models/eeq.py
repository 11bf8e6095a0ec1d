"""Charge equilibration with electronegativities of the coordination number, published for the elements up to radon.

Charges: labelled.
Source: caldeweyher2019
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from cgdft.basis import Multipoles
from cgdft.functionals.electronegativity import Electronegativity
from cgdft.functionals.hardness import Hardness
from cgdft.functionals.hartree import Hartree
from cgdft.functionals.parameters.coordination_number import CoordinationNumber
from cgdft.model import Model
from cgdft.parameter import AtomParameter
from cgdft.structure import Structure

#: chi, kappa (hartree / e), gamma (hartree / e^2), a (bohr): E. Caldeweyher et al., J. Chem. Phys. 150, 154122 (2019); digits
#: from tad-multicharge 0.7. In the words of this package sigma = a / sqrt(2), and a charge acts on itself by sqrt(2 / pi) / a.
PARAMETERS = {
    "H": (1.23695041, 0.0491611, -0.35015861, 0.55159092),
    "He": (1.26590957, 0.10937243, 1.04121227, 0.66205886),
    "Li": (0.54341808, -0.12349591, 0.09281243, 0.90529132),
    "Be": (0.99666991, -0.02665108, 0.0941238, 1.51710827),
    "B": (1.26691604, -0.02631658, 0.26629137, 2.86070364),
    "C": (1.40028282, 0.06005196, 0.19408787, 1.88862966),
    "N": (1.55819364, 0.09279548, 0.05317918, 1.3225029),
    "O": (1.5686644, 0.11689703, 0.03151644, 1.23166285),
    "F": (1.57540015, 0.15704746, 0.32275132, 1.77503721),
    "Ne": (1.15056627, 0.07987901, 1.30996037, 1.11955204),
    "Na": (0.5593622, -0.10002962, 0.2420651, 1.28263182),
    "Mg": (0.72373742, -0.07712863, 0.04147733, 1.22344336),
    "Al": (1.12910844, -0.02170561, 0.11634126, 1.70936266),
    "Si": (1.1230684, -0.04964052, 0.13155266, 1.54075036),
    "P": (1.52672442, 0.14250599, 0.1535065, 1.38200579),
    "S": (1.40768172, 0.0712666, 0.15250997, 2.18849322),
    "Cl": (1.48154584, 0.1368275, 0.17523529, 1.36779065),
    "Ar": (1.31062963, 0.14877121, 0.2877445, 1.27039703),
    "K": (0.4037414, -0.10219289, 0.42937314, 1.64466502),
    "Ca": (0.75442607, -0.08979338, 0.01896455, 1.58859404),
    "Sc": (0.76482096, -0.08273597, 0.07179178, 1.65357953),
    "Ti": (0.98457281, -0.01754829, -0.01121381, 1.50021521),
    "V": (0.96702598, -0.0276546, -0.0309337, 1.30104175),
    "Cr": (1.05266584, -0.02558926, 0.02716319, 1.46301827),
    "Mn": (0.93274875, -0.08010286, -0.01843812, 1.32928147),
    "Fe": (1.04025281, -0.04163215, -0.15270393, 1.02766713),
    "Co": (0.92738624, -0.09369631, -0.09192645, 1.02291377),
    "Ni": (1.0741921, -0.03774117, -0.13418723, 0.94343886),
    "Cu": (1.07900668, -0.05759708, -0.09861139, 1.14881311),
    "Zn": (1.04712861, 0.02431998, 0.18338109, 1.47080755),
    "Ga": (1.15018618, -0.0105627, 0.08299615, 1.76901636),
    "Ge": (1.15388455, -0.02692862, 0.11370033, 1.98724061),
    "As": (1.36313743, 0.07657769, 0.19005278, 2.41244711),
    "Se": (1.36485106, 0.06561608, 0.10980677, 2.26739524),
    "Br": (1.39801837, 0.08006749, 0.12327841, 2.95378999),
    "Kr": (1.18695346, 0.141392, 0.25345554, 1.20807752),
    "Rb": (0.3627387, -0.05351029, 0.58615231, 1.65941046),
    "Sr": (0.58797255, -0.06701705, 0.16093861, 1.6273388),
    "Y": (0.71961946, -0.07377246, 0.0454853, 1.61344972),
    "Zr": (0.96158233, -0.02927768, -0.02478645, 1.63220728),
    "Nb": (0.89585296, -0.03867291, 0.01909943, 1.60899928),
    "Mo": (0.81360499, -0.06929825, 0.01402541, 1.43501286),
    "Tc": (1.00794665, -0.04485293, -0.03595279, 1.54559205),
    "Ru": (0.92613682, -0.04800824, 0.01137752, 1.32663678),
    "Rh": (1.09152285, -0.01484022, -0.03697213, 1.37644152),
    "Pd": (1.1490707, 0.07917502, 0.08009416, 1.36051851),
    "Ag": (1.13508911, 0.06619243, 0.02274892, 1.23395526),
    "Cd": (1.08853785, 0.02434095, 0.12801822, 1.65734544),
    "In": (1.11005982, -0.01505548, -0.02078702, 1.5389524),
    "Sn": (1.12452195, -0.03030768, 0.05284319, 1.97542736),
    "Sb": (1.21642129, 0.01418235, 0.0758119, 1.97636542),
    "Te": (1.36507125, 0.08953411, 0.09663758, 2.05432381),
    "I": (1.4034, 0.08967527, 0.09547417, 3.80138135),
    "Xe": (1.16653482, 0.07277771, 0.07803344, 1.43893803),
    "Cs": (0.34125098, -0.02129476, 0.64913257, 1.75505957),
    "Ba": (0.58884173, -0.06188828, 0.15348654, 1.59815118),
    "La": (0.68441115, -0.06568203, 0.05054344, 1.76401732),
    "Ce": (0.56999999, -0.11, 0.11, 1.63999999),
    "Pr": (0.56999999, -0.11, 0.11, 1.63999999),
    "Nd": (0.56999999, -0.11, 0.11, 1.63999999),
    "Pm": (0.56999999, -0.11, 0.11, 1.63999999),
    "Sm": (0.56999999, -0.11, 0.11, 1.63999999),
    "Eu": (0.56999999, -0.11, 0.11, 1.63999999),
    "Gd": (0.56999999, -0.11, 0.11, 1.63999999),
    "Tb": (0.56999999, -0.11, 0.11, 1.63999999),
    "Dy": (0.56999999, -0.11, 0.11, 1.63999999),
    "Ho": (0.56999999, -0.11, 0.11, 1.63999999),
    "Er": (0.56999999, -0.11, 0.11, 1.63999999),
    "Tm": (0.56999999, -0.11, 0.11, 1.63999999),
    "Yb": (0.56999999, -0.11, 0.11, 1.63999999),
    "Lu": (0.56999999, -0.11, 0.11, 1.63999999),
    "Hf": (0.87936784, -0.03585873, -0.02786741, 1.47055223),
    "Ta": (1.02761808, -0.031324, 0.01057858, 1.81127084),
    "W": (0.93297476, -0.05902379, -0.03892226, 1.40189963),
    "Re": (1.10172128, -0.02827592, -0.04574364, 1.54015481),
    "Os": (0.97350071, -0.0760626, -0.0387408, 1.33721475),
    "Ir": (1.16695666, -0.02123839, -0.03782372, 1.57165422),
    "Pt": (1.23997927, 0.03814822, -0.07046855, 1.04815857),
    "Au": (1.18464453, 0.02146834, 0.09546597, 1.78342098),
    "Hg": (1.14191734, 0.01580538, 0.21953269, 2.79106396),
    "Tl": (1.12334192, -0.00894298, 0.02522348, 1.7816084),
    "Pb": (1.01485321, -0.05864876, 0.1526305, 2.47588882),
    "Bi": (1.12950808, -0.01817842, 0.08042611, 2.37670734),
    "Po": (1.30804834, 0.07721851, 0.01878626, 1.76613217),
    "At": (1.33689961, 0.07936083, 0.08715453, 2.66172302),
    "Rn": (1.27465977, 0.05849285, 0.10500484, 2.82773085),
}
WIDTH = {element: a / math.sqrt(2) for element, (_, _, _, a) in PARAMETERS.items()}
HARDNESS = {element: gamma + math.sqrt(2 / math.pi) / a for element, (_, _, gamma, a) in PARAMETERS.items()}


class CoordinatedElectronegativity(nn.Module):
    """chi_i - kappa_i sqrt(CN_i), hartree / e."""

    def __init__(self, coordination: nn.Module) -> None:
        super().__init__()
        self.coordination = coordination
        self.chi = AtomParameter({element: row[0] for element, row in PARAMETERS.items()}, "chi")
        self.kappa = AtomParameter({element: row[1] for element, row in PARAMETERS.items()}, "kappa")

    def forward(self, structure: Structure) -> Tensor:
        """Of every atom, (n_atoms,)."""
        number = self.coordination(structure).clamp(min=1e-60)  # the root of zero has no derivative
        return self.chi(structure) - self.kappa(structure) * number.sqrt()


def EEQ(coordination: nn.Module | None = None) -> Model:
    """E = sum_i (chi_i - kappa_i sqrt(CN_i)) q_i + gamma_i q_i^2 / 2 + Hartree, minimised at fixed total charge.

    The parameters reproduce Hirshfeld charges of PBE0. gamma may be negative (hydrogen); with the self-interaction of Hartree
    it never is, so that both are one Hardness here. Only differences of chi matter to the charges: the chemical potential has a
    zero of its own (-1.3 hartree for water).

    Args:
        coordination: a module structure -> CN, (n_atoms,); default: the paper's.

    Source: E. Caldeweyher, S. Ehlert, A. Hansen, H. Neugebauer, S. Spicher, C. Bannwarth, S. Grimme, J. Chem. Phys. 150, 154122
    (2019).
    """
    chi = CoordinatedElectronegativity(CoordinationNumber() if coordination is None else coordination)
    return Model(
        Hartree(self_interaction=False) + Electronegativity(chi) + Hardness(HARDNESS),
        Multipoles(lmax=0, width=WIDTH),
        name="EEQ",
        references=("caldeweyher2019",),
    )
