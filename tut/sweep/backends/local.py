"""This machine as a place for stages: a queue for its devices."""

import os
from contextlib import suppress
from functools import partial

import torch

from tut.config import Config
from tut.errors import TutError
from tut.sweep.backends import device_queue
from tut.sweep.backends.base import Outcome, Place, Work
from tut.sweep.config import LocalConfig
from tut.sweep.display import watch
from tut.sweep.folder import SweepFolder, has_landed
from tut.sweep.worker import unpack
from tut.system.device import choose_device
from tut.system.signals import Stopped, stop_request
from tut.training.inputs import Inputs


class ThisMachine(Place):
    """A queue for the devices of this machine."""

    def __init__(self, settings: LocalConfig, configs: list[Config]) -> None:
        if not settings.dry_run:
            device_queue.preload()
        self._settings = settings
        self._slots = _slots(settings, configs)
        self.workers = len(self._slots)
        self.threads = max(1, torch.get_num_threads() // self.workers)

    def __str__(self) -> str:
        return ", ".join(f"{self._slots.count(slot)} x {slot}" for slot in dict.fromkeys(self._slots))

    def inputs(self, config: Config) -> Inputs:
        return Inputs(config, torch.device("cpu")) if self._settings.devices == "cpu" else Inputs(config)

    def kind(self, inputs: Inputs | None) -> str:
        return self._slots[0].kind if inputs is None else inputs.device.type

    def carry_out(self, work: list[Work], folder: SweepFolder) -> dict[str, Outcome]:
        tasks = {item.task.name: item.task for item in work}
        jobs = {
            name: device_queue.Job(
                item.order, item.task.label, item.kind,
                parent=item.task.parent if item.task.parent in tasks else None,
                priority=item.priority,
                landed=partial(has_landed, item.task),
            )
            for name, item in zip(tasks, work, strict=True)
        }  # fmt: skip
        with stop_request() as stop, stop.obeyed_later(), watch(folder, tasks) as shown:

            def show(jobs: dict[str, device_queue.Job]) -> None:
                for name, job in jobs.items():
                    if job.error is not None and folder.outcome(name)["error"] != job.error:
                        with suppress(OSError):  # a full disk is told in the table of what failed
                            folder.set_outcome(name, job.status, error=job.error)
                shown.show({name: (job.status, str(job.slot or "")) for name, job in jobs.items()})

            device_queue.work_through(jobs, self._slots, folder.log, self._settings.timeout_minutes, stop, show)
        if stop.received is not None:
            raise Stopped(stop.received)
        return {
            name: Outcome(job.status, job.error, None if job.result is None else unpack(job.result))
            for name, job in jobs.items()
        }


def _slots(settings: LocalConfig, configs: list[Config]) -> list[device_queue.Slot]:
    """Return the places for stages on this machine."""
    asked, devices = {config.trainer.device for config in configs}, settings.devices
    numbered = sorted(device for device in asked if device.startswith("cuda:"))
    if numbered:
        index = numbered[0].partition(":")[2]
        raise TutError(f"trainer.device={numbered[0]}: in a sweep, write hydra.launcher.devices=[{index}] instead")
    if several := next((config.trainer for config in configs if config.trainer.processes > 1), None):
        raise TutError(
            f"trainer.devices={several.devices}: in a sweep on this machine each run has one device; "
            "take hydra/launcher=slurm, or start the run by itself"
        )
    visible = _visible()
    if devices == "auto":
        kinds = {choose_device(config.trainer).type for config in configs} or {"cpu"}
    else:
        kinds = {"cpu" if devices == "cpu" else "cuda"}
        if wrong := asked - {"auto", *kinds}:
            raise TutError(f"trainer.device={wrong.pop()}: does not go with hydra.launcher.devices={devices}")
        if devices != "cpu":
            if missing := [index for index in devices if index >= len(visible)]:
                has = f"torch finds {len(visible)} here"
                raise TutError(f"hydra.launcher.devices={devices}: there is no CUDA device {missing[0]}; {has}")
            visible = [visible[index] for index in devices]
    slots = [device_queue.Slot("cuda", index) for index in visible] if "cuda" in kinds else []
    slots += [device_queue.Slot(kind) for kind in sorted(kinds - {"cuda"})]
    return [slot for slot in slots for _ in range(settings.workers_per_device)]


def _visible() -> list[str]:
    """Return the CUDA devices of this machine, as CUDA_VISIBLE_DEVICES names them."""
    named, count = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(index) for index in range(count)]
