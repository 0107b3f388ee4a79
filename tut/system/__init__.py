"""The machine and the files: device, signals, files that are whole or absent, what a run was made with."""
