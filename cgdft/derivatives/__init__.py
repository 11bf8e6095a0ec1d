"""Derivatives of a solution: how it moves with what it depends on, and the observables that are read off."""
