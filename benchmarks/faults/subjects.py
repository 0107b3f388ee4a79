"""What the campaign tries faults on: commands of a few seconds, and the place where they leave everything."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

_CHARACTERS = 30_000
_TEMPORARY = ("writing-", "deleting-")
_SMALL = (
    "data=text",
    "data.vocab_size=400",
    "data.seq_len=32",
    "model=mini",
    "model.config={hidden_size: 16, num_attention_heads: 2, intermediate_size: 32, num_hidden_layers: 1}",
    "trainer.batch_size=4",
    "trainer.max_steps=24",
    "trainer.log_every_steps=3",
    "trainer.evaluate_every_steps=7",
    "trainer.checkpoint_every_steps=5",
    "trainer.device=cpu",
    "trainer.precision=fp32",
    "tracker=none",
)
_SWEEP = (
    "-m",
    "hydra.launcher.workers_per_device=2",
    "hydra.callbacks.report_at_end._target_=hydra.experimental.callback.Callback",  # one that does nothing
)
_FOUND = "untie=plateau untie.threshold=9 untie.patience=1"  # at the second evaluation


@dataclass(frozen=True)
class Subject:
    """A command line of `tut.train`."""

    name: str
    words: tuple[str, ...]

    @property
    def is_sweep(self) -> bool:
        return "-m" in self.words


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("run", (*_SMALL, "untie.step=10", "trainer.keep_checkpoints=2")),
        Subject("run that finds its point", (*_SMALL, *_FOUND.split(), "data.packing=lines", "optimizer=muon")),
        Subject("sweep", (*_SWEEP, *_SMALL, "untie.step=8,16,never")),
        Subject("sweep that finds its points", (*_SWEEP, *_SMALL, *_FOUND.split(), "untie.init=copy,fresh")),
    )
}


class Place:
    """The folder of a subject's text, of its record, and of all that it shares: the same for every try of it.

    A try starts from one of some states of it, each kept beside.
    """

    def __init__(self, folder: Path, subject: Subject) -> None:
        self._folder = folder
        self.subject = subject
        self.path = folder / "place"
        self.home = self.path / "home"
        self.record = self.path / "record"
        folder.mkdir()
        self._text = folder / "text.txt"
        self._text.write_text("\n\n".join(topics[name] for name in sorted(topics))[:_CHARACTERS], encoding="utf-8")
        self.path.mkdir()
        self.keep("nothing")

    def arguments(self, beside: bool) -> tuple[str, ...]:
        """Return the command line of `tut.train`, for the record or for another one beside it."""
        key = "hydra.sweep.dir" if self.subject.is_sweep else "hydra.run.dir"
        return (*self.subject.words, f"data.files={self._text}", f"{key}={self._record(beside)}")

    def _record(self, beside: bool) -> Path:
        return self.path / "beside" if beside else self.record

    def runs(self, beside: bool = False) -> list[Path]:
        """Return the folders of the subject's runs."""
        return self._runs_in(self._record(beside))

    def runs_of(self, state: str) -> list[Path]:
        """Return the folders of the subject's runs in a state that was kept."""
        return self._runs_in(self._folder / state / self.record.name)

    def _runs_in(self, record: Path) -> list[Path]:
        return sorted(record.glob("[0-9]*/")) if self.subject.is_sweep else [record]

    def files(self) -> list[Path]:
        """Return what it has written so far.

        In empty files, such as locks, nothing can be damaged; and nobody reads what is under a temporary name.
        """
        found = [path for path in self.path.rglob("*") if path.is_file() and path.stat().st_size]
        return sorted(path for path in found if not any(part.startswith(_TEMPORARY) for part in path.parts))

    def keep(self, state: str) -> None:
        """Keep what is here now under a name."""
        _copy(self.path, self._folder / state)

    def restore(self, state: str) -> None:
        """Let it be as it was when that was kept: times of modification and hard links as well."""
        shutil.rmtree(self.path)
        _copy(self._folder / state, self.path)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)
