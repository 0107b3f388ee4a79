"""One try: a fault, the same command again until it ends well, and a look at what came of it."""

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.commands import Command, Ended, die_in_write, orphans_gone
from benchmarks.faults.damages import DAMAGES
from benchmarks.faults.sameness import difference
from benchmarks.faults.subjects import Place
from tut.errors import TutError, one_line

EQUAL, REFUSED = "equal", "refused in one line"
_STARTS = 4  # of a command whose advice is followed, until it has to end well
_MOST_WRITES = {"launcher": 70, "worker": 90}
_STORE = ("stages", "unfinished")  # of TUT_HOME
_TRACEBACK = "Traceback (most recent call last)"


@dataclass
class Outcome:
    """What was done in a try, and what came of it."""

    kind: str = ""
    """What was done."""
    about: str = ""
    """Which file it was, or which processes, and what was said."""
    killed: int = 0
    """Processes that were killed."""
    damaged: list[Path] = field(default_factory=list)
    """The files that were damaged."""
    beside: bool = False
    """Whether there is a record of the same command in another folder."""
    verdict: str = EQUAL
    """`EQUAL`, `REFUSED`, or what is wrong."""

    @property
    def is_wrong(self) -> bool:
        return self.verdict not in (EQUAL, REFUSED)


class Wrong(Exception):
    """Something that must not be."""


class Tries:
    """All tries on one subject, in one place."""

    def __init__(self, place: Place) -> None:
        """Have the straight run made, and one that is stopped half-way, for tries to start from."""
        self._place = place
        self._is_sweep = place.subject.is_sweep
        started = time.monotonic()
        self._finish(Outcome())
        self._seconds = time.monotonic() - started
        place.keep("straight")
        place.restore("nothing")
        self._killed_at("worker" if self._is_sweep else "launcher", 40, random.Random(0))
        orphans_gone()
        place.keep("stopped")

    def attempt(self, fault: "Fault", moment: random.Random) -> Outcome:
        """Do something to the command, start it until it ends well, and compare what it leaves with the straight one.

        Args:
            fault: what to do.
            moment: decides all that is left open.
        """
        outcome = Outcome(about=f"{self._place.subject.name}:")
        try:
            fault(self, outcome, moment)
            self._finish(outcome)
            self._compare(beside=False)
            if outcome.beside:
                self._finish(outcome, beside=True)
                self._compare(beside=True)
        except Wrong as wrong:
            outcome.verdict = str(wrong)
        return outcome

    def kill(self, outcome: Outcome, moment: random.Random) -> None:
        """Kill one to three starts at random instants."""
        role = moment.choice(["launcher", "server", "worker", "everything"]) if self._is_sweep else "launcher"
        outcome.kind = f"SIGKILL at a random instant, {role if self._is_sweep else 'run'}"
        self._place.restore(moment.choice(["nothing", "nothing", "stopped"]))
        for _ in range(moment.randint(1, 3)):
            command = Command(self._place)
            time.sleep(moment.uniform(0, self._seconds))
            outcome.killed += command.kill(role, moment)
            self._look(command.ended())

    def kill_in_write(self, outcome: Outcome, moment: random.Random) -> None:
        """Kill one to three starts inside, or right before, one of the files that they write, rename or remove."""
        role = moment.choice(["launcher", "worker", "worker"]) if self._is_sweep else "launcher"
        counts = [moment.randint(1, _MOST_WRITES[role]) for _ in range(moment.randint(1, 3))]
        outcome.kind = f"SIGKILL in a write, {role if self._is_sweep else 'run'}"
        outcome.about += f" writes {counts}"
        self._place.restore(moment.choice(["nothing", "nothing", "stopped"]))
        for count in counts:
            outcome.killed += self._killed_at(role, count, moment)

    def _killed_at(self, role: str, count: int, moment: random.Random) -> bool:
        """Start the command, have a process of it die at a write, and return whether it came to that."""
        self._look(Command(self._place, die_in_write(self._place, role, count, moment)).ended())
        return self._place.path.with_name("killed").exists()

    def two_at_once(self, outcome: Outcome, moment: random.Random) -> None:
        """Start the command twice at once, perhaps with one of the two killed."""
        is_one_killed = moment.random() < 0.5
        outcome.beside = moment.random() < 0.5
        outcome.kind = "two at once" + (" in two folders" if outcome.beside else "")
        outcome.kind += ", one killed" if is_one_killed else ""
        self._place.restore(moment.choice(["nothing", "stopped"]))
        first = Command(self._place)
        time.sleep(moment.choice([0, moment.uniform(0, self._seconds)]))
        second = Command(self._place, beside=outcome.beside)
        if is_one_killed:
            time.sleep(moment.uniform(0, self._seconds))
            outcome.killed += moment.choice([first, second]).kill("launcher", moment)
        for command in (first, second):
            self._look(command.ended())

    def damage(self, outcome: Outcome, moment: random.Random) -> None:
        """Damage a file, sometimes three: of a finished command, of one stopped half-way, or of one killed for it.

        Sometimes a start is then killed that might be mending it.
        """
        name = moment.choice(sorted(DAMAGES))
        state = moment.choice(["straight", "stopped", "killed"])
        role = "worker" if self._is_sweep else "launcher"
        outcome.kind = f"damage, {name}"
        self._place.restore("nothing" if state == "killed" else state)
        if state == "killed":
            outcome.killed += self._killed_at(role, moment.randint(20, _MOST_WRITES[role]), moment)
            orphans_gone()
        for _ in range(moment.choice([1, 1, 1, 3])):
            if not (files := self._place.files()):
                break
            path = self._choose(files, moment)
            outcome.kind = f"{self._room_of(path)}, {name}"
            outcome.about += f" {self._kind_of(path)} of a {state} command"
            outcome.damaged.append(path)
            DAMAGES[name](path, moment)
        if moment.random() < 0.3:
            outcome.killed += self._killed_at(role, moment.randint(1, _MOST_WRITES[role]), moment)

    def _choose(self, files: list[Path], moment: random.Random) -> Path:
        """Choose a file: first the room, then the kind, for of some there are many more than of others."""
        for name_of in (self._room_of, self._kind_of):
            name = moment.choice(sorted({name_of(path) for path in files}))
            files = [path for path in files if name_of(path) == name]
        return moment.choice(files)

    def _room_of(self, path: Path) -> str:
        if path.is_relative_to(self._place.record):
            return "run folder"
        return "store" if path.relative_to(self._place.home).parts[0] in _STORE else "cache"

    def _kind_of(self, path: Path) -> str:
        """Name a file without what differs from one of its kind to another."""
        inside = re.sub(r"/(\.hydra|report)/.*", r"/\1/*", str(path.relative_to(self._place.path)))
        return re.sub(r"[0-9a-f]{8,}(-\d+)?|(?<=-)\d+|(?<=/)\d+(?=/)", "*", inside)

    def _finish(self, outcome: Outcome, beside: bool = False) -> None:
        """Start the command, do what it advises, start it again, and so on; note what it says.

        Raises:
            Wrong: it does not end well.
        """
        for _ in range(_STARTS):
            ended = self._look(Command(self._place, beside=beside).ended())
            if not orphans_gone():
                raise Wrong("processes are left")
            if ended.code == 0:
                return
            outcome.verdict = REFUSED
            outcome.about += f"\n   {self._do_as_advised(ended, outcome.damaged)}"
        raise Wrong("what is advised does not help")

    def _do_as_advised(self, ended: Ended, damaged: list[Path]) -> str:
        """Do what a refusal says, and return its line.

        Raises:
            Wrong: it does not name the damage, or says nothing to do.
        """
        names = {name for path in damaged for name in (path.name, path.parent.name)}
        told = [line for line in ended.said.splitlines() if "damaged" in line and any(name in line for name in names)]
        line = next((line for line in told if "delete " in line or "same command again" in line), None)
        if line is None:
            raise Wrong(f"exit code {ended.code}, and no advice: {ended.said[-800:]}")
        if (found := re.search(r"delete (\S+)", line)) is not None:
            named = re.search(r"(/\S+): damaged", line) if found[1] == "it" else found
            assert named is not None
            Path(named[1]).unlink()
        return line

    def _look(self, ended: Ended | None) -> Ended:
        """Check that a command has ended, and neither it nor a stage of it with a traceback.

        Raises:
            Wrong: it hangs, or has.
        """
        if ended is None:
            raise Wrong("it hangs")
        logs = [path.read_text(encoding="utf-8", errors="replace") for path in self._place.record.rglob("log.txt")]
        for text in (ended.said, *logs):
            if _TRACEBACK in text:
                raise Wrong(f"a traceback: ...{text[-1500:]}")
        return ended

    def _compare(self, beside: bool) -> None:
        straight_runs, runs = self._place.runs_of("straight"), self._place.runs(beside)
        if len(runs) != len(straight_runs):
            raise Wrong(f"{len(runs)} runs have come of {len(straight_runs)}")
        for straight, run in zip(straight_runs, runs, strict=True):
            try:
                found = difference(straight, run)
            except (TutError, OSError, ValueError) as error:
                found = f"it cannot be read: {one_line(error)}"
            if found is not None:
                raise Wrong(f"another result without a word: {run.name}: {found}")


Fault = Callable[[Tries, Outcome, random.Random], None]
"""One of the methods of `Tries` that do something to a command. It notes in the outcome what it does."""
