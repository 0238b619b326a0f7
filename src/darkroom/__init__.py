"""Darkroom: a config-driven lab for generating and editing images."""

__version__ = "0.1.0"
