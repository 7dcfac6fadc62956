"""What a function needs besides its own text: imports, constants, helper functions and classes, recursively.

Everything that was defined in one of the *home* modules (the notebook, and the module of the workflow) is taken along
as text. Everything else is imported by name, as the code itself does. What is neither, and no plain data, is refused.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import linecache
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import PublishError
from dataflows_sdk.flow.builder import Flow
from dataflows_sdk.flow.names import near_misses
from dataflows_sdk.flow.source import source_of
from dataflows_sdk.publishing.classes import class_source
from dataflows_sdk.publishing.expressions import Unwritable, expression, is_plain
from dataflows_sdk.publishing.names import Names, names_of

__all__ = ["Gathering", "Piece"]

#: names that every module has
_OF_MODULES = frozenset({"__name__", "__doc__", "__package__", "__spec__", "__loader__", "__builtins__"})
_FUTURE_ANNOTATIONS = 0x1000000  # of `from __future__ import annotations`, in the flags of code


@dataclass(frozen=True, slots=True)
class Piece:
    """One definition of the module.

    Attributes:
        name: what it defines.
        text: the source of it.
        used, early: global names that it needs at all, and those that must be there when it is defined.
    """

    name: str
    text: str
    used: frozenset[str]
    early: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a name is used: for messages, and for what it means there."""

    path: tuple[str, ...]
    namespace: Mapping[str, Any]

    def inside(self, name: str, namespace: Mapping[str, Any]) -> _Place:
        return _Place((*self.path, name), namespace)


class Gathering:
    """Collects the pieces of one module.

    Args:
        what: what is published, for messages: ``workflow 'report'``.
        homes: modules whose definitions are taken along as text; ``__main__`` always is one.
    """

    def __init__(self, what: str, homes: Iterable[str]) -> None:
        self._what = what
        self._homes = {"__main__", *homes}
        self._bound: dict[str, Any] = {}
        self._later: list[tuple[str, Any, _Place]] = []
        self.pieces: dict[str, Piece] = {}
        self.imports: dict[str, str] = {}
        self.submodules: set[str] = set()
        self.future_annotations = False

    # --- what is asked for ---------------------------------------------------------------------------------

    def function(self, name: str, fn: Callable[..., Any], text: str | None = None, stands_for: Any = None) -> None:
        """Take a function along, with all that it needs.

        Args:
            name: what it is to be called.
            text: its source, where that is known better than it can be found out.
            stands_for: what has that name: a workflow, for its function.

        Raises:
            PublishError: something that it needs cannot be written down.
        """
        self._bound[name] = fn if stands_for is None else stands_for
        self._function(name, fn, _Place((), {}), text)
        self._finish()

    def expression(self, value: Any, name: str) -> str:
        """Source for a value, after what it needs has been taken along.

        Raises:
            PublishError: it cannot be written down.
        """
        place = _Place((name,), {})
        text = self._write(name, value, place)
        self._finish()
        return text

    def name_for(self, wish: str, fn: Any) -> str:
        """Take a callable along under a name of its own, or one close to *wish*; gives the name."""
        place = _Place((), {})
        plain = _inner(fn)
        own = getattr(plain, "__name__", "")
        if isinstance(plain, types.FunctionType) and own != "<lambda>" and self._at_home(fn):
            self._need(own, fn, place)
            self._finish()
            return own
        # a name that no code of the notebook uses for something else
        name = self.free(f"{wish}_node" if own == "<lambda>" or not own.isidentifier() else own, fn)
        self._need(name, fn, place)
        self._finish()
        return name

    def free(self, wish: str, value: Any = None) -> str:
        """A name that is not taken, or stands for *value* already."""
        name = wish
        while name in vars(builtins) or (name in self._bound and self._bound[name] is not value):
            name = f"{name}_"
        return name

    def refer(self, value: Any) -> str:
        """The name by which a class, function or module can be used."""
        return self._refer(value, _Place((), {}))

    # --- names ---------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        # Last, when the names that the code itself uses are known: what values need takes other ones.
        while self._later:
            name, value, place = self._later.pop(0)
            text = f"{name} = {self._write(name, value, place)}"
            self._add(name, text, names_of(text), everything_early=True)

    def _write(self, name: str, value: Any, place: _Place) -> str:
        try:
            if isinstance(value, Flow):
                from dataflows_sdk.publishing.flowtext import flow_expression

                return flow_expression(self, value)
            return expression(value, lambda each: self._refer(each, place))
        except Unwritable as reason:
            raise self._refused(name, value, place, str(reason)) from None

    def _refer(self, value: Any, place: _Place) -> str:
        for name, bound in self._bound.items():
            if bound is value:
                return name
        builtin = str(getattr(value, "__name__", ""))
        if getattr(builtins, builtin, None) is value:
            return builtin
        own = getattr(value, "__name__", None) or getattr(value, "_name", None) or type(value).__name__
        name = own if self._at_home(value) else self.free(own, value)
        self._need(name, value, place)
        return str(name)

    def _need(self, name: str, value: Any, place: _Place) -> None:
        if name in self._bound:
            known = self._bound[name]
            if (
                known is value
                or (isinstance(known, Workflow) and known.fn is value)
                or (is_plain(known) and is_plain(value) and _same(known, value))
            ):
                return
            raise PublishError(
                f"{self._what} cannot be published: the name {name!r} means two things, {_short(known)} and "
                f"{_short(value)} ({_told(place)}); in a module it can mean one: rename one of them, and where a "
                "decorator hides a function from its name give it functools.wraps"
            )
        self._bound[name] = value
        if isinstance(value, ModuleType):
            self._module(name, value, place)
        elif isinstance(value, Workflow):
            self._workflow(name, value, place)
        elif self._at_home(value):
            if isinstance(value, type):
                self._class(name, value, place)
            else:
                self._function(name, value, place)
        elif is_plain(value) or isinstance(value, Flow) or not self._import(name, value):
            self._later.append((name, value, place))

    def _names(self, names: Names, place: _Place) -> None:
        for name in sorted(names.used):
            if name in _OF_MODULES:
                continue
            if name == "__file__":
                raise PublishError(
                    f"{self._what} cannot be published: {_told(place)} uses __file__, and has none there"
                )
            if name in place.namespace:
                self._need(name, place.namespace[name], place)
            elif name not in vars(builtins):
                raise PublishError(
                    f"{self._what} cannot be published: {_told(place)} uses {name!r}, which is not defined"
                    f"{_hint(name, place.namespace)}"
                )
            elif (found := getattr(builtins, name)) is not None and _is_of_notebook(found):
                self._need(name, found, place)
        for name in sorted(names.hinted):
            if name in place.namespace:
                self._need(name, place.namespace[name], place)
        for chain in names.dotted:
            module = place.namespace.get(chain.partition(".")[0])
            if isinstance(module, ModuleType):
                self._submodules(module, chain)

    # --- kinds ---------------------------------------------------------------------------------------------

    def _at_home(self, value: Any) -> bool:
        """Whether it is a function or class whose text comes along."""
        if not isinstance(value, type) and not isinstance(_inner(value), types.FunctionType):
            return False
        module = getattr(value, "__module__", None)
        if module in self._homes:
            return True
        if isinstance(value, type) and module == "builtins":
            return False
        return _importable(str(getattr(value, "__name__", "")), value, self._homes) is None

    def _module(self, name: str, module: ModuleType, place: _Place) -> None:
        if module.__name__ in ("__main__", *self._homes) and module.__name__ == "__main__":
            raise self._refused(name, module, place, "it is the notebook or script itself")
        whole = module.__name__
        self.imports[name] = f"import {whole}" if whole == name else f"import {whole} as {name}"

    def _submodules(self, module: ModuleType, chain: str) -> None:
        words = chain.split(".")[1:]
        for count in range(1, len(words) + 1):
            inner = ".".join((module.__name__, *words[:count]))
            if not isinstance(sys.modules.get(inner), ModuleType):
                return
            self.submodules.add(inner)

    def _import(self, name: str, value: Any) -> bool:
        found = _importable(name, value, self._homes)
        if found is None:
            return False
        module, attribute = found
        self.imports[name] = f"from {module} import {attribute}" + ("" if attribute == name else f" as {name}")
        return True

    def _workflow(self, name: str, workflow: Workflow, place: _Place) -> None:
        flow = getattr(workflow, "flow", None)
        if isinstance(flow, Flow):
            raise self._refused(name, workflow, place, "use the flow itself, not the workflow that was made of it")
        if self._import(name, workflow):
            return
        self._function(name, workflow.fn, place, workflow.source or None)

    def _function(self, name: str, value: Any, place: _Place, text: str | None = None) -> None:
        fn, wrappers = _unwrapped(value)
        if not isinstance(fn, types.FunctionType):
            raise self._refused(name, value, place, "only functions that were written with def or lambda are text")
        if hasattr(value, "registry") and hasattr(value, "dispatch"):
            raise self._refused(name, value, place, "what was registered with it would be lost: use a dict or match")
        here = place.inside(f"{name}()", {**fn.__globals__, **_cells(fn)})
        text = text or source_of(fn)
        if text is None:
            raise self._refused(name, value, place, "its source is not known: define it in a cell or a file")
        text = text.rstrip() + "\n"
        own = fn.__name__
        if own == "<lambda>":
            text = f"{name} = {text}"
        names = self._analysed(name, text, here)
        if own != "<lambda>" and wrappers > names.decorators:
            why = "it was decorated after it was defined; write the decorator above the function"
            raise self._refused(name, value, place, why)
        if fn.__code__.co_flags & _FUTURE_ANNOTATIONS:
            self.future_annotations = True
        if own not in ("<lambda>", name):
            self._need(own, value, place)
            alias = f"{name} = {own}"
            self._add(name, alias, names_of(alias), everything_early=True)
            return
        self._add(name, text, names)
        self._names(names, here)

    def _class(self, name: str, cls: type, place: _Place) -> None:
        if "." in cls.__qualname__:
            where = "a function" if "<locals>" in cls.__qualname__ else "another class"
            raise self._refused(name, cls, place, f"it is defined within {where}: define it at the top level")
        text = class_source(cls)
        if text is None:
            raise self._refused(name, cls, place, "its source is not known: define it in a cell or a file")
        if cls.__name__ != name:
            self._need(cls.__name__, cls, place)
            alias = f"{name} = {cls.__name__}"
            self._add(name, alias, names_of(alias), everything_early=True)
            return
        methods = [each for each in vars(cls).values() if isinstance(each, types.FunctionType)]
        # those that a decorator such as @dataclass made are of no file and see other names
        written = [each for each in methods if linecache.getlines(each.__code__.co_filename)]
        if any(each.__code__.co_flags & _FUTURE_ANNOTATIONS for each in written):
            self.future_annotations = True
        namespace = place.namespace
        if namespace.get(cls.__name__) is not cls:
            module = sys.modules.get(cls.__module__)
            namespace = written[0].__globals__ if written else vars(module) if module is not None else {}
        here = place.inside(name, namespace)
        names = self._analysed(name, text, here)
        self._add(name, text, names)
        self._names(names, here)

    # --- pieces --------------------------------------------------------------------------------------------

    def _analysed(self, name: str, text: str, place: _Place) -> Names:
        try:
            names = names_of(text)
        except SyntaxError as error:
            raise PublishError(
                f"{self._what} cannot be published: the source of {name} is no Python by itself: {error}"
            ) from None
        if names.nonlocals:
            variable = min(names.nonlocals)
            raise PublishError(
                f"{self._what} cannot be published: {_told(place)} changes {variable!r} of the function around it; "
                "what a workflow keeps belongs into steps, what all runs share into the database"
            )
        return names

    def _add(self, name: str, text: str, names: Names, *, everything_early: bool = False) -> None:
        used = (names.used | names.hinted) - {name}
        self.pieces[name] = Piece(name, text, used, used if everything_early else names.early - {name})

    def _refused(self, name: str, value: Any, place: _Place, why: str) -> PublishError:
        user = _told(place)
        used = f"{user} uses {name!r}" if user else repr(name)
        return PublishError(f"{self._what} cannot be published: {used}, which is {_short(value)}: {why}")


def _told(place: _Place) -> str:
    return " → ".join(place.path)


def _short(value: Any) -> str:
    if isinstance(value, ModuleType):
        return f"the module {value.__name__}"
    if isinstance(value, type):
        return f"the class {value.__module__}.{value.__qualname__}"
    inner = _inner(value)
    if isinstance(inner, types.FunctionType):
        return f"the function {inner.__module__}.{inner.__qualname__}"
    if isinstance(value, Workflow | Flow):
        return f"{type(value).__name__.lower()} {value.name!r}"
    # not its repr: that may be long, or show a secret
    kind = type(value)
    return f"of the type {'' if kind.__module__ == 'builtins' else kind.__module__ + '.'}{kind.__qualname__}"


def _hint(name: str, namespace: Mapping[str, Any]) -> str:
    close = near_misses(name, [each for each in namespace if not each.startswith("_")])
    return f"; {close}" if close else ""


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


def _is_of_notebook(value: Any) -> bool:
    """IPython puts names of its own among the builtins."""
    module = getattr(value, "__module__", None) or type(value).__module__
    return str(module).partition(".")[0] in ("IPython", "ipykernel")


def _inner(value: Any) -> Any:
    return _unwrapped(value)[0]


def _unwrapped(value: Any) -> tuple[Any, int]:
    """The function below its decorators, and how many of these there are."""
    count = 0
    if isinstance(value, type | functools.partial):
        return value, 0
    while callable(value) and hasattr(value, "__wrapped__") and count < 100:
        value = value.__wrapped__
        count += 1
    return value, count


def _cells(fn: types.FunctionType) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not yet filled
            continue
    return found


def _importable(name: str, value: Any, homes: set[str]) -> tuple[str, str] | None:
    """Module and attribute by which another process can import this object; the shortest public way."""
    module = getattr(value, "__module__", None)
    for attribute in dict.fromkeys((name, str(getattr(value, "__qualname__", name)))):
        if not attribute.isidentifier():
            continue
        if isinstance(module, str):
            words = module.split(".")
            for count in range(1, len(words) + 1):
                place = ".".join(words[:count])
                if _has(place, attribute, value, homes):
                    return place, attribute
        places = [each for each in list(sys.modules) if _has(each, attribute, value, homes, only_there=True)]
        if places:
            return min(
                places, key=lambda each: (any(w.startswith("_") for w in each.split(".")), len(each), each)
            ), attribute
    return None


def _has(place: str, attribute: str, value: Any, homes: set[str], *, only_there: bool = False) -> bool:
    module = sys.modules.get(place)
    if module is None or place in homes or place.startswith("dataflows_published"):
        return False
    if getattr(module, "__spec__", None) is None:  # made by hand: nobody can import it
        return False
    if only_there:
        return inspect.ismodule(module) and vars(module).get(attribute) is value
    try:
        return getattr(module, attribute, None) is value
    except Exception:  # noqa: BLE001 - a module may do anything when it is asked for a name
        return False
