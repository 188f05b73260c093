"""Canicor measures dog hearts (Vertebral Heart Size) on lateral chest radiographs."""

from importlib.metadata import version

__version__ = version("canicor")
