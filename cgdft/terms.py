"""A term states its energy; everything else is derived from it or checked against what is derived."""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cgdft.density import Density
from cgdft.finite import finite
from cgdft.memo import once
from cgdft.naming import distinct
from cgdft.parameter import AtomParameter
from cgdft.slopes import slope

if TYPE_CHECKING:
    from cgdft.basis import Multipoles
    from cgdft.functional import Functional
    from cgdft.structure import Structure


#: Coefficients beyond this are those of a solver that has diverged.
LOST = 1e30
#: What to do with a function where a term is wanted.
MADE = "a function becomes a term with @cgdft.term, and is one when called: quartic(k=0.1)"


class Term(nn.Module, ABC):
    """One contribution to E[rho; R]. A subclass states `energy`; the rest has working defaults.

    Declared structure (checked by `cgdft.check_term`, and relied on by solvers):

    Attributes:
        quadratic: the Hessian in the coefficients does not depend on them.
        local: the Hessian couples no two atoms.
        convex: the Hessian has no negative eigenvalue, whatever the coefficients.
        has_matrix: its Hessian is at hand as a matrix, for solvers that factorise it.
        external: the term has a position or direction of its own, so that moving or turning the structure changes it.
        extensive: two cells have twice the energy of one; not so what is of a structure as a whole.
        rounding: of its derivatives, relative: of sums in single precision, to which residuals fall.
    """

    quadratic: bool = False
    local: bool = False
    convex: bool = False
    has_matrix: bool = True
    external: bool = False
    extensive: bool = True
    rounding: float = 0.0

    @property
    def name(self) -> str:
        """How tables call it."""
        return type(self).__name__

    @property
    def evaluation(self) -> str:
        """How a prepared term is evaluated and how exactly, for reports; default: nothing to say."""
        return ""

    def forward(self, structure: Structure) -> None:
        """None of its own: see `energy`."""
        raise TypeError(f"`{self.name}` is a term, not a model: give cgdft.Model({self.name} + ..., basis) the structure")

    @abstractmethod
    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """Energy of each structure, (n_structures,), hartree. `rho.total` sums over the atoms of each."""

    def of_structure(self, structure: Structure) -> Any:
        """What the energy needs of the structure alone, parameters of pairs too; computed once, it is `self.known(rho)`."""

    def known(self, rho: Density) -> Any:
        """`of_structure`, of a prepared term as it was computed."""
        found = vars(self).get("_known")
        return self.of_structure(rho.structure) if found is None else found

    def prepare(self, structure: Structure, basis: Multipoles) -> Term:
        """The same term with all that depends on the structure alone computed once: parameters' values, and `of_structure`."""
        prepared = copy.copy(self)
        if type(self).of_structure is not Term.of_structure:
            prepared._known = once(self, structure, lambda: self.of_structure(structure))
        prepared._modules = {
            name: module.at(structure) if isinstance(module, AtomParameter) else module
            for name, module in self._modules.items()
        }
        return prepared

    def gradient(self, rho: Density) -> Float[Tensor, "n_atoms size"]:
        """dE/dp, (n_atoms, size); default: by autograd. A term with a faster way overrides it and must pass `check_term`."""
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            p = rho.coefficients if rho.coefficients.requires_grad else rho.coefficients.detach().requires_grad_()
            return slope(self.energy(rho.at(p)), p, graph=graph)

    def curvature(self, rho: Density) -> Callable[[Tensor], Tensor]:
        """v -> (d2E/dp dp) v, (n_atoms, size) to the same; what does not depend on v is computed once. Default: by autograd."""
        if self.local:
            blocks = self.blocks(rho)
            return lambda v: torch.einsum("iab,ib->ia", blocks, v)
        p, gradient = self._slope(rho)
        return lambda v: slope(gradient, p, v, keep=True)

    def blocks(self, rho: Density) -> Float[Tensor, "n_atoms size size"]:
        """d2E/dp_i dp_i of a local term, (n_atoms, size, size); default: by autograd."""
        return expansion(self, rho)[1]

    def hessian(self, rho: Density) -> Float[Tensor, "n_structures n n"]:
        """d2E/dp dp of each structure, padded with zeros to the largest; default: from `blocks` or `curvature`."""
        structure, size = rho.structure, rho.basis.size
        most, index, local = int(structure.counts.max()), structure.index, structure.local
        hessian = rho.coefficients.new_zeros(len(structure), most, size, most, size)
        if self.local:
            hessian[index, local, :, local] = self.blocks(rho)
        else:
            product = self.curvature(rho)
            for atom in range(most):
                for component in range(size):
                    v = torch.zeros_like(rho.coefficients)
                    v[local == atom, component] = 1.0
                    hessian[index, local, :, atom, component] = product(v)
        return hessian.reshape(len(structure), most * size, most * size)

    def diagonal(self, rho: Density) -> Float[Tensor, "n_atoms size"]:
        """What of the Hessian's diagonal a preconditioner may count on; default: all of a local term's, none of another's."""
        if not self.local:
            return torch.zeros_like(rho.coefficients)
        return self.blocks(rho).diagonal(dim1=1, dim2=2)

    def lower_bound(self, rho: Density, neutral: bool) -> Float[Tensor, "n_atoms size"] | None:
        """A diagonal nowhere above the Hessian of a term that is not local; default: zero if convex, else unknown.

        Args:
            neutral: only changes that leave the total charge as it is are meant.
        """
        return torch.zeros_like(rho.coefficients) if self.convex else None

    def approximate(self) -> Term:
        """A cheaper term whose Hessian is nearly this one's, for a prepared term; default: itself.

        Solvers iterate with it and correct the result by the term itself.
        """
        return self

    def _slope(self, rho: Density) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            p = rho.coefficients.detach().requires_grad_()
            return p, self.gradient(rho.at(p))

    def __add__(self, other: Term | Functional) -> Functional:
        from cgdft.functional import Functional

        return Functional([self]) + other

    def __radd__(self, other: int) -> Functional:
        """0 + term, as in sum(terms)."""
        from cgdft.functional import Functional

        return Functional([self]).__radd__(other)


def expansion(term: Term, rho: Density) -> tuple[Float[Tensor, "n_atoms size"], Float[Tensor, "n_atoms size size"]]:
    """dE/dp and d2E/dp_i dp_i of a local term by autograd, (n_atoms, size) and (n_atoms, size, size), without a graph."""
    size = rho.basis.size
    blocks = rho.coefficients.new_zeros(len(rho.coefficients), size, size)
    p, gradient = term._slope(rho)
    for component in range(size if gradient.requires_grad else 0):
        v = torch.zeros_like(p)
        v[:, component] = 1.0
        blocks[:, :, component] = slope(gradient, p, v, keep=True)
    return gradient.detach(), blocks


class DensityIndependent(Term):
    """A term of the structure alone: E[rho; R] = E(R). A subclass states `of_structure`, (n_structures,), hartree."""

    quadratic = True
    local = True
    convex = True

    @abstractmethod
    def of_structure(self, structure: Structure) -> Float[Tensor, " n_structures"]:
        """Energy of each structure, (n_structures,), hartree."""

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """(n_structures,), hartree."""
        energy: Tensor = self.known(rho)
        return energy

    def gradient(self, rho: Density) -> Tensor:
        """Zero."""
        return torch.zeros_like(rho.coefficients)

    def blocks(self, rho: Density) -> Tensor:
        """Zero."""
        return rho.coefficients.new_zeros(len(rho.coefficients), rho.basis.size, rho.basis.size)


class _FunctionTerm(Term):
    """Of what `term` made of a function, which is found again by its name where the term is pickled."""

    def __init__(self, function: Any, parameters: dict[str, Any], flags: dict[str, bool]) -> None:
        super().__init__()
        self._function = function
        for name, value in parameters.items():
            setattr(self, name, AtomParameter(value, name))
        self._parameter_names = tuple(parameters)
        for name, flag in flags.items():
            setattr(self, name, flag)
        self.__doc__ = function.__doc__

    @property
    def name(self) -> str:
        name: str = self._function.__name__
        return name

    def energy(self, rho: Density) -> Tensor:
        values = {name: getattr(self, name)(rho.structure) for name in self._parameter_names}
        try:
            energy: Tensor = self._function.__wrapped__(rho, **values)
        except RuntimeError as error:
            if values and "must match the size" in str(error):
                name, n = self._parameter_names[0], rho.structure.n_atoms
                error.add_note(
                    f"parameters of `{self.name}` are of atoms, ({n},): for pairs i and j take {name}[i] and {name}[j]"
                )
            raise
        if not isinstance(energy, Tensor):
            raise ValueError(
                f"`{self.name}` must return a tensor of one energy for each structure, such as rho.total(...), got "
                f"{type(energy).__name__}"
            )
        return energy


def term(
    function: Callable[..., Tensor] | None = None,
    *,
    quadratic: bool = False,
    local: bool = False,
    convex: bool = False,
    external: bool = False,
    extensive: bool = True,
) -> Any:
    """Make a term of a function (rho, parameters ...) -> (n_structures,) hartree.

    The result makes terms: `quartic(k=0.1)`. Each parameter is a number, a value per element, a tensor per atom, or a
    module; the function receives it as (n_atoms,). The flags are those of `Term`; unset, nothing is assumed.

    Raises:
        TypeError: a parameter with a name that terms have; at the call, a parameter that the function does not have or that has
            no value.
    """
    if function is None:
        return lambda f: term(f, quadratic=quadratic, local=local, convex=convex, external=external, extensive=extensive)
    names = list(inspect.signature(function).parameters)
    if not names:
        raise TypeError(f"`{function.__name__}` must take the density as its first argument, got no arguments")
    signature = inspect.signature(function)
    taken = [name for name in names[1:] if name in dir(Term)]
    if taken:
        raise TypeError(f"`{function.__name__}` must not call a parameter {taken[0]!r}, which terms have; choose another name")
    signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    flags = {"quadratic": quadratic, "local": local, "convex": convex, "external": external, "extensive": extensive}

    @wraps(function)
    def make(*args: Any, **kwargs: Any) -> Term:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"`{function.__name__}`{signature}: {error}") from None
        bound.apply_defaults()
        return _FunctionTerm(make, dict(bound.arguments), flags)

    return make


def stated_energy(term: Term, rho: Density) -> Tensor:
    """The term's energy, once its shape is seen to be right.

    Raises:
        ValueError: the shape is not (n_structures,), with what to do.
    """
    before = rho.coefficients._version
    energy = term.energy(rho)
    if rho.coefficients._version != before:
        raise ValueError(f"`{term.name}` must leave the density as it is, got coefficients changed in place; change a clone()")
    expected = (len(rho.structure),)
    if not isinstance(energy, Tensor) or tuple(energy.shape) != expected:
        got = f"shape {tuple(energy.shape)}" if isinstance(energy, Tensor) else type(energy).__name__
        raise ValueError(
            f"the energy of `{term.name}` must be (n_structures,) = {expected}, got {got}; return rho.total(x) for x of one "
            f"value per atom"
        )
    return energy


def checked_energy(term: Term, rho: Density) -> Tensor:
    """The same, once its values are seen to be numbers; else a ValueError."""
    energy = stated_energy(term, rho)
    if not finite(energy):
        require_bounded(rho)
        raise ValueError(f"the energy of `{term.name}` must be finite, got {energy.detach().tolist()}; check its parameters")
    return energy


def require_bounded(rho: Density) -> None:
    """Raise a ValueError where a density is beyond all bounds, which is a solver's doing and no term's."""
    if not rho.coefficients.detach().abs().max() < LOST:
        most = float(rho.coefficients.detach().abs().max())
        why = "it diverged; take smaller steps, or another solver" if most == most else "what it was given is not a number"
        raise ValueError(f"the solver must not leave all bounds, got a density of {most:g} e: {why}")


def named(terms: Iterable[Term]) -> dict[str, Term]:
    """Terms by name; a repeated name gets a number."""
    result: dict[str, Term] = {}
    for one in terms:
        result[distinct(one.name, result)] = one
    return result
