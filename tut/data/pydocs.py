"""The documentation inside this Python as a source of text: see `tut.data.sources`."""

import ast
import os
import platform
import sysconfig
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from tut.data.held_out import split_by_hash
from tut.splits import Split
from tut.system.files import digest, file_digest


class PythonDocumentation:
    """English prose that every CPython ships: its language reference and the standard library's docstrings."""

    _NOT_PROSE = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})

    @cached_property
    def _modules(self) -> dict[str, Path]:
        root = Path(sysconfig.get_paths()["stdlib"])
        found = []
        for folder, subfolders, files in os.walk(root):
            subfolders[:] = {*subfolders} - self._NOT_PROSE  # not even looked at: site-packages may be huge
            found += [Path(folder, name) for name in files if name.endswith(".py")]
        return {str(path.relative_to(root)): path for path in sorted(found)}

    @cached_property
    def fingerprint(self) -> str:
        return digest([platform.python_version(), {name: file_digest(path) for name, path in self._modules.items()}])

    @cached_property
    def _documents(self) -> dict[str, str]:
        from pydoc_data.topics import topics

        documents = {f"topic {name}": text for name, text in sorted(topics.items())}
        for name, path in self._modules.items():
            documents[f"module {name}"] = docstrings(path)
        # The same text must not be in two splits. So of documents with equal texts only the last is kept, in its place,
        # and goes by the name of the first. (Place and name decide tokens and splits: with others, no corpus is equal.)
        first_name: dict[str, str] = {}
        last_name: dict[str, str] = {}
        for name, text in documents.items():
            first_name.setdefault(text, name)
            last_name[text] = name
        return {first_name[text]: text for name, text in documents.items() if text.strip() and name == last_name[text]}

    def documents(self, split: Split) -> Iterator[str]:
        return (text for name, text in self._documents.items() if split_by_hash(name) == split)


def docstrings(path: Path) -> str:
    """Return every docstring of a Python file, from top to bottom, with blank lines between."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a template, or an old dialect: not every file there is a module
        return ""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, holders))
    return "\n\n".join(text for text in found if text)
