"""Vigil: the edge vision agent."""

__version__ = "0.1.0"
