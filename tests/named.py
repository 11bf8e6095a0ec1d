"""Every named model, on structures of elements that it has."""

from importlib import import_module

import pytest

from cgdft.citations import models
from cgdft.testing.structures import lacking

MODELS = {record.name: record for record in models()}


def made(record, structure):
    """The model itself where it needs nothing, else the example in its file."""
    module = import_module(record.module)
    return module.example(structure) if record.needs else getattr(module, record.maker)()


def known(record, structures):
    """Those of some structures whose elements a model has; without any the test is left out."""
    missing = [lacking(made(record, one), one) for one in structures]
    found = [one for one, without in zip(structures, missing, strict=True) if not without]
    if not found:
        pytest.skip(f"{record.name} has no parameters for {' or '.join(', '.join(sorted(one)) for one in missing)}")
    return found
