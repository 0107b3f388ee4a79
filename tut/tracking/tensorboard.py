"""TensorBoard as a view of a run's record: `tensorboard --logdir SWEEP_DIR` shows every run below a folder."""

import json
import logging
import os
import shutil
from textwrap import indent

from tut.config import Config
from tut.splits import Split
from tut.tracking.disk import check_room
from tut.tracking.metrics import SHARED, metrics
from tut.tracking.record import Record, Row, Status

log = logging.getLogger(__name__)


class TensorBoardTracker:
    """One run in TensorBoard, in the run folder's `tensorboard/`. See `tut.tracking.tracker.Tracker`."""

    def __init__(self, config: Config, record: Record) -> None:
        """Start the run's event file anew: the rows of an earlier one are in the record, and are shown again.

        Raises:
            ImportError: there is no tensorboard package.
            OSError: the folder cannot be written.
        """
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(record.tensorboard, ignore_errors=True)
        self._step = 0
        self._untie = config.untie
        self._writer = SummaryWriter(str(record.tensorboard), flush_secs=10)
        self._write_text(
            "config", indent(json.dumps(config.to_dict(), indent=1), "    ")
        )  # in Markdown, a block of code

    def log(self, split: Split, row: Row) -> None:
        check_room(self._writer.log_dir)  # else the thread that writes would end with a traceback
        is_of_the_same_step = row["step"] == self._step
        self._step = row["step"]
        for name, value in metrics(split, row, self._untie).items():
            if is_of_the_same_step and name in SHARED:
                continue  # it was shown with the step's first row
            self._writer.add_scalar(name, value, self._step)

    def finish(self, status: Status, untie_step: int | None) -> None:
        point = "never untied" if untie_step is None else f"unties at step {untie_step}"
        self._write_text("run", f"{status}; {point}")
        self._writer.close()
        log.info("TensorBoard: tensorboard --logdir %s", os.path.relpath(self._writer.log_dir))

    def _write_text(self, name: str, text: str) -> None:
        self._writer.add_text(name, text)
