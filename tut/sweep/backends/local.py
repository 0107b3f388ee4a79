"""Stages on the devices of this machine."""

import os
from contextlib import suppress
from typing import Any

import torch

from tut.config import Config, TrainerConfig
from tut.distributed.rendezvous import threads_of_each
from tut.errors import TutError, as_typed
from tut.sweep.backends.base import Backend, Outcome
from tut.sweep.backends.device_queue import Queued, work_through
from tut.sweep.backends.packing import workers_for
from tut.sweep.backends.stage_process import Slot, start_server
from tut.sweep.config import LocalConfig
from tut.sweep.display import Standing, watch
from tut.sweep.folder import SweepFolder
from tut.sweep.work import Work
from tut.sweep.worker import unpack
from tut.system.device import choose_device
from tut.system.signals import Stopped, StopRequest
from tut.training.identity import environment, kernel_settings
from tut.training.inputs import Inputs


class Local(Backend):
    """The devices of this machine, with a queue for them."""

    knows_processor = True

    def __init__(self, settings: LocalConfig, configs: list[Config]) -> None:
        """Find the devices that some runs need.

        Raises:
            TutError: they are not there, or the runs ask for others.
        """
        if not settings.dry_run:
            start_server()  # it imports what stages need, while the launcher plans
        self._settings = settings
        self._slots = _slots(settings, configs)
        self.slots = len(self._slots)

    def __str__(self) -> str:
        return ", ".join(f"{self._slots.count(slot)} x {slot}" for slot in dict.fromkeys(self._slots))

    def inputs(self, config: Config) -> Inputs:
        return Inputs(config, _device(config.trainer, self._settings))

    def slots_of(self, inputs: Inputs) -> int:
        """Return one for each process on GPUs, and one for all of them on a CPU, whose threads they share."""
        return inputs.config.trainer.devices if inputs.device.type == "cuda" else 1

    def threads_of(self, inputs: Inputs) -> int | None:
        """Return the share of this machine's threads that goes with a stage's slots."""
        takes, there = self.slots_of(inputs), len(self._slots)
        return None if takes == there else takes * threads_of_each(torch.get_num_threads(), there)

    def environment(self, inputs: Inputs) -> dict[str, Any]:
        shared = self.threads_of(inputs) or torch.get_num_threads()
        threads = threads_of_each(shared, inputs.config.trainer.processes)
        return environment(inputs, threads, self._gpus() if inputs.device.type == "cuda" else None)

    def _gpus(self) -> str:
        """Name the GPUs among which a stage may come to any, and the settings by which their kernels are chosen."""
        numbers = {name: number for number, name in enumerate(_visible())}
        used = {numbers[slot.index] for slot in self._slots if slot.index is not None}
        names = sorted({torch.cuda.get_device_name(number) for number in used})
        return " ".join([" or ".join(names), *kernel_settings("cuda")])

    def carry_out(self, work: list[Work], folder: SweepFolder, stop: StopRequest) -> dict[str, Outcome]:
        queue = {item.name: Queued(item) for item in work}
        noted: set[str] = set()
        with stop.obeyed_later(), watch(work, self.slots, folder) as shown:

            def show() -> None:
                for name, stage in queue.items():
                    if stage.error is None or name in noted:
                        continue
                    with suppress(OSError):  # a full disk is told in the table of what failed
                        if folder.outcome(name)["error"] != stage.error:
                            folder.set_outcome(name, stage.status, error=stage.error)
                        noted.add(name)
                shown.show({name: Standing(stage.status, _where(stage), stage.error) for name, stage in queue.items()})

            work_through(queue, self._slots, folder.log, self._settings.timeout_minutes, stop, show)
        if stop.received is not None:
            raise Stopped(stop.received)
        return {name: _outcome(stage) for name, stage in queue.items()}


def _where(stage: Queued) -> str:
    return "" if stage.process is None else ", ".join(map(str, stage.process.slots))


def _outcome(stage: Queued) -> Outcome:
    value = None if stage.result is None else unpack(stage.result)
    return Outcome(stage.status, stage.error, value)


def _slots(settings: LocalConfig, configs: list[Config]) -> list[Slot]:
    """Return the room for stages on this machine: some workers on each device.

    Raises:
        TutError: a device is not here, or a run asks for another, or for more than there are.
    """
    trainers = [config.trainer for config in configs]
    for trainer in trainers:
        _check_processes(trainer)
        _check_device(trainer, settings.devices)
    gpus = [] if settings.devices == "cpu" else _chosen(settings.devices)
    kinds: set[str] = set()
    for trainer in trainers:
        device = _device(trainer, settings)
        kinds.add(device.type)
        if device.type == "cuda" and trainer.devices > len(gpus):
            there = f"the CUDA devices of hydra.launcher.devices={as_typed(settings.devices)}"
            raise TutError(f"trainer.devices={trainer.devices}: must be at most {len(gpus)}, {there}")
    devices = [Slot("cuda", index) for index in gpus if "cuda" in kinds]
    devices += [Slot(kind) for kind in sorted(kinds - {"cuda"})]
    workers = settings.workers_per_device
    if workers == "auto":
        workers = workers_for(configs) if kinds == {"cpu"} else 1
    return [slot for slot in devices for _ in range(workers)]


def _device(trainer: TrainerConfig, settings: LocalConfig) -> torch.device:
    """Return the device that the first process of a run will have here."""
    return torch.device("cpu") if settings.devices == "cpu" else choose_device(trainer)


def _check_processes(trainer: TrainerConfig) -> None:
    """Check that a run's processes are for this sweep to start, all on this machine."""
    if trainer.nodes > 1:
        raise TutError(
            f"trainer.nodes={trainer.nodes}: a sweep on this machine has one node; take hydra/launcher=slurm, "
            "or start the run by itself"
        )
    started = os.environ.get("WORLD_SIZE")
    if started is not None and max(int(started), trainer.processes) > 1:
        raise TutError("hydra/launcher=local: starts the processes of each run itself; start it without torchrun")


def _check_device(trainer: TrainerConfig, devices: Any) -> None:
    """Check that a run's own choice of a device goes with `hydra.launcher.devices`."""
    wanted = trainer.device
    if wanted.startswith("cuda:"):
        index = wanted.removeprefix("cuda:")
        raise TutError(f"trainer.device={wanted}: in a sweep, write hydra.launcher.devices=[{index}] instead")
    if devices != "auto" and wanted not in ("auto", "cpu" if devices == "cpu" else "cuda"):
        raise TutError(f"trainer.device={wanted}: does not go with hydra.launcher.devices={as_typed(devices)}")


def _chosen(devices: Any) -> list[str]:
    """Return the CUDA devices of `hydra.launcher.devices`, as CUDA_VISIBLE_DEVICES names them."""
    visible = _visible()
    if devices == "auto":
        return visible
    for index in devices:
        if index >= len(visible):
            has = f"torch finds {len(visible)} here"
            raise TutError(f"hydra.launcher.devices={as_typed(devices)}: there is no CUDA device {index}; {has}")
    return [visible[index] for index in devices]


def _visible() -> list[str]:
    """Return the CUDA devices of this machine, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(index) for index in range(count)]
