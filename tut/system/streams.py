"""Standard streams that are closed, that lack letters, or whose reader leaves: none of it ends what is under way."""

import errno
import io
import os
import sys
from typing import Any

_NOBODY_READS = (errno.EPIPE, errno.EIO)  # a pipe's reader has gone, or a terminal has


def open_streams() -> None:
    """Open what of the standard streams is closed, to nowhere, and let letters that an encoding lacks be spelt out.

    A closed one's number would be the next file's that is opened, and whatever is printed would go there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free, which is the stream's
            os.set_inheritable(nowhere, True)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def outlive_readers() -> None:
    """Let what is printed go nowhere from where its reader leaves, as `head` does, or a terminal is gone."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and isinstance(stream.buffer, io.BufferedWriter | io.FileIO):
            stream.flush()
            raw = _Outliving(stream.fileno(), "w", closefd=False)
            is_unbuffered = stream.write_through
            how: dict[str, Any] = {"line_buffering": stream.line_buffering, "write_through": is_unbuffered}
            buffer = raw if is_unbuffered else io.BufferedWriter(raw)
            setattr(sys, name, io.TextIOWrapper(buffer, stream.encoding, stream.errors, **how))


class _Outliving(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in _NOBODY_READS:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return memoryview(data).nbytes
