r"""Templates: ``{{steps.load.output.items[0].id}}`` in the strings of a node's config.

A template is a path and nothing else: no calls, no operators, no attributes of Python objects. A string that is one
template keeps the type of what it finds; in a longer string the value becomes text. What was put in is never read as
a template again, so data cannot smuggle one in. ``\{{`` stands for two braces, ``\\{{x}}`` for a backslash before
what is at x; elsewhere a backslash is a backslash.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import TemplateError
from dataflows_sdk.flow.problems import short
from dataflows_sdk.flow.texts import DEEPEST, as_text, too_deep

Path = tuple[str | int, ...]

#: the words with which a path may begin; a loop adds the name of its item
ROOTS = ("trigger", "steps", "run", "workflow", "loop", "env")

#: the longest text that templates may make, in characters
_LONGEST = 50_000_000
#: longer strings are read anew every time, so that the cache stays small
_CACHED = 8_000

#: a text in quotes; a backslash takes the sign after it as it is
QUOTED = r""" "(?:[^"\\]|\\.)*+" | '(?:[^'\\]|\\.)*+' """
#: what may stand in brackets
BRACKETS = rf"\[(?:-?(?:0|[1-9][0-9]{{0,8}})|{QUOTED})\]"
#: one word of a path: no space and no punctuation of ASCII but _ - $ @
_WORD = r"""[^\s\x00-\x1f!-#%-,./:-?\[-^`{-\x7f]++"""
_PATH = re.compile(
    rf"""\s*+(?P<path>(?:(?P<root>{_WORD})|(?=\[["\']))(?P<rest>(?:\.{_WORD}|{BRACKETS})*+))\s*+""",
    re.VERBOSE | re.DOTALL,
)
_CLOSED = re.compile(_PATH.pattern + r"\}\}", re.VERBOSE | re.DOTALL)
_PART = re.compile(rf"\.(?P<word>[^.\[]++)|\[(?P<index>-?[0-9]++)\]|\[(?P<quoted>{QUOTED})\]", re.VERBOSE | re.DOTALL)
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reference:
    """One path: its first word is the root, numbers are indexes."""

    text: str
    path: Path

    @property
    def node(self) -> str | None:
        """The node whose output it reads; None if it reads something else."""
        return str(self.path[1]) if len(self.path) > 1 and self.path[0] == "steps" else None


@dataclass(frozen=True, slots=True)
class Missing(ShownAsTable):
    """A path that led nowhere."""

    text: str
    reason: str

    def __str__(self) -> str:
        return f"{{{{{self.text}}}}}: {self.reason}"


class _Absent:
    __slots__ = ()

    def __repr__(self) -> str:
        return "<absent>"


#: what is not there; None is a value
ABSENT: Final[Any] = _Absent()


# --- paths ------------------------------------------------------------------------------------------------


def parse_path(text: str) -> Reference:
    """Read ``steps.load.output.items[0]["unit price"]``.

    Raises:
        TemplateError: it is not a path.
    """
    match = _PATH.fullmatch(text)
    if match is None:
        raise _no_path(text)
    return _reference(match)


def path_at(text: str, start: int) -> Reference:
    """The path that begins at a place in a text, as far as it goes.

    Raises:
        TemplateError: none begins there.
    """
    match = _PATH.match(text, start)
    if match is None:
        raise _no_path(text[start : start + 60])
    return _reference(match)


def _no_path(text: str) -> TemplateError:
    return TemplateError(
        f"{short(text)} is not a path such as steps.load.output.items[0]; a template takes a path and nothing else: "
        'put a key with spaces or signs in brackets and quotes, ["unit price"], and compute in a step or an expression'
    )


def _reference(match: re.Match[str]) -> Reference:
    root = match["root"]
    return Reference(match["path"], (() if root is None else (root,)) + read_parts(match["rest"]))


def read_parts(text: str) -> Path:
    """The parts behind the root of a path: ``.items[0]`` → ``("items", 0)``."""
    parts: list[str | int] = []
    for match in _PART.finditer(text):
        if match["quoted"] is not None:
            parts.append(unquote(match["quoted"]))
        elif match["index"] is not None:
            parts.append(int(match["index"]))
        else:
            word = match["word"]
            parts.append(int(word) if _INDEX.fullmatch(word) else word)
    return tuple(parts)


def unquote(text: str) -> str:
    """What stands between quotes; a backslash takes the sign after it as it is."""
    return _ESCAPED.sub(r"\1", text[1:-1])


def write_path(path: Path) -> str:
    """A path as text, which `parse_path` reads as the same path."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(_WORD, part) and not _INDEX.fullmatch(part):
            text += f".{part}" if text else part
        else:
            escaped = part.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{escaped}"]'
    return text


def lookup(roots: Mapping[str, Any], path: Path) -> Any:
    """What a path leads to; `ABSENT` if it leads nowhere.

    Keys of mappings, indexes of lists and tuples, declared fields of dataclasses, named tuples and pydantic models.
    No other attribute of an object can be reached.
    """
    found, followed = _walk(roots, path)
    return found if followed == len(path) else ABSENT


def _walk(roots: Mapping[str, Any], path: Path) -> tuple[Any, int]:
    """How far a path leads: the last value that was found, and the number of parts behind it."""
    found: Any = roots
    for followed, part in enumerate(path):
        inside = _inside(found, part)
        if inside is ABSENT:
            return found, followed
        found = inside
    return found, len(path)


def _inside(value: Any, part: str | int) -> Any:
    if type(value) is dict or isinstance(value, Mapping):  # the first is the usual, and quick
        # the keys of JSON are texts; Python's dicts may have numbers
        found = value.get(str(part), ABSENT)
        return value.get(part, ABSENT) if found is ABSENT else found
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        if isinstance(part, int):
            return value[part] if -len(value) <= part < len(value) else ABSENT
        return getattr(value, part) if part in getattr(type(value), "_fields", ()) else ABSENT
    if isinstance(part, int):
        return ABSENT
    if isinstance(value, BaseModel):
        known = part in type(value).model_fields
        return getattr(value, part, ABSENT) if known else (value.__pydantic_extra__ or {}).get(part, ABSENT)
    if dataclasses.is_dataclass(type(value)) and any(field.name == part for field in dataclasses.fields(value)):
        return getattr(value, part, ABSENT)
    return ABSENT


def missing_at(roots: Mapping[str, Any], reference: Reference) -> Missing:
    """Why a path leads nowhere, in words: where it ends, and what is there instead."""
    found, followed = _walk(roots, reference.path)
    where = _cut(write_path(reference.path[:followed])) or "the run"
    part = short(reference.path[followed])
    if isinstance(found, Mapping):
        names = ", ".join(short(key) for _, key in zip(range(8), found, strict=False)) or "nothing"
        reason = f"{where} has no {part}; it has {names}" + (", …" if len(found) > 8 else "")
    elif isinstance(found, Sequence) and not isinstance(found, str | bytes):
        reason = f"{where} is a list of {len(found)} and has no {part}"
    else:
        reason = f"{where} is {'null' if found is None else type(found).__name__} and has no {part}"
    return Missing(_cut(reference.text), reason)


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


# --- templates --------------------------------------------------------------------------------------------


class Template:
    """One string, read.

    Attributes:
        parts: its texts and paths, in order.
        whole: its only part, where it is one path and nothing else.
    """

    __slots__ = ("parts", "whole")

    def __init__(self, text: str) -> None:
        parts: list[str | Reference] = []
        end = 0
        while (start := text.find("{{", end)) >= 0:
            lead = text[end:start]
            bare = lead.rstrip("\\")
            slashes = len(lead) - len(bare)
            if slashes % 2:
                parts.append(bare + "\\" * (slashes // 2) + "{{")
                end = start + 2
                continue
            parts.append(bare + "\\" * (slashes // 2))
            reference, end = read_braces(text, start)
            parts.append(reference)
        parts.append(text[end:])
        self.parts = tuple(part for part in parts if part != "")
        only = self.parts[0] if len(self.parts) == 1 else None
        self.whole = only if isinstance(only, Reference) else None

    @property
    def references(self) -> tuple[Reference, ...]:
        """Its paths, in order."""
        return tuple(part for part in self.parts if isinstance(part, Reference))


def read_braces(text: str, start: int) -> tuple[Reference, int]:
    """The path between the braces that open at *start*, and where it goes on behind them.

    Raises:
        TemplateError: there is no path, or the braces are not closed.
    """
    match = _CLOSED.match(text, start + 2)
    if match is not None:
        return _reference(match), match.end()
    close = text.find("}}", start)
    if close < 0:
        raise TemplateError(
            f"{short(text[start : start + 60])} opens {{{{ and does not close it; write \\{{{{ for two braces"
        )
    raise _no_path(text[start + 2 : min(close, start + 200)])


@lru_cache(maxsize=1024)
def _cached(text: str) -> Template:
    return Template(text)


def parse_template(text: str) -> Template:
    """Read a string of a config.

    Raises:
        TemplateError: it holds something between braces that is not a path.
    """
    return _cached(text) if len(text) <= _CACHED else Template(text)


def escape(text: str) -> str:
    """A string that renders to this text, whatever braces are in it."""
    return re.sub(r"(?<!\\)(\\*+)\{\{", r"\1\1\\{{", text)


def render(value: Any, roots: Mapping[str, Any], missing: list[Missing] | None = None, *, strict: bool = False) -> Any:
    """A config with its templates filled in; everything that is no string is as it was.

    Args:
        value: a string, or lists and dicts with strings; keys are not rendered.
        roots: what the first word of a path may be.
        missing: gets the paths that led nowhere; they give None, or nothing within a longer text.
        strict: raise for a path that leads nowhere instead.

    Raises:
        TemplateError: a string cannot be read, is nested too deeply or becomes too long, or with `strict` a path
            led nowhere.
    """
    return _render(value, roots, missing, strict, 0)


def _render(value: Any, roots: Mapping[str, Any], missing: list[Missing] | None, strict: bool, depth: int) -> Any:
    if isinstance(value, str):
        return _render_text(value, roots, missing, strict) if "{{" in value else value
    if not isinstance(value, dict | list | tuple):
        return value
    if depth >= DEEPEST:
        raise too_deep()
    if isinstance(value, dict):
        return {key: _render(item, roots, missing, strict, depth + 1) for key, item in value.items()}
    items = [_render(item, roots, missing, strict, depth + 1) for item in value]
    return items if isinstance(value, list) else tuple(items)


def _render_text(text: str, roots: Mapping[str, Any], missing: list[Missing] | None, strict: bool) -> Any:
    template = parse_template(text)
    if template.whole is not None:
        found = _resolve(template.whole, roots, missing, strict)
        return None if found is ABSENT else found
    texts: list[str] = []
    length = 0
    for part in template.parts:
        texts.append(part if isinstance(part, str) else _named_text(part, _resolve(part, roots, missing, strict)))
        length += len(texts[-1])
        if length > _LONGEST:
            raise TemplateError(f"{short(text)} becomes longer than {_LONGEST:,} characters")
    return "".join(texts)


def _named_text(reference: Reference, value: Any) -> str:
    try:
        return "" if value is ABSENT else as_text(value)
    except TemplateError as error:
        raise TemplateError(f"{{{{{_cut(reference.text)}}}}}: {error}") from None


def _resolve(reference: Reference, roots: Mapping[str, Any], missing: list[Missing] | None, strict: bool) -> Any:
    found = lookup(roots, reference.path)
    if found is ABSENT and (strict or missing is not None):
        _note(missing_at(roots, reference), missing, strict)
    return found


def _note(gone: Missing, missing: list[Missing] | None, strict: bool) -> None:
    """Take down a path that led nowhere.

    Raises:
        TemplateError: with `strict`.
    """
    if strict:
        raise TemplateError(f"{gone}. The flow is strict: every path has to lead somewhere")
    if missing is not None:
        missing.append(gone)


def references(value: Any, pointer: str = "", depth: int = 0) -> Iterator[tuple[str, Reference | TemplateError]]:
    """Every path in a config, with a JSON pointer to its string; a string that cannot be read gives its error."""
    if isinstance(value, str):
        if "{{" in value:
            try:
                for found in parse_template(value).references:
                    yield pointer, found
            except TemplateError as error:
                yield pointer, error
    elif isinstance(value, Mapping | list | tuple):
        if depth >= DEEPEST:
            yield pointer, too_deep()
            return
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            step = str(key).replace("~", "~0").replace("/", "~1")
            yield from references(item, f"{pointer}/{step}", depth + 1)
