"""What is typed and counts in no run: it would be taken for what was trained."""

from collections.abc import Iterator, Sequence

from tut.arm import OF_UNTYING
from tut.cli.shorthands import values_typed
from tut.config import NEVER, Config
from tut.errors import as_typed
from tut.marks import beside, marks_of

_MARKS = marks_of(Config)
_USUAL = Config()


def idle(typed: list[str], configs: Sequence[Config]) -> Iterator[str]:
    """Yield a line for each key that was typed and counts in none of some runs, with what keeps it from counting.

    Args:
        typed: overrides, as they were typed.
        configs: what they come to, in each run.
    """
    for key, value in values_typed(typed).items():
        name = next((name for name in _MARKS if f"{key}.".startswith(f"{name}.")), None)
        if name is None or not any(_is_news(name, config) for config in configs):
            continue
        found = dict.fromkeys(_why_idle(name, config) for config in configs)
        if None not in found:
            yield f"{key}={value} does not count {' or '.join(map(str, found))}"


def _why_idle(name: str, config: Config) -> str | None:
    """Return beside or without what a key means nothing in a run; None if it means something."""
    section, _ = _in_section(name, config)
    others = beside(_MARKS[name], section)
    if others:
        prefix = name.rpartition(".")[0]
        return f"beside {' and '.join(f'{prefix}.{other}={as_typed(value)}' for other, value in others.items())}"
    if name in OF_UNTYING and config.untie.arm == NEVER:
        return "without an untie point, such as untie.epoch=5"
    return None


def _is_news(name: str, config: Config) -> bool:
    """Return whether it matters that a key does not count: it has another value than usual, or counts usually."""
    section, leaf = _in_section(name, config)
    usual, _ = _in_section(name, _USUAL)
    return getattr(section, leaf) != getattr(usual, leaf) or _why_idle(name, _USUAL) is None


def _in_section(name: str, config: Config) -> tuple[object, str]:
    """Return the section of a config that a key is in, and what it is called there."""
    section, _, leaf = name.rpartition(".")
    return getattr(config, section) if section else config, leaf
