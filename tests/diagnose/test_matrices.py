"""E and U found in checkpoints by the names there, and checkpoints found along a run's path."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tut.diagnose.checkpoints import checkpoints_of
from tut.diagnose.matrices import Names, names_in, read
from tut.errors import TutError
from tut.system.files import file_digest
from tut.system.sealed import write_sealed
from tut.tracking.record import Record
from tut.training import checkpoint

TABLE = np.arange(12.0, dtype=np.float32).reshape(6, 2)
OTHERS = {"h.0.weight": np.ones((2, 2), np.float32), "h.0.bias": np.ones(6, np.float32)}


def saved(folder: Path, step: int, parent: str | None = None, **matrices: np.ndarray) -> Path:
    path = checkpoint.path_of(folder, step)
    path.mkdir(parents=True)
    save_file({**OTHERS, **matrices}, path / "model.safetensors")
    digests = {"model.safetensors": file_digest(path / "model.safetensors")}
    write_sealed(path / "manifest.json", {"step": step, "parent": parent, "files": digests})
    return path


def test_they_are_told_apart_whatever_they_are_called(tmp_path: Path) -> None:
    """Even where there are as many positions as tokens, and where untying gives the bias a second name."""
    tied = saved(tmp_path, 1, table=TABLE, wpe=TABLE)
    untied = saved(tmp_path, 2, table=TABLE, wpe=TABLE, top=TABLE + 1, spare_bias=np.ones(6, np.float32))
    names = names_in(tied, untied)
    assert names == Names("table", "top")
    e, u = read(untied, names)
    assert e.dtype == np.float64
    assert e.tolist() == TABLE.tolist()
    assert u.tolist() == (TABLE + 1).tolist()
    shared, same = read(tied, names)
    assert shared is same


def test_what_cannot_be_told_or_read_is_refused(tmp_path: Path) -> None:
    tied = saved(tmp_path, 1, table=TABLE, other=TABLE)
    untied = saved(tmp_path, 2, table=TABLE, other=TABLE, top=TABLE)
    with pytest.raises(TutError, match="step-00000002: cannot tell which .* two embeddings .*: other, table, top"):
        names_in(tied, untied)
    with pytest.raises(TutError, match="they may be: none"):
        names_in(tied, tied)
    broken = saved(tmp_path, 3, table=np.full((6, 2), np.nan, np.float32))
    with pytest.raises(TutError, match="table has values that are infinite or NaN"):
        read(broken, Names("table", "top"))
    with pytest.raises(TutError, match="has no elsewhere"):
        read(tied, Names("elsewhere", "top"))
    with (tied / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(TutError, match="does not match its checksum"):
        read(tied, Names("table", "top"))


def test_the_checkpoints_of_a_path_over_three_lineages(tmp_path: Path) -> None:
    run = tmp_path / "sweep/0"
    stages = tmp_path / "home/stages"
    run.mkdir(parents=True)
    write_sealed(tmp_path / "sweep/sweep.json", {"tasks": [], "steps": {}, "store": str(tmp_path / "home")})
    Record(run).update_state(lineage="c", total_steps=30)
    for step in (5, 10, 15):  # the last is another run's, beyond the fork
        saved(stages / "a", step)
    for step in (15, 20, 25):
        saved(stages / "b", step, parent="a/step-00000010")
    for step in (25, 30, 40):
        saved(stages / "c", step, parent="b/step-00000020")
    saved(run / "checkpoints", 30, parent="b/step-00000020")
    found = {step: path.parent.name for step, path in checkpoints_of(run).items()}
    assert found == {5: "a", 10: "a", 15: "b", 20: "b", 25: "c", 30: "checkpoints"}
    (tmp_path / "home").rename(tmp_path / "elsewhere")
    assert list(checkpoints_of(run)) == [30]
    Record(run).update_state(lineage=None)  # a run by itself
    assert list(checkpoints_of(run)) == [30]
