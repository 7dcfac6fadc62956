"""Enums, dataclasses, pydantic models and named tuples: their state goes in and out, their code does not run.

An object is rebuilt from its recorded fields, as `copy.copy` would, without validators and without
``__init__``: those ran when it was made. A dataclass with a ``__post_init__`` is the exception, for what
that makes besides the fields; the recorded fields are put over it afterwards. A field that the class got
since gets its default.
"""

from __future__ import annotations

import dataclasses
import functools
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dataflows_sdk.core.codec_refused import Refused
from dataflows_sdk.core.codec_types import type_name
from dataflows_sdk.errors import ValueCodecError

if TYPE_CHECKING:
    from dataflows_sdk.core.codec_write import Writer

__all__ = ["TAGS", "extra_attributes", "read", "write"]

TAGS = frozenset({"$enum", "$dataclass", "$model", "$namedtuple"})

#: a dataclass on top of one of these has a second state, which its fields do not show
_STATEFUL = (dict, list, tuple, set, frozenset, str, int, float, bytes, bytearray, BaseException)


def write(value: Any, writer: Writer, depth: int) -> Any:
    """The tag of an instance of such a class; None for anything else."""
    kind = type(value)
    if isinstance(value, Enum):
        return _write_enum(value, writer)
    if isinstance(value, BaseModel):
        return _write_model(value, writer, depth)
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        _refuse_extra(value, frozenset())
        fields = dict(zip(kind._fields, value, strict=True))
        return {"$namedtuple": writer.class_name(kind), **writer.fields(fields, depth + 1)}
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, *_STATEFUL)):
        return _write_dataclass(value, writer, depth)
    return None


def _write_enum(value: Enum, writer: Writer) -> Any:
    kind = type(value)
    name = writer.class_name(kind)
    if kind.__members__.get(value.name or "") is value:
        return {"$enum": name, "name": value.name}
    # several flags together have no name of their own
    return {"$enum": name, "value": writer.tree(value.value)}


def _write_dataclass(value: Any, writer: Writer, depth: int) -> Any:
    kind = type(value)
    name = writer.class_name(kind)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        try:
            fields[field.name] = getattr(value, field.name)
        except AttributeError:
            raise Refused(f"is a {name} whose field {field.name!r} has no value") from None
    if not _runs_post_init(kind):
        _refuse_extra(value, frozenset(fields))
    return {"$dataclass": name, **writer.fields(fields, depth + 1)}


def _write_model(value: BaseModel, writer: Writer, depth: int) -> Any:
    kind = type(value)
    name = writer.class_name(kind)
    known = kind.model_fields
    state = value.__dict__
    _refuse_extra(value, frozenset(known))
    fields = {field: state[field] for field in known if field in state}
    tree: dict[str, Any] = {"$model": name, **writer.fields(fields, depth + 1)}
    if value.__pydantic_fields_set__ != set(known):
        tree["$set"] = sorted(value.__pydantic_fields_set__ & set(known))
    extra = value.__pydantic_extra__
    if extra:
        tree["$extra"] = writer.tree(dict(extra), depth + 1)
        tree["$set"] = writer.tree(sorted(value.__pydantic_fields_set__), depth + 1)
    if value.__pydantic_private__:
        tree["$private"] = writer.fields(value.__pydantic_private__, depth + 2)
    return tree


def extra_attributes(value: Any, fields: frozenset[str]) -> set[str]:
    """Attributes of an instance beyond its fields; what can be computed again does not count."""
    kind = type(value)
    names = set(getattr(value, "__dict__", ())) - fields - {"__orig_class__"}
    return {
        name
        for name in names
        if not any(isinstance(vars(base).get(name), functools.cached_property) for base in kind.__mro__)
    }


def _refuse_extra(value: Any, fields: frozenset[str]) -> None:
    extra = extra_attributes(value, fields)
    if extra:
        raise Refused(
            f"is a {type_name(type(value))} with attributes that are not fields and would be lost: "
            f"{', '.join(sorted(extra))[:200]}. Make fields of them, or cached properties"
        )


def read(tag: str, cls: type, fields: dict[str, Any]) -> Any:
    """The object of a tag, from its decoded fields.

    Raises:
        ValueCodecError: the class changed so that the record does not fit any more.
    """
    if tag == "$enum":
        return _read_enum(cls, fields)
    if tag == "$model":
        return _read_model(cls, fields)
    if tag == "$namedtuple":
        return _read_namedtuple(cls, fields)
    return _read_dataclass(cls, fields)


def _misfit(cls: type, tag: str) -> ValueCodecError:
    return ValueCodecError(
        f"{type_name(cls)} was recorded as a {tag[1:]}, and is another kind of class today; register "
        "a class of the "
        "old kind under that name"
    )


def _check_names(cls: type, recorded: set[str], known: set[str]) -> None:
    gone = recorded - known
    if gone:
        raise ValueCodecError(
            f"the recorded {type_name(cls)} has fields that the class does not have any more: "
            f"{', '.join(sorted(gone))[:200]}. Keep them in the class (they may be optional)"
        )


def _missing(cls: type, name: str) -> ValueCodecError:
    return ValueCodecError(
        f"the class {type_name(cls)} got the field {name!r} since this value was recorded, and it has "
        "no default; "
        "give it one"
    )


def _read_enum(cls: type, fields: dict[str, Any]) -> Any:
    if not issubclass(cls, Enum):
        raise _misfit(cls, "$enum")
    if "name" not in fields:
        return cls(fields["value"])
    member = cls.__members__.get(fields["name"])
    if member is None:
        raise ValueCodecError(
            f"the enum {type_name(cls)} has no member {fields['name']!r:.100} any more; keep it, or an alias of it"
        )
    return member


def _read_namedtuple(cls: type, fields: dict[str, Any]) -> Any:
    if not (issubclass(cls, tuple) and hasattr(cls, "_fields")):
        raise _misfit(cls, "$namedtuple")
    _check_names(cls, set(fields), set(cls._fields))
    defaults: dict[str, Any] = getattr(cls, "_field_defaults", {})
    values = []
    for name in cls._fields:
        if name not in fields and name not in defaults:
            raise _missing(cls, name)
        values.append(fields[name] if name in fields else defaults[name])
    return tuple.__new__(cls, values)


def _runs_post_init(cls: Any) -> bool:
    """Whether the constructor is the generated one, has work to do besides the fields, and needs no more
    than them.
    """
    return (
        hasattr(cls, "__post_init__")
        and cls.__dataclass_params__.init
        and not any(f._field_type is _INIT_VAR for f in cls.__dataclass_fields__.values())
    )


_INIT_VAR = getattr(dataclasses, "_FIELD_INITVAR", None)


def _read_dataclass(cls: type, fields: dict[str, Any]) -> Any:
    if not dataclasses.is_dataclass(cls) or issubclass(cls, _STATEFUL):
        raise _misfit(cls, "$dataclass")
    known = {field.name: field for field in dataclasses.fields(cls)}
    _check_names(cls, set(fields), set(known))
    state = dict(fields)
    for name, field in known.items():
        if name in state:
            continue
        if field.default is not dataclasses.MISSING:
            state[name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            state[name] = field.default_factory()
        else:
            raise _missing(cls, name)
    if _runs_post_init(cls):
        made = cls(**{name: state[name] for name, field in known.items() if field.init})
    else:
        made = object.__new__(cls)
    for name in known:
        # past frozen and past properties of the class: this is the state, not an assignment
        object.__setattr__(made, name, state[name])
    return made


def _read_model(cls: type, fields: dict[str, Any]) -> Any:
    if not issubclass(cls, BaseModel):
        raise _misfit(cls, "$model")
    state = {name: value for name, value in fields.items() if name[:1] != "$"}
    recorded = set(state)
    known = cls.model_fields
    _check_names(cls, recorded, set(known))
    for name, field in known.items():
        if name in state:
            continue
        if field.is_required():
            raise _missing(cls, name)
        state[name] = field.get_default(call_default_factory=True, validated_data=state)
    private = fields.get("$private", {})
    attributes = {
        name: private[name] if name in private else attribute.get_default()
        for name, attribute in cls.__private_attributes__.items()
        if name in private or attribute.default is not PydanticUndefined or attribute.default_factory is not None
    }
    _check_names(cls, set(private), set(attributes))
    made = cls.__new__(cls)
    extra = fields.get("$extra") or ({} if cls.model_config.get("extra") == "allow" else None)
    object.__setattr__(made, "__dict__", {name: state[name] for name in known})
    object.__setattr__(made, "__pydantic_fields_set__", set(fields.get("$set", recorded)))
    object.__setattr__(made, "__pydantic_extra__", extra)
    object.__setattr__(made, "__pydantic_private__", attributes if cls.__private_attributes__ else None)
    return made
