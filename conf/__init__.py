"""The config groups as a package, for `hydra.searchpath: [pkg://tut.conf]` in another app of Hydra."""
