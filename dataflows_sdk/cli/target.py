"""What ``dataflows run TARGET`` means: finding a workflow or flow in a module or a file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dataflows_sdk.engine.definitions import Workflow
    from dataflows_sdk.flow.builder import Flow


def load_target(target: str, module: str | None = None) -> tuple[Workflow | Flow, list[Flow]]:
    """The workflow or flow that *target* names, and the other flows of its module.

    Args:
        target: ``module:name``, ``path/to/file.py:name``, or with *module* the name alone. The name is that of a
            variable or of a workflow; it may be left out where the module has only one.

    Raises:
        click.UsageError: there is no such module, file or name. Errors in the module's own code pass as they are.
    """
    place, name = _split(target) if module is None else (module, target)
    loaded = load_module(place)
    candidates = _candidates(loaded)
    flows = [value for value in candidates.values() if _is_flow(value)]
    if not name:
        names = {value.name for value in candidates.values()}
        if len(names) == 1:
            return next(iter(candidates.values())), flows
        raise click.UsageError(f"which of {place}? Name one: {_known(place, candidates)}")
    found = _attribute(loaded, name)
    if found is None:
        found = next((value for value in candidates.values() if value.name == name), None)
    if found is None:
        raise click.UsageError(f"{place} has no workflow or flow {name!r}; it has {_known(place, candidates)}")
    if not _is_flow(found) and not _is_workflow(found):
        raise click.UsageError(
            f"{name!r} in {place} is {type(found).__name__} {found!r:.60}, no workflow or flow; "
            f"it has {_known(place, candidates)}"
        )
    return found, flows


def _split(target: str) -> tuple[str, str]:
    place, separator, name = target.rpartition(":")
    # "C:\flows.py" has a colon, too
    if not separator or name.endswith(".py") or "\\" in name or "/" in name:
        place, name = target, ""
    if not place:
        raise click.UsageError(f"TARGET is module:name or path/to/file.py:name, not {target!r}")
    return place, name


def load_module(place: str) -> ModuleType:
    """Import a module by its name, or a file by its path.

    Raises:
        click.UsageError: there is none.
    """
    if place.endswith(".py") or "/" in place or "\\" in place:
        return _load_file(Path(place))
    sys.path.insert(0, str(Path.cwd()))  # a console script, unlike `python -m`, does not have it
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        # a module that the module itself misses is an error of the user's code, and shown as such
        if error.name is not None and (place == error.name or place.startswith(error.name + ".")):
            raise click.UsageError(
                f"there is no module {place!r} here (looked in {Path.cwd()} and the installed packages); "
                "for a file write path/to/file.py:name"
            ) from None
        raise
    except (ValueError, TypeError):
        raise click.UsageError(f"{place!r} is no name of a module") from None


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise click.UsageError(f"there is no file {path}")
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and Path(getattr(known, "__file__", None) or "").resolve() == path.resolve():
        return known
    if known is not None or name in sys.stdlib_module_names:
        raise click.UsageError(
            f"{path} would be loaded as module {name!r}, which is taken; rename the file, "
            "because recorded values name their classes by it"
        )
    # As for a script: what lies beside the file can be imported from it.
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise click.UsageError(f"{path} is no Python file: its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _candidates(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if _is_flow(value) or _is_workflow(value)}


def workflows_of(module: ModuleType) -> list[Workflow | Flow]:
    """The workflows and flows that a module has."""
    return list(_candidates(module).values())


def _attribute(module: ModuleType, path: str) -> Any:
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part, None)
        if found is None:
            return None
    return found


def _is_flow(value: object) -> bool:
    from dataflows_sdk.flow.builder import Flow

    return isinstance(value, Flow)


def _is_workflow(value: object) -> bool:
    from dataflows_sdk.engine.definitions import Workflow

    return isinstance(value, Workflow)


def _known(place: str, candidates: dict[str, Any]) -> str:
    if not candidates:
        return "none: decorate a function with @df.workflow('name'), or build a flow with df.flow('name')"
    return ", ".join(f"{place}:{name}" for name in candidates)
