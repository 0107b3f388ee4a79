"""Whether there is room on the disk for what a tracker writes."""

import os
import shutil


def check_room(folder: str) -> None:
    """Check that there is some space left where a tracker writes.

    Raises:
        OSError: there is less than a megabyte.
    """
    if shutil.disk_usage(folder).free < 2**20:
        raise OSError(f"{os.path.relpath(folder)}: the disk is full")
