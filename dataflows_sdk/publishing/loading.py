"""Making workflows of published text: does it fit this process, and what does it define."""

from __future__ import annotations

import contextlib
import hashlib
import linecache
import platform
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.homes import known_as
from dataflows_sdk.engine.catalog import COLLECTING, Catalog
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import PublishedCodeError, PublishError
from dataflows_sdk.publishing.signing import Publication

if TYPE_CHECKING:
    from dataflows_sdk.flow.builder import Flow

__all__ = ["PACKAGE", "check_requirements", "children_of", "load", "load_text", "misfit"]

PACKAGE = "dataflows_published"


def check_requirements(requires: Iterable[str], python: str, what: str) -> tuple[str, ...]:
    """The requirements in one spelling.

    Raises:
        PublishError: one of them is none, or the versions of Python are none.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    found = []
    for text in [requires] if isinstance(requires, str) else list(requires):
        try:
            each = Requirement(text)
        except (InvalidRequirement, TypeError) as error:
            raise PublishError(f'{what}: requires={text!r} is no requirement ("pandas>=2", "httpx"): {error}') from None
        if each.url is not None:
            raise PublishError(f"{what}: requires={text!r}: an address cannot be compared with what is installed")
        found.append(str(each))
    try:
        SpecifierSet(python)
    except (InvalidSpecifier, TypeError, AttributeError):
        raise PublishError(f'{what}: python={python!r} names no versions; write ">=3.11"') from None
    return tuple(found)


def misfit(publication: Publication) -> str | None:
    """Why this process cannot run it: another Python, a package that is missing or of another version."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    version = platform.python_version()
    if not SpecifierSet(publication.python).contains(version, prereleases=True):
        return (
            f"it wants Python {publication.python}, and this is {version}; publish it with "
            f'python=">={sys.version_info[0]}.{sys.version_info[1]}" if it works there'
        )
    for text in publication.requires:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            return f"it requires {text}, and {requirement.name} is not installed here"
        if not requirement.specifier.contains(installed, prereleases=True):
            return f"it requires {text}, and {requirement.name} {installed} is installed here"
    return None


def load(publication: Publication) -> Workflow:
    """The workflow of a publication whose signature was verified.

    Raises:
        PublishedCodeError: it does not fit this process, or its module does not load.
    """
    why = misfit(publication)
    if why is not None:
        raise PublishedCodeError(f"{publication.name!r}: {why}", publication.name)
    try:
        found = load_text(publication.name, publication.source, publication.home)
    except PublishError as error:
        raise PublishedCodeError(str(error), publication.name) from error.__cause__
    if found is None:
        raise PublishedCodeError(f"{publication.name!r}: its module does not define it", publication.name)
    # Helpers and constants are a part of the text, not of what the version counts: the name of a version is the
    # notebook's, whose runs have it.
    found.version = publication.version
    return found


def children_of(workflow: Workflow) -> list[Workflow]:
    """The other workflows and flows that came along in its module, for whose runs somebody has to care, too."""
    from dataflows_sdk.flow.builder import Flow

    found: dict[str, Workflow] = {}
    pending = list((workflow.scope or {}).values())
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Flow):
            pending += each.bindings.values()
            each = _flow_workflow(each)
            each.scope = workflow.scope
        if isinstance(each, Workflow) and each.scope is workflow.scope and each.name != workflow.name:
            found.setdefault(each.name, each)
    return list(found.values())


def load_text(name: str, text: str, home: str, *, rehearsal: bool = False) -> Workflow | None:
    """Execute a module and give the workflow or flow of that name; None if it has none.

    Args:
        home: the module by whose name its classes are known in payloads.
        rehearsal: leave nothing behind.

    Raises:
        PublishError: the module cannot be loaded.
    """
    digest = hashlib.sha256(f"{home}\n{text}".encode()).hexdigest()[:12]
    slug = re.sub(r"\W+", "_", name).strip("_").lower()
    module = ModuleType(f"{PACKAGE}.{slug}_{digest}{'_rehearsal' if rehearsal else ''}")
    # inspect finds the text of functions and classes by this name
    module.__file__ = f"<{module.__name__}>"
    linecache.cache[module.__file__] = (len(text), None, text.splitlines(keepends=True), module.__file__)
    found = Catalog()
    if not rehearsal:
        known_as(module.__name__, home)
    with _registered(module, stays=not rehearsal):
        token = COLLECTING.set(found)
        try:
            exec(compile(text, module.__file__, "exec", dont_inherit=True), vars(module))  # noqa: S102 - verified, or ours
        except Exception as error:
            raise PublishError(
                f"{name!r}: its module cannot be loaded: {_said(error, module.__file__, text)}"
            ) from error
        finally:
            COLLECTING.reset(token)
        return _defined(name, module, found)


def _defined(name: str, module: ModuleType, found: Catalog) -> Workflow | None:
    from dataflows_sdk.flow.builder import Flow

    flows = [each for each in vars(module).values() if isinstance(each, Flow) and each.name == name]
    made = _flow_workflow(flows[-1]) if flows else found.get(name)
    if made is not None:
        for each in (made, *found):
            each.scope = vars(module)
    return made


def _flow_workflow(flow: Flow) -> Workflow:
    from dataflows_sdk.engine.dag import flow_workflow  # loads much that code alone does not need

    return flow_workflow(flow)


@contextlib.contextmanager
def _registered(module: ModuleType, *, stays: bool) -> Iterator[None]:
    """Dataclasses, pydantic and inspect look for the module of a class among those that are loaded."""
    package: Any = sys.modules.get(PACKAGE)
    if package is None:
        package = ModuleType(PACKAGE)
        package.__path__ = []
        sys.modules[PACKAGE] = package
    known = module.__name__ in sys.modules
    sys.modules[module.__name__] = module
    done = False
    try:
        yield
        done = True
    finally:
        if not known and not (stays and done):
            sys.modules.pop(module.__name__, None)
            linecache.cache.pop(str(module.__file__), None)


def _said(error: Exception, filename: str, text: str) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == filename]
    if isinstance(error, SyntaxError) and error.filename == filename:
        lines.append(error.lineno)
    place = lines[-1] if lines else None
    where = f" (line {place}: {text.splitlines()[place - 1].strip()})" if place else ""
    return f"{type(error).__name__}: {error}{where}"
