from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NamedTuple, Optional, TypeVar

import pydantic
import pytest

from dataflows_sdk.core.codec import Codec
from dataflows_sdk.core.codec_types import TypeRegistry, is_value_class, type_name
from dataflows_sdk.errors import NotSerializableError, UnknownTypeError

from . import shapes

T = TypeVar("T")


def module(name: str, source: str, **names: Any) -> types.ModuleType:
    """A module that stays in nobody's sys.modules: what is found in it was found through the scope."""
    made = types.ModuleType(name)
    made.__dict__.update(names)
    sys.modules[name] = made  # dataclasses look there for their own module
    try:
        exec(compile(source, name, "exec", dont_inherit=True), made.__dict__)
    finally:
        del sys.modules[name]
    return made


MODELS = """
from __future__ import annotations
from dataclasses import dataclass
from enum import Enum
class Status(Enum):
    OPEN = 1
@dataclass
class Line:
    status: Status
@dataclass
class Order:
    line: Line | None = None
    class Kind(Enum):
        A = 1
"""


def name_of(value: Any) -> str:
    return f"{value.__module__}:{value.__qualname__}"


def test_what_a_module_defines_and_imports_is_seen() -> None:
    registry = TypeRegistry()
    models = module("shop.models", MODELS)
    flow = module("shop.flow", "def work(): ...", Renamed=models.Order)
    registry.add_scope(flow.work)
    assert registry.resolve("shop.models:Order") is models.Order
    assert registry.resolve("shop.models:Order.Kind") is models.Order.Kind
    with pytest.raises(UnknownTypeError, match=r"shop.models:Line.*types.register\(Line\)"):
        registry.resolve("shop.models:Line")


def test_modules_among_the_globals_are_seen_one_level_deep() -> None:
    registry = TypeRegistry()
    models = module("shop.models", MODELS)
    between = module("shop.between", "", models=models)
    flow = module("shop.flow", "def work(): ...", m=models)
    registry.add_scope(flow)
    assert registry.resolve("shop.models:Line") is models.Line
    far = TypeRegistry()
    far.add_scope(module("shop.far", "def work(): ...", between=between).work)
    assert far.find("shop.models:Line") is None


def test_annotations_are_seen_with_the_fields_of_what_they_name() -> None:
    registry = TypeRegistry()
    models = module("shop.models", MODELS)
    # the source of the annotation is evaluated in the function's own globals, where Order is not a global
    flow = module("shop.flow", "def work(a, b): ...")
    flow.work.__annotations__ = {"a": "not.a.name", "b": list[Optional[models.Order]], "c": "int"}  # noqa: UP045
    registry.add_scope(flow.work)
    assert registry.resolve("shop.models:Order") is models.Order


def test_annotations_of_every_shape() -> None:
    class Model(pydantic.BaseModel):
        inner: Annotated[dict[str, tuple[shapes.Colour, ...]], "note"]

    class Wrapper(pydantic.BaseModel, Generic[T]):
        item: T

    Model.__qualname__, Wrapper.__qualname__ = "Model", "Wrapper"

    def work(a: Model, *args: shapes.Level, b: Callable[[shapes.Rights], None]) -> Wrapper[shapes.Word]: ...

    work.__annotations__ = {
        "a": Model,
        "args": shapes.Level,
        "b": Callable[[shapes.Rights], None],
        "return": Wrapper[shapes.Word],
    }
    alone = types.FunctionType(work.__code__, {})
    alone.__annotations__ = work.__annotations__
    registry = TypeRegistry()
    registry.add_scope(alone)
    for seen in (Model, shapes.Colour, shapes.Level, shapes.Word, Wrapper[shapes.Word]):
        assert registry.find(type_name(seen)) is seen
    assert registry.find(type_name(shapes.Item)) is None


def test_fields_that_are_annotated_as_text() -> None:
    registry = TypeRegistry()
    models = module("shop.models", MODELS)

    def work(a: Any) -> None: ...

    alone = types.FunctionType(work.__code__, {})
    alone.__annotations__ = {"a": models.Order}
    registry.add_scope(alone)
    # "Line | None" cannot be evaluated, because shop.models is not in sys.modules: no guess, no import
    assert registry.find("shop.models:Order") is models.Order
    assert registry.find("shop.models:Status") is None


def test_closures_are_seen() -> None:
    registry = TypeRegistry()
    models = module("shop.models", MODELS)

    def make(order: Any) -> Any:
        def work() -> Any:
            return order()

        return work

    work = make(models.Order)
    alone = types.FunctionType(work.__code__, {}, "work", None, work.__closure__)
    registry.add_scope(alone)
    assert registry.find("shop.models:Order") is models.Order


class CallMe:
    def __call__(self) -> None: ...

    def method(self) -> None: ...


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def plain() -> None: ...


@pytest.mark.parametrize(
    "scope",
    [
        plain,
        functools.partial(plain),
        decorated(plain),
        CallMe(),
        CallMe().method,
        CallMe,
        functools.cache(plain),
        shapes,
    ],
    ids=["function", "partial", "decorated", "instance", "method", "class", "cached", "module"],
)
def test_scopes_of_every_kind(scope: Any) -> None:
    registry = TypeRegistry()
    registry.add_scope(scope)
    assert registry.resolve(type_name(shapes.Item)) is shapes.Item


def test_a_builtin_has_no_scope() -> None:
    registry = TypeRegistry()
    registry.add_scope(len)
    registry.add_scope(functools.partial(print))
    assert registry.find(type_name(shapes.Item)) is None


def test_an_endless_chain_of_wrappers_ends() -> None:
    def loop() -> None: ...

    loop.__wrapped__ = loop  # type: ignore[attr-defined]
    TypeRegistry().add_scope(loop)


def test_only_exact_names_and_only_value_classes() -> None:
    registry = TypeRegistry()
    registry.add_scope(module("shop.flow", "import subprocess, os\ndef work(): ...", Item=shapes.Item).work)
    # there is an Item in these globals, but it is another module's
    for name in (
        "shop.flow:Item",
        "subprocess:Popen",
        "os:system",
        "os:environ.__class__",
        f"{shapes.__name__}:Item.name",
        f"{shapes.__name__}:Item.__class__",
        "Item",
        ":Item",
        "",
        "a:b:c",
        "shop.flow:work.__globals__",
    ):
        assert registry.find(name) is None, name
    assert registry.find(type_name(shapes.Item)) is shapes.Item


def test_a_cell_that_is_run_again_is_followed() -> None:
    registry = TypeRegistry()
    notebook = module(
        "__main__x", "from dataclasses import dataclass\n@dataclass\nclass Row:\n    a: int\ndef work(): ..."
    )
    registry.add_scope(notebook.work)
    codec = Codec(registry)
    text = codec.encode(notebook.Row(1)).text
    old = notebook.Row
    cell = "@dataclass\nclass Row:\n    a: int\n    b: int = 2"
    exec(compile(cell, "cell", "exec", dont_inherit=True), notebook.__dict__)
    new = codec.decode(text)
    assert type(new) is notebook.Row is not old
    assert new.b == 2
    with pytest.raises(NotSerializableError, match="defined anew"):
        codec.encode(old(1))


def test_registering_as_a_decorator_and_anew() -> None:
    registry = TypeRegistry()
    old = module("shop.models", MODELS).Order
    new = module("shop.models", MODELS).Order
    assert registry.register(old) is old
    assert registry.resolve("shop.models:Order") is old
    registry.register(new)
    assert registry.resolve("shop.models:Order") is new


def test_registering_with_an_alias_for_old_records() -> None:
    registry = TypeRegistry()
    registry.register(shapes.Item, "old.place:Thing")
    codec = Codec(registry)
    assert codec.decode('{"$dataclass":"old.place:Thing","name":"a","price":1}') == shapes.Item("a", 1)  # type: ignore[arg-type]
    assert '"old.place' not in codec.encode(shapes.Item("a", shapes.Decimal(1))).text


class Plain:
    pass


class Tuple(NamedTuple):
    a: int


@pytest.mark.parametrize("bad", [Plain, int, dict, shapes.Colour.RED, "shop:Order", None, plain])
def test_register_refuses(bad: Any) -> None:
    with pytest.raises(TypeError, match="register"):
        TypeRegistry().register(bad)


def test_register_refuses_local_classes_and_bad_aliases() -> None:
    @dataclass
    class Local:
        a: int

    with pytest.raises(NotSerializableError, match=r"within a function.*top level"):
        TypeRegistry().register(Local)
    for alias in ("noname", "a:b:c", 7):
        with pytest.raises(TypeError, match="alias"):
            TypeRegistry().register(shapes.Item, alias)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [None, 7, "shop.flow", {}])
def test_add_scope_refuses(bad: Any) -> None:
    with pytest.raises(TypeError, match="add_scope"):
        TypeRegistry().add_scope(bad)


def test_value_classes() -> None:
    assert all(is_value_class(cls) for cls in [*shapes.CLASSES, Tuple])
    assert not any(is_value_class(cls) for cls in (Plain, int, tuple, shapes.Colour.RED, None))
    assert name_of(shapes.Outer.Inner) == type_name(shapes.Outer.Inner)
