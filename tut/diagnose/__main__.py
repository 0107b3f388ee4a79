"""What tying and untying do to the two matrices: their alignment, norms and spectra, from checkpoints.

python -m tut.diagnose SWEEP_DIR        print a table of arms; write tables and figures to SWEEP_DIR/report/

The tied run's matrix is compared with the E and the U of each untied run of its seed, at each checkpoint that there is.
For more than the end, train with hydra.launcher.keep=all trainer.checkpoint_every_steps=N.
"""

from pathlib import Path

from tut.console import Options, ends_for_people


@ends_for_people()
def main() -> None:
    """Read the command line, measure, print and write."""
    parser = Options("tut.diagnose", __doc__)
    parser.add_argument("folder", metavar="SWEEP_DIR", type=Path, help="the folder of a sweep")
    folder = parser.parse_args().folder

    from tut.diagnose.diagnosis import diagnose
    from tut.diagnose.printed import print_diagnosis
    from tut.diagnose.written import write_diagnosis
    from tut.report.summary import report_on

    report = report_on([folder])
    diagnosis = diagnose(report.results, report.comparisons)
    print_diagnosis(diagnosis, report.comparisons)
    written = write_diagnosis(diagnosis, report.comparisons, folder / "report")
    print(f"tables and figures: {written}/diagnosis*; in its page by: python -m tut.report {folder}")


if __name__ == "__main__":
    main()
