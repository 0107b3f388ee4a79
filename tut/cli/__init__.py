"""From a command line to good configs, or to one line that says what to mend."""
