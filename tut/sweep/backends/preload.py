"""All that a stage imports: for the server that stages are forked from, which imports it once."""

from tut.system.imports import heavy_imports

with heavy_imports():
    import hydra._internal.hydra  # noqa: F401
