"""The record of a run, and where it is shown while it grows."""
