"""All that a stage imports: for the server that stages are forked from, which imports it once."""

from tut.imports import heavy_imports

with heavy_imports():
    import hydra._internal.hydra  # noqa: F401

    import tut.architectures
    import tut.sweep.worker
    import tut.tokenizer  # noqa: F401
