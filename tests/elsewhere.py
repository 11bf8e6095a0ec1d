"""A device that is none: its tensors compute on the processor, say that they are on "meta", and refuse to mix with others.

What runs `elsewhere()` and gives the numbers of the processor never leaves the device of its input, a GPU's too, but for what
it moves by itself.
"""

from contextlib import ExitStack, contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
ATEN = torch.ops.aten
MOVING = (ATEN.copy_.default, ATEN._to_copy.default)
INDEXING = (ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default, ATEN._index_put_impl_.default)


class Elsewhere(torch.Tensor):
    """A tensor of that device."""

    @staticmethod
    def __new__(cls, held):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            requires_grad=held.requires_grad,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})

    @property
    def is_meta(self):
        return False

    def __repr__(self):
        return f"Elsewhere({self.held})"

    def __getitem__(self, k):
        return super().__getitem__(_as_tensors(k))

    def __setitem__(self, k, value):
        return super().__setitem__(_as_tensors(k), value)

    def numpy(self, *_, **__):
        raise TypeError("can't convert a tensor that is elsewhere to numpy")

    __array__ = numpy

    def tolist(self):
        return self.detach().cpu().tolist()

    def new_tensor(self, data, dtype=None):
        return torch.tensor(data, dtype=dtype or self.dtype).to(DEVICE)


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class _Making(TorchFunctionMode):
    """Tensors made of numbers, which torch puts on a device below what a mode can see."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func not in (torch.tensor, torch.as_tensor) or isinstance(args[0], torch.Tensor) or kwargs.get("device") is None:
            return func(*args, **kwargs)
        device = kwargs.pop("device")
        return func(*args, **kwargs).to(device)


@contextmanager
def elsewhere():
    """Inside, "meta" is the device that is none."""
    with ExitStack() as stack:
        stack.enter_context(_Making())
        stack.enter_context(_Dispatch())
        yield DEVICE


def compute(func, args, kwargs):
    """What torch would give if the device were one."""
    given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    away = [one for one in given if isinstance(one, Elsewhere)]
    assert not any(one.is_meta for one in given), f"{func} of a tensor without content"
    if away and func not in MOVING:
        here = [one for one in given if not isinstance(one, Elsewhere) and one.dim()]
        if func in INDEXING and isinstance(args[0], Elsewhere):
            here = [one for one in here if one.dtype not in (torch.int64, torch.bool)]  # torch moves these by itself
        if here:
            raise RuntimeError(f"{func}: tensors on two devices")
    stays = bool(away)
    if kwargs.get("device") is not None:
        stays = torch.device(kwargs["device"]) == DEVICE
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif func is ATEN.copy_.default:
        stays = isinstance(args[0], Elsewhere)
    home = {id(one.held): one for one in away}

    def inward(one):
        return one.held if isinstance(one, Elsewhere) else one

    def outward(one):
        if not isinstance(one, torch.Tensor) or not (stays or id(one) in home):
            return one
        return home[id(one)] if id(one) in home else Elsewhere(one)

    if func is ATEN._efficientzerotensor.default:  # has no content, which nobody but torch may notice
        func = ATEN.zeros.default
    found = func(*tree_map(inward, args), **tree_map(inward, kwargs))
    if torch.Tag.inplace_view in func.tags and isinstance(args[0], Elsewhere):
        with no_dispatch():  # what is held has another shape now; so must say what holds it
            func(*args, **kwargs)
    return tree_map(outward, found)


def _as_tensors(k):
    if isinstance(k, tuple):
        return tuple(map(_as_tensors, k))
    return torch.tensor(k).to(DEVICE) if isinstance(k, list) else k
