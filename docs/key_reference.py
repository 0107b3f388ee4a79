"""Makes the page of all keys, from the schema: what is said of a key is said once, where it is declared.

A hook of mkdocs, which calls `on_files` and puts the page beside those that are files.
"""

import ast
import inspect
from collections.abc import Collection, Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any, get_type_hints

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from hydra_plugins.tut_launchers import DecideSweeperConfig
from tut.config import Config
from tut.sweep.config import LauncherConfig, LocalConfig, SlurmConfig

INTRODUCTION = """# Keys

Every key that a run can be given, as `key=value` on the command line, with what it is as long as no group says
otherwise (`model=mini`, `optimizer=adamw` and the like do). What a key decides, and so what runs with different values
of it may [share](sharing.md), is said of each; the *state* is weights and optimizer.
`python -m tut.train --cfg job` prints all keys with the values of a run.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, "keys.md", content=page()))
    return files


def page() -> str:
    """Return the page in Markdown."""
    sections = [(one.name, kind) for one, kind in _fields(Config) if is_dataclass(kind)]
    text = [INTRODUCTION, "## The run", *_rows("", Config)]
    for name, kind in sections:
        text += [f"## {name}", inspect.getdoc(kind), *_rows(f"{name}.", kind)]
    shared = {one.name for one in fields(LauncherConfig)}
    text += ["## hydra.launcher", *_rows("hydra.launcher.", LauncherConfig)]
    for kind in (LocalConfig, SlurmConfig):
        text += [f"### {kind.backend.rpartition(':')[2]}", inspect.getdoc(kind)]
        text += _rows("hydra.launcher.", kind, leave_out=shared)
    text += ["## hydra.sweeper", inspect.getdoc(DecideSweeperConfig), *_rows("hydra.sweeper.", DecideSweeperConfig)]
    return "\n\n".join(text)


def descriptions(kind: type) -> dict[str, str]:
    """Return what stands below each field of a class, by the field's name."""
    (node,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(node, ast.ClassDef)
    return dict(_documented(node.body))


def _documented(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(body):
        is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            yield field.target.id, inspect.cleandoc(text.value.value)  # type: ignore[attr-defined]


def _fields(kind: Any) -> list[tuple[Any, Any]]:
    hints = get_type_hints(kind)
    return [(one, hints[one.name]) for one in fields(kind)]


def _rows(prefix: str, kind: Any, leave_out: Collection[str] = ()) -> list[str]:
    """Return one paragraph for each key of a section that is no section itself."""
    said = descriptions(kind)
    rows = []
    for one, hint in _fields(kind):
        if is_dataclass(hint) or one.name.startswith("_") or one.name in leave_out:
            continue
        default = one.default_factory() if callable(one.default_factory) else one.default
        shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else default
        mark = one.metadata.get("mark")
        decides = f" *Decides {mark.decides}.*" if mark else ""
        rows.append(f"**`{prefix}{one.name}={shown}`**  \n{said[one.name]}{decides}")
    return rows
