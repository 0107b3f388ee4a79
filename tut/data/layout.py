"""How a text file is laid out, seen from its first lines: prose, a sentence a line, or a table that is no text."""

import csv
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from tut.console import as_override
from tut.errors import TutError

_CHARACTERS_SEEN = 2**16
_LINES_SEEN = 50
_FEWEST_LINES = 3  # from which it can be told that lines are alike
_TABLES = {".csv": "CSV", ".tsv": "TSV", ".json": "JSON", ".jsonl": "JSON", ".ndjson": "JSON"}
_UNREAD = (";", "|")  # by `datasets`, as what parts columns
_DELIMITERS = {",": "CSV", ";": "CSV", "|": "CSV", "\t": "TSV"}
_COLUMN = re.compile(r"\w[\w .()/-]{0,30}")  # what a table's first line calls a column
_JSON_OBJECT = re.compile(r'\[?\s*\{\s*"[^"\n]*"\s*:')
_END_OF_SENTENCE = re.compile(r"[.!?…。\uff01\uff1f][\"'”\u2019»)]*$")


def check_no_table(key: str, files: Sequence[Path]) -> None:
    """Check that files are text, not CSV or JSON, whose marks and names would be trained on.

    Raises:
        TutError: one looks like a table.
    """
    for path in files:
        lines = _first_lines(path)
        kind = _looks_like(lines) or _TABLES.get(path.suffix.lower())
        if kind is not None:
            delimiter, _ = _table(lines)
            parted = f" with {delimiter} for a comma" if delimiter in _UNREAD else ""
            raise TutError(
                f"{key}: {path} looks like {kind}{parted}, not like text; {_as_data_set(path, kind, delimiter)} "
                f"data.column={_column_of_text(lines)}; or data.document=line, to train on it as it is, marks and all"
            )


def _as_data_set(path: Path, kind: str, delimiter: str) -> str:
    """Say how a table is given to `datasets`, which takes each separator for text but two and goes by names."""
    is_unread = delimiter in _UNREAD
    is_named_so = _TABLES.get(path.suffix.lower()) == kind and not is_unread
    named = path if is_named_so else path.with_name(f"{path.stem}-table.{kind.lower()}")
    done_first = "" if is_named_so else f"copy it to {named} and "
    if is_unread:
        code = f"import pandas; pandas.read_csv({str(path)!r}, sep={delimiter!r}).to_csv({str(named)!r}, index=False)"
        done_first = f"write it with commas, by python -c {shlex.quote(code)} and "
    return f"{done_first}write data=huggingface {shlex.quote(as_override('data.path', str(named)))}"


def is_sentence_a_line(path: Path) -> bool:
    """Return whether most lines at the start of a file end a sentence."""
    lines = _first_lines(path)
    ends = [line for line in lines if _END_OF_SENTENCE.search(line)]
    return len(lines) >= _FEWEST_LINES and len(ends) > 0.7 * len(lines)


def _first_lines(path: Path) -> list[str]:
    """Return the first lines that are not blank and are whole, less the spaces around them."""
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(_CHARACTERS_SEEN)
    if len(text) == _CHARACTERS_SEEN:
        text = text.rpartition("\n")[0]
    return [line.strip() for line in text.splitlines() if line.strip()][:_LINES_SEEN]


def _looks_like(lines: list[str]) -> str | None:
    if _JSON_OBJECT.match("\n".join(lines)):
        return "JSON"
    delimiter, _ = _table(lines)
    return _DELIMITERS.get(delimiter)


def _table(lines: list[str]) -> tuple[str, list[list[str]]]:
    """Return a table's delimiter and its rows, the first of which names its columns; nothing if it is no table."""
    for delimiter in _DELIMITERS:
        rows = list(csv.reader(lines, delimiter=delimiter))
        if len(lines) == _LINES_SEEN:
            del rows[-1]  # which may go on below
        names = rows[0] if len(rows) >= _FEWEST_LINES else []
        are_names = len(set(names)) == len(names) > 1 and all(_COLUMN.fullmatch(name) for name in names)
        if are_names and all(len(row) == len(names) for row in rows):
            return delimiter, rows
    return "", []


def _column_of_text(lines: list[str]) -> str:
    """Return the name of the column, or of the field, that holds most text; NAME, if none shows."""
    _, rows = _table(lines)
    found = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True)) if rows else _fields(lines)
    return max(found, key=lambda name: len("".join(found[name])), default="NAME")


def _fields(lines: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the fields of the JSON object in the first line that hold text."""
    try:
        first = json.loads(lines[0])
    except (ValueError, IndexError):
        return {}
    found = first.items() if isinstance(first, dict) else ()
    return {name: (value,) for name, value in found if isinstance(value, str)}
