"""The server that stages are forked from imports this once: all that a stage imports, and what it would look up itself.

The server gets a session of its own first, so that no signal to the launcher's process group reaches it: Ctrl-C, a
terminal that is closed, and `timeout` each send theirs to the whole group. Until here signals are held back: see
`tut.sweep.backends.stage_process.start_server`.

Threads that share a sum wait for each other. Here they do so asleep: to spin, as OpenMP's threads else do, takes the
processor from those that are waited for as soon as more are at work than there are cores, be they other stages' or
other programs'. How many threads a stage has decides the last bits of its sums, so it depends on the sweep alone, not
on how busy the machine is; how they wait decides none.
"""

import os
import signal

from tut.system.signals import STOP_SIGNALS

os.setsid()
for _number in STOP_SIGNALS:
    signal.signal(_number, signal.SIG_IGN)  # forgets one that came meanwhile
    signal.signal(_number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

from tut.system.garbage import heavy_imports  # noqa: E402

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch loads GNU's OpenMP, GOMP_SPINCOUNT before it
os.environ.setdefault("KMP_BLOCKTIME", "0")  # the same in LLVM's and Intel's

from tut.tracking.wandb import load_client  # noqa: E402

load_client()
with heavy_imports():
    # private: no public module loads what every stage would else load for itself
    import hydra._internal.hydra  # noqa: F401

    import tut.data.tokenizer
    import tut.model.architectures
    import tut.sweep.worker  # noqa: F401

from tut.training.identity import code_digest  # noqa: E402

code_digest()  # of the code that stages run: it is kept for all of them
