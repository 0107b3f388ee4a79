"""Hydra's grammar of overrides: what people type is read if it can be, or a line says which character is in the way.

The grammar knows few characters: `~`, `#` and whatever is not ASCII must stand in quotes, and those the shell takes
away. So quotes are put around what needs them and holds nothing that has a meaning of its own.
"""

import re
import shlex
from decimal import Decimal
from types import UnionType
from typing import Any, Union, get_args, get_origin
from unicodedata import decimal, normalize

from hydra._internal.config_loader_impl import ConfigLoaderImpl  # private; see tut.cli.configs
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from tut.cli.overrides import keys_of, type_of
from tut.config import Config
from tut.console import as_override
from tut.errors import TutError, nearest_key

_NOT_AN_OVERRIDE = "not an override; write key=value (in the shell, quote what has spaces)"
_ESCAPED = r"\\[\\()\[\]{}:=, \t]"
_INTERPOLATION = r"\$\{[^{}]*\}"
_PIECES = re.compile(
    r"""(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    r"""|(?P<own>[()\[\]{},='"])"""
    rf"""|(?P<element>(?:{_INTERPOLATION}|{_ESCAPED}|[^()\[\]{{}},='"])+)""",
    re.DOTALL,
)
_READABLE = re.compile(rf"(?:{_INTERPOLATION}|{_ESCAPED}|[\w/\-\\+.$%*@?|:\t ])*", re.ASCII)
_NUMBER = re.compile(r"[+-]?[\d_]*\.?\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WITH_EXPONENT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?e\+?\d{1,2})(?![\w.])", re.ASCII | re.IGNORECASE)
_FAILED_CALL = re.compile(r"\w+ while evaluating '(?P<name>\w+).*?': (?P<why>[^\n]*)", re.DOTALL)


def parse_overrides(lines: list[str], loader: ConfigLoaderImpl) -> list[Override]:
    """Return overrides as Hydra reads them.

    Raises:
        TutError: a line is none.
    """
    parsed = []
    for line in lines:
        try:
            parsed += OverridesParser.create(loader).parse_overrides([line])
        except HydraException as error:
            raise TutError(_why_not(line)) from error
        if not parsed[-1].key_or_group:
            raise TutError(f"{line}: {_NOT_AN_OVERRIDE}")
    return parsed


def readable(line: str) -> str:
    """Return an override as Hydra can read it: in quotes what needs them, and `1e3` as 1000 where a number is whole.

    Raises:
        TutError: it cannot be read so either.
    """
    if not line.isascii() and line.encode(errors="replace").decode() != line:
        raise TutError(f"{line}: is not text in UTF-8")
    if _fault(line) is not None:
        quoted = _with_quotes(line)
        if _fault(quoted) is not None:
            raise TutError(_why_not(line))
        line = quoted
    key, equals, value = line.partition("=")
    kinds = _kinds(key)
    if int in kinds and float not in kinds:
        value = _WITH_EXPONENT.sub(_without_exponent, value)
    return f"{key}{equals}{value}"


def quoted_form(line: str) -> str | None:
    """Return what to type, in the shell, for the value of an override to be the text that is there.

    None if its key takes no text.
    """
    key, _, value = line.partition("=")
    if value.startswith("[") and value.endswith("]"):
        return _quoted_list(key, value)
    if not _takes_text(key) or "${" in value or not value.isprintable():
        return None
    return shlex.quote(as_override(key, value))


def _quoted_list(key: str, value: str) -> str | None:
    """Return such a form for a list of texts, each in quotes if it needs them."""
    elements = [element.strip() for element in value[1:-1].split(",")]
    quoted = [as_override("", element).removeprefix("=") for element in elements]
    line = f"{key}=[{','.join(quoted)}]"
    return None if _fault(line) else shlex.quote(line)


def _fault(line: str) -> HydraException | None:
    try:
        OverridesParser.create().parse_override(line)
    except HydraException as error:
        return error
    return None


def _with_quotes(line: str) -> str:
    """Return an override with quotes around each element that the grammar does not know all characters of.

    Raises:
        TutError: such an element is a number in digits of another script.
    """
    key, equals, value = line.partition("=")
    respelt = [key, equals]
    braces = 0
    for piece in _PIECES.finditer(value):
        text = piece[0]
        braces += {"{": 1, "}": -1}.get(text, 0)
        if piece.lastgroup == "element" and not _READABLE.fullmatch(text):
            is_pair = braces > 0 and ":" in text
            name, colon, element = text.partition(":") if is_pair else ("", "", text)
            if not _takes_text(key):
                _refuse_other_digits(line, element)
            bare = re.sub(_ESCAPED, lambda escaped: escaped[0][1], element.strip())
            text = f"{name}{colon}{QuotedString(bare, Quote.single).with_quotes()}"
        respelt.append(text)
    return "".join(respelt)


def _refuse_other_digits(line: str, element: str) -> None:
    """Refuse a number in digits that Python would read and Hydra does not."""
    if _NUMBER.fullmatch(_with_ascii_digits(element)):
        other = next(character for character in element if not character.isascii())
        raise TutError(f"{line}: {other} is none of the digits 0 to 9; write {_with_ascii_digits(line)}")


def _with_ascii_digits(text: str) -> str:
    compatible = normalize("NFKC", text)
    return "".join(str(decimal(character)) if character.isdecimal() else character for character in compatible)


def _without_exponent(number: re.Match[str]) -> str:
    exact = Decimal(number[1])
    return str(int(exact)) if exact == int(exact) else number[1]


def _kinds(key: str) -> tuple[Any, ...]:
    """Return the types that the schema lets a key have; none if it has no such key."""
    kind = type_of(key.lstrip("+"))
    if kind is None:
        return ()
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _takes_text(key: str) -> bool:
    """Return whether a key may have any text; one that takes a number or a certain word does not."""
    kinds = _kinds(key)
    return not kinds or Any in kinds or (str in kinds and {int, float}.isdisjoint(kinds))


def _why_not(line: str) -> str:
    """Say why the grammar does not read an override, and what to type instead."""
    key, equals, value = line.partition("=")
    if not equals:
        return f"{line}: {_NOT_AN_OVERRIDE}"
    if _fault(f"{key}=0") is not None:
        return f"{line}: there is no key {key}{nearest_key(key, keys_of(Config))}"
    if "${" in re.sub(_INTERPOLATION, "", value):
        return f"{line}: what begins with ${{ must end with }}"
    form = quoted_form(line)
    as_text = "" if form is None else f"; as text, it is {form}"
    return f"{line}: {_in_the_way(key, value)}{as_text}"


def _in_the_way(key: str, value: str) -> str:
    """Say what in a value is no value to the grammar."""
    called = _FAILED_CALL.search(str(_fault(f"{key}={value}")))
    if called is not None:
        return _of_call(key, value, called["name"], called["why"])
    without = _without_stray_commas(value)
    if without != value and _fault(f"{key}={without}") is None:
        return f"a value is missing beside a comma; write {shlex.quote(f'{key}={without}')}"
    return f"{_in_question(key, value)} cannot stand here outside of quotes"


def _of_call(key: str, value: str, name: str, why: str) -> str:
    if why.startswith("Unknown function"):
        return f"there is no function {name}, only {', '.join(sorted(OverridesParser.create().functions.functions))}"
    if "NoneType is incompatible" not in why:
        return f"{name}: {why}"
    simple = f"{key}={value.strip().removeprefix(f'{name}(').removesuffix(')')}"
    instead = f"; write {shlex.quote(simple)}" if name == "choice" and _fault(simple) is None else ""
    return f"{name} takes no null{instead}"


def _without_stray_commas(value: str) -> str:
    return re.sub(r",(\s*,)+", ",", value).strip(", ")


def _in_question(key: str, value: str) -> str:
    """Return the character without whose meaning a value could be read, or else the first that has one.

    Of a value without such a character, it is the first that the grammar does not know.
    """
    own = [piece for piece in _PIECES.finditer(value) if piece.lastgroup != "element"]
    for piece in own:
        if _fault(f"{key}={value[: piece.start()]}\\{value[piece.start() :]}") is None:
            return piece[0][0]
    if not own:
        return next((character for character in value if not _READABLE.fullmatch(character)), value)
    is_wrapped = value[:1] + value[-1:] in ("[]", "{}")  # by what makes it a list or a mapping
    return own[is_wrapped][0][0]
