"""Organic molecules, ions and zwitterions, each as it is and once in disorder, that no pretrained model was trained on."""

from __future__ import annotations

from cgdft.validation.campaigns.drawn import drawn
from cgdft.validation.suites.organic import HELD_OUT, around, geometries

suite = drawn(__file__, around({name: geometries()[name] for name in HELD_OUT}, 7000))
