"""The connection that a source names: what the journal keeps of it is a name, and access is asked for page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.errors import DefinitionError, SourceNotFoundError

if TYPE_CHECKING:
    import httpx

    from dataflows_sdk.warehouse.sources.page import Reach

__all__ = ["Access", "Connector", "access_of", "read_named"]

_WORDS = ("id", "client", "user_id", "account_id", "scopes", "hosts")
_EXAMPLE = "connection='hubspot', or {'client': 'hubspot', 'account_id': 'acme', 'scopes': ['crm.read']}"


class Access(Protocol):
    """What a connection allows: ``ConnectionAuth``, as far as sources go."""

    def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See httpx."""
        ...

    def hidden(self) -> str | None:
        """The parameter of a query that the secret is put into; None where it goes elsewhere."""
        ...

    def credentials(self) -> tuple[str | None, str]:
        """User name, if the connection has one, and password, for what is no HTTP."""
        ...


class Connector(Protocol):
    """Gives access by what a description says: ``ctx.connections``."""

    def named(self, named: Mapping[str, Any]) -> Access:
        """The access of a connection that is described so."""
        ...


def read_named(what: str, given: Any) -> dict[str, Any] | None:
    """What the journal keeps of ``connection=``.

    Args:
        what: who names it, for messages.
        given: the name of a service client, a connection or its id, or a mapping.

    Raises:
        DefinitionError: it makes no sense.
    """
    if given is None:
        return None
    if isinstance(given, str):
        named: dict[str, Any] = {"id": str(UUID(given))} if _is_id(given) else {"client": given}
    elif isinstance(given, UUID):
        named = {"id": str(given)}
    elif isinstance(given, Mapping):
        named = {str(name): value for name, value in given.items() if value is not None}
    elif isinstance(found := getattr(given, "id", None), UUID) and hasattr(given, "token_type"):
        named = {"id": str(found)}
    else:
        raise DefinitionError(f"{what}: {type(given).__name__} names no connection; write {_EXAMPLE}")
    if unknown := [name for name in named if name not in _WORDS]:
        raise DefinitionError(f"{what}: a connection has no {unknown[0]!r}; it is named by {', '.join(_WORDS)}")
    if ("id" in named) == ("client" in named):
        raise DefinitionError(f"{what}: a connection is named by its id, or by its client: {_EXAMPLE}")
    if "id" in named and ("user_id" in named or "account_id" in named):
        raise DefinitionError(f"{what}: an id says whose the connection is already; leave user_id and account_id out")
    for name, value in named.items():
        named[name] = _words(what, name, value) if name in ("scopes", "hosts") else _text(what, name, value)
    if "id" in named and not _is_id(named["id"]):
        raise DefinitionError(f"{what}: the id of a connection is a UUID, not {named['id']!r:.100}")
    return named


def access_of(named: Mapping[str, Any], reach: Reach) -> Access:
    """Access by the connection that a source names.

    Raises:
        SourceNotFoundError: there are no connections here.
        ServiceClientNotFoundError, ConnectionNotFoundError: there is none such.
        DefinitionError: there are several.
    """
    if reach.connections is None:
        raise SourceNotFoundError(
            f"the source of this sync is read by a connection ({_shown(named)}), and there are none without a context"
        )
    return reach.connections.named(named)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _text(what: str, name: str, value: Any) -> str:
    value = str(value) if isinstance(value, UUID) else value
    if not isinstance(value, str) or not value.strip() or len(value) > 200 or not value.isprintable():
        shown = REDACTOR.redact_repr(value, 100)
        raise DefinitionError(f"{what}: {name} of a connection is a line of text, not {shown}")
    if REDACTOR.has_literal(value):
        raise DefinitionError(
            f"{what}: {name} of a connection holds a secret, and a sync's source is kept in the journal; {_EXAMPLE}"
        )
    return value


def _words(what: str, name: str, value: Any) -> list[str]:
    if isinstance(value, str | Mapping) or not hasattr(value, "__iter__"):
        raise DefinitionError(f"{what}: {name} of a connection is a list of texts, not {value!r:.100}")
    return [_text(what, name, each) for each in value]


def _shown(named: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in named.items())
