"""What every process of a run does but the first: it trains its share, scores its share, and writes nothing.

Rank 0 has read the command line and says what to do; it is also rank 0 that says what has failed here.
"""

import logging
import os
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from tut.system.garbage import heavy_imports

with heavy_imports():  # this process begins with them
    import torch
    from torch.distributed import Store  # type: ignore[attr-defined]

    from tut.config import Config
    from tut.distributed import collectives, rendezvous
    from tut.errors import TutError
    from tut.splits import Split
    from tut.system.device import choose_device
    from tut.system.signals import Stopped, StopRequest, stop_request
    from tut.tracking.record import Row
    from tut.training import checkpoint
    from tut.training.identity import difference, expectation
    from tut.training.replica import Replica


def follow() -> NoReturn:
    """Do what rank 0 says, and end this process: with exit code 0 also if all were stopped, which rank 0 tells."""
    logging.disable(logging.CRITICAL)
    store = rendezvous.meet()
    try:
        with stop_request() as stop:
            call = rendezvous.wait_for_call(store)
            if call is not None:
                with stop.obeyed_later():  # with all the others, at the same step
                    _train(call, store, stop)
            _end(0)
    except Stopped:
        _end(0)
    except Exception as error:
        if not collectives.is_loss_of_touch(error):  # which is the failure of another process
            if not isinstance(error, TutError):
                traceback.print_exception(error)
            with suppress(RuntimeError):  # rank 0 is gone as well
                rendezvous.report_failure(store, error)
        _end(1)


def _train(call: dict[str, Any], store: Store, stop: StopRequest) -> NoReturn:
    torch.set_num_threads(call["threads"])
    config = Config.from_dict(call["config"])
    rendezvous.answer_call(store, choose_device(config.trainer))
    replica = Replica(config)
    if call["untie_point_is_known"]:
        replica.inputs.timeline.settle(call["untie_step"])
    met = expectation(replica.inputs, replica.inputs.timeline.total_steps)
    if changed := difference(call["planned"], met):
        raise TutError(f"it has met other data or hardware than rank 0: {changed}")
    if call["checkpoint"] is not None:
        path = Path(call["checkpoint"])
        checkpoint.load(path, checkpoint.verify(path), replica.state)

    def evaluate() -> Row:
        return replica.score(Split.VALID).row()

    def give(_window: dict[str, Any]) -> None:
        """Do this process's part of gathering what rank 0 saves."""
        replica.state.weights()
        replica.state.optimizer_states()

    fires = (lambda: False) if call["has_rules"] else None  # rank 0 has the rows, and decides
    trainer = replica.trainer(evaluate, write=lambda _split, _row: None, save=give, fires=fires)
    trainer.train(stop, call["until"], call["save_every"])
    if call["ends_run"]:
        trainer.close()
        if collectives.gathered(None)[0]:  # rank 0 lacks it
            replica.score(Split.VALID)
        replica.score(Split.TEST)
        replica.state.named_weights()
    _end(0)


def _end(code: int) -> NoReturn:
    """End at once: the destructor of a process group can wait for a thread that itself waits for this one."""
    sys.stderr.flush()
    os._exit(code)


def _end_with_rank_0() -> None:
    """End this process when rank 0, which holds the other end of its standard input, is gone."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    follow()
