"""Losses told as distance from the best possible one."""

from pathlib import Path

from planted import plant_sweep

from tut.report.floor import note_on_floor
from tut.report.summary import report_on
from tut.report.tables import ABOVE_FLOOR, numbers, text
from tut.splits import Split


def test_a_loss_is_told_as_distance_from_the_floor_of_its_own_text(tmp_path: Path) -> None:
    for alignment, floor in (("0", 4.25), ("1", 4.5)):
        changes = {"data.alignment": alignment, "data.source": "alignment", "objective.name": "clm"}
        sizes = {"test_floor": floor}
        planted = {"changes": changes, "sizes": sizes, "fingerprint": alignment}
        plant_sweep(tmp_path / alignment, {"epoch=3": -0.25}, range(2), noise=0.0, **planted)
    report = report_on([tmp_path])
    table = text(report.comparisons)
    above = [
        line["test_loss"] - floor
        for line, floor in zip(numbers(report.comparisons), (4.25, 4.25, 4.5, 4.5), strict=True)
    ]
    assert table[ABOVE_FLOOR].tolist() == [f"{value:.4f}" for value in above]
    assert float(table[ABOVE_FLOOR][0]) - float(table[ABOVE_FLOOR][1]) > 0.2
    notes = [note for note in report.notes if note.startswith("above floor:")]
    assert notes == [
        "above floor: test loss less the best possible one on the same tokens, which is 4.2500 to 4.5000 nats"
    ]
    assert note_on_floor(report.results.runs, Split.VALID) == ()  # of which these runs have recorded none
