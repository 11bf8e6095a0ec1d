"""Plain numbers and words that a model depends on, which nothing else would show to have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dis import get_instructions
from functools import lru_cache
from types import CellType, CodeType, ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from torch import nn

if TYPE_CHECKING:
    from cgdft.model import Model

#: Types of which nothing depends on a gradient.
PLAIN = frozenset((float, int, bool, str, type(None)))
#: Longer tables, and arrays of more numbers, are not looked at.
LONG, MANY = 1000, 10_000
#: Whose modules keep what they are made with.
LIBRARIES = ("torch.", "e3nn.", "mace.")
#: What torch keeps in any module.
OF_MODULES = frozenset(vars(nn.Module()))
#: What solves of a model have changed themselves.
_own_doing: WeakKeyDictionary[Model, set[tuple[str, str]]] = WeakKeyDictionary()


def settings(model: Model) -> dict[tuple[str, str], Any]:
    """Of constraints and of all modules: attributes, and what functions and callable objects among these name.

    Numbers, words, arrays, and dicts, sequences and objects that hold numbers and words; attributes with _ are a part's own.
    What a solve has ever changed itself, such as a counter, is none: see `lasting`.
    """
    found: dict[tuple[str, str], Any] = {}
    constraints = [(f"constraints.{k}", one) for k, one in enumerate(model.constraints)]
    for place, part in (*constraints, *parts(model)):
        if part is model or type(part).__module__.startswith(LIBRARIES):
            continue
        owner = f"{type(part).__name__} at {place}"
        for name, value in vars(part).items():
            if name in OF_MODULES:
                continue
            if type(value) not in PLAIN and callable(value):
                named = {(owner, one): kept for one, held in named_by(value) if (kept := _kept(held)) is not None}
                found |= named if not isinstance(value, nn.Module) else {}
            elif name[0] != "_" and (kept := _kept(value)) is not None:
                found[owner, name] = kept
    return found


def parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """A module and those within, each once, with their names: as `named_modules`, at a fraction of the time."""
    found, seen = [("", model)], {model}
    for place, part in found:
        for name, one in part._modules.items():
            if one is not None and one not in seen:
                seen.add(one)
                found.append((f"{place}.{name}" if place else name, one))
    return found


def lasting(model: Model, before: dict[tuple[str, str], Any], after: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    """Settings that no solve of the model has changed by itself, this one included; what does is remembered by the model."""
    own = _own_doing.setdefault(model, set())
    own |= {where for where, value in after.items() if where not in before or before[where] != value}
    return {where: value for where, value in after.items() if where not in own}


def changed(model: Model, then: dict[tuple[str, str], Any]) -> list[tuple[str, str]]:
    """Settings that are no longer what they were, but for what solves change."""
    now, own = settings(model), _own_doing.get(model, set())
    return [where for where, value in then.items() if where not in own and not same(value, now.get(where))]


def same(then: Any, value: Any) -> bool:
    """Whether a setting is what it was; what has been added to a dict or list, as to a memory, does not count."""
    if then == value:
        return True
    if isinstance(then, tuple) and isinstance(value, tuple):
        return value[: len(then)] == then
    if isinstance(then, dict) and isinstance(value, dict):
        return all(one in value and _alike(what, value[one]) for one, what in then.items())
    return _alike(then, value)


def _alike(then: Any, value: Any) -> bool:
    """NaN is what it was."""
    return bool(then is value or then == value or (then != then and value != value))


def _kept(value: Any) -> Any:
    """A copy that does not change with the value; None of what is not plain, is long, and of None."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, dict | list | tuple) and len(value) > LONG:
        return None
    if type(value) is dict and PLAIN.issuperset(map(type, value.values())):
        return dict(value)
    if type(value) in (list, tuple) and PLAIN.issuperset(map(type, value)):
        return tuple(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.size <= MANY:
        return {"shape": value.shape, "values": value.tobytes()}
    held = None if callable(value) or isinstance(value, ModuleType) else getattr(value, "__dict__", None)
    if held and len(held) <= LONG:  # of an object that keeps settings
        return {name: one for name, one in held.items() if type(one) in PLAIN}
    return None


def named_by(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """What the code of a function names outside of it and does not set, or the attributes of a callable object."""
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        given = vars(function) if hasattr(function, "__dict__") else {}
        yield from ((name, value) for name, value in given.items() if name[0] != "_")
        return
    known, (loaded, own) = getattr(function, "__globals__", {}), _outside(code)
    yield from ((name, known[name]) for name in loaded if name in known)
    cells = zip(code.co_freevars, getattr(function, "__closure__", None) or (), strict=False)
    yield from ((name, cell.cell_contents) for name, cell in cells if cell != CellType() and name not in own)


@lru_cache(maxsize=1000)
def _outside(code: CodeType) -> tuple[tuple[str, ...], frozenset[str]]:
    """Globals that a function reads and does not set, and what it sets outside of itself: counters and the like."""
    steps = list(get_instructions(code))
    own = frozenset(one.argval for one in steps if one.opname in ("STORE_GLOBAL", "STORE_DEREF"))
    return tuple(dict.fromkeys(one.argval for one in steps if one.opname == "LOAD_GLOBAL" and one.argval not in own)), own
