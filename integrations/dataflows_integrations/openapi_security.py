"""The security of an OpenAPI description, and how credentials that are at hand meet it. Pure: nothing is fetched.

    found = schemes(spec)                                   # OpenAPI 3 or Swagger 2
    needed = security_of(spec, "/pets/{id}", "get")
    request = apply(httpx.Request("GET", url), needed, {"key": "…", "github": Credential(token, scopes=["repo"])})

`service_client` says how a scheme becomes a service client of `ctx.service_client`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dataflows_sdk.connections.schemes import put_basic, put_bearer, put_key
from dataflows_sdk.core.redact import Secret
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError, MissingScopeError

if TYPE_CHECKING:
    import httpx

__all__ = [
    "Credential",
    "OAuthFlow",
    "Requirement",
    "Scheme",
    "Security",
    "apply",
    "choose",
    "flows_of_discovery",
    "schemes",
    "security_of",
    "service_client",
]

Kind = Literal["apiKey", "basic", "bearer", "oauth2", "openIdConnect", "other"]
AuthType = Literal["oauth2", "api_key", "basic"]

_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace", "query"})
#: the words of Swagger 2, and those that were in use before OpenAPI had one for devices
_FLOWS = {
    "accessCode": "authorizationCode", "application": "clientCredentials", "deviceCode": "deviceAuthorization",
}  # fmt: skip
_KNOWN = ("authorizationCode", "clientCredentials", "password", "implicit", "deviceAuthorization")
_GRANTS = {
    "authorization_code": "authorizationCode", "client_credentials": "clientCredentials", "password": "password",
    "implicit": "implicit", "urn:ietf:params:oauth:grant-type:device_code": "deviceAuthorization",
}  # fmt: skip
_DEEPEST = 20


@dataclass(frozen=True, slots=True)
class OAuthFlow(ShownAsTable):
    """A way to a token.

    Attributes:
        kind: ``authorizationCode``, ``clientCredentials``, ``password``, ``implicit`` or ``deviceAuthorization``.
        authorization_url, token_url, refresh_url, device_url: as far as the flow has them.
        scopes: what can be asked for, with descriptions.
    """

    kind: str
    authorization_url: str | None = None
    token_url: str | None = None
    refresh_url: str | None = None
    device_url: str | None = None
    scopes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scheme(ShownAsTable):
    """A security scheme.

    Attributes:
        name: in the description.
        kind: what it asks for in a request; ``"other"`` for what cannot be met here, such as digests and certificates.
        auth_type: of a service client with it; None for ``"other"``. A bearer token is an ``api_key``, unless the
            description has a flow that gives tokens: then it is ``oauth2``.
        place, parameter: of an API key: ``header``, ``query`` or ``cookie``, and its name there.
        flows: the ways to a token.
        discovery_url: of OpenID Connect; what is there goes into `flows_of_discovery`.
        source: as it is written, without ``$ref``.
    """

    name: str
    kind: Kind
    auth_type: AuthType | None
    place: str | None = None
    parameter: str | None = None
    flows: tuple[OAuthFlow, ...] = ()
    discovery_url: str | None = None
    source: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Requirement(ShownAsTable):
    """A scheme, and the scopes that an operation wants of it."""

    scheme: Scheme
    scopes: tuple[str, ...] = ()


#: any of the outer ones, of which all inner ones; an empty inner one: without credentials; no outer one: nothing needed
Security = tuple[tuple[Requirement, ...], ...]


@dataclass(frozen=True, slots=True)
class Credential(ShownAsTable):
    """What is at hand for a scheme.

    Attributes:
        value: an API key or a token; or ``(username, password)``.
        scopes: what it may do; None where nobody knows, and then nothing is refused for it.
    """

    value: str | Secret | tuple[str, str | Secret] = field(repr=False)
    scopes: Sequence[str] | None = None


# --- reading a description --------------------------------------------------------------------------------


def schemes(spec: Mapping[str, Any], *, discovered: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Scheme]:
    """The security schemes of a description, by name.

    Args:
        spec: OpenAPI 3 or Swagger 2, as read from JSON or YAML.
        discovered: what is at the discovery addresses of OpenID Connect, by address.

    Raises:
        DefinitionError: it is no description, or a scheme in it makes no sense; the message names it.
    """
    if not isinstance(spec, Mapping):
        raise DefinitionError(f"a description is a dict, not {type(spec).__name__}")
    if "openapi" in spec:
        where, found = "components.securitySchemes", _dict(spec.get("components"), "components").get("securitySchemes")
    elif str(spec.get("swagger", "")).startswith("2"):
        where, found = "securityDefinitions", spec.get("securityDefinitions")
    else:
        raise DefinitionError("this is no description: it says neither openapi: 3.x nor swagger: '2.0'")
    read = {
        str(name): _scheme(str(name), _resolved(spec, value, f"{where}.{name}"), discovered or {})
        for name, value in _dict(found, where).items()
    }
    flows = tuple(flow for each in read.values() if each.kind in ("oauth2", "openIdConnect") for flow in each.flows)
    given_by_flow = any(each.kind in ("oauth2", "openIdConnect") for each in read.values())
    return {
        name: Scheme(name, "bearer", "oauth2", flows=flows, source=each.source)
        if each.kind == "bearer" and given_by_flow
        else each
        for name, each in read.items()
    }


def security_of(
    spec: Mapping[str, Any],
    path: str,
    method: str,
    *,
    discovered: Mapping[str, Mapping[str, Any]] | None = None,
) -> Security:
    """What an operation needs: its own ``security``, else that of the whole description.

    Args:
        path: as in the description, ``"/pets/{id}"``.
        method: ``"get"``.

    Raises:
        DefinitionError: there is no such operation, or it names a scheme that there is not.
    """
    known = schemes(spec, discovered=discovered)
    paths = _dict(spec.get("paths"), "paths")
    if path not in paths:
        raise DefinitionError(f"there is no path {path!r}; there are {', '.join(map(str, list(paths)[:20])) or 'none'}")
    item = _resolved(spec, paths[path], f"paths.{path}")
    word = str(method).lower()
    if word not in _METHODS or word not in item:
        there = ", ".join(each for each in item if each in _METHODS)
        raise DefinitionError(f"{path} has no operation {method!r}; it has {there or 'none'}")
    operation = _dict(item[word], f"{method} {path}")
    listed = operation["security"] if operation.get("security") is not None else spec.get("security")
    if listed is None:
        return ()
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise DefinitionError(f"security of {method} {path} is a list, not {listed!r:.100}")
    return tuple(_alternative(known, each, f"{method} {path}") for each in listed)


def flows_of_discovery(document: Mapping[str, Any]) -> tuple[OAuthFlow, ...]:
    """The flows that an OpenID provider offers, by what is at its discovery address."""
    known = _dict(document, "the discovery document")
    grants = known.get("grant_types_supported") or ["authorization_code", "implicit"]  # what the standard says
    scopes = {str(scope): "" for scope in known.get("scopes_supported") or ()}
    return tuple(
        OAuthFlow(
            _GRANTS[grant],
            _text(known.get("authorization_endpoint")) if grant in ("authorization_code", "implicit") else None,
            None if grant == "implicit" else _text(known.get("token_endpoint")),
            device_url=_text(known.get("device_authorization_endpoint")) if "device" in grant else None,
            scopes=scopes,
        )
        for grant in grants
        if grant in _GRANTS
    )


def service_client(scheme: Scheme) -> dict[str, Any]:
    """What ``ctx.service_client(name, **service_client(scheme))`` takes of a scheme.

    Raises:
        DefinitionError: the scheme cannot be met here.
    """
    if scheme.auth_type is None:
        raise DefinitionError(f"the scheme {scheme.name!r} ({scheme.source.get('type')}) is not supported")
    schema: dict[str, Any]
    if scheme.auth_type == "oauth2":
        schema = {"type": "oauth2", "flows": {flow.kind: _flow_source(flow) for flow in scheme.flows}}
        if scheme.discovery_url is not None:
            schema = {**schema, "type": "openIdConnect", "openIdConnectUrl": scheme.discovery_url}
    elif scheme.kind == "apiKey":
        schema = {"type": "apiKey", "in": scheme.place, "name": scheme.parameter}
    else:
        schema = {"type": "http", "scheme": scheme.kind}
    return {"auth": scheme.auth_type, "security_schema": schema}


def _flow_source(flow: OAuthFlow) -> dict[str, Any]:
    urls = {
        "authorizationUrl": flow.authorization_url, "tokenUrl": flow.token_url, "refreshUrl": flow.refresh_url,
        "deviceAuthorizationUrl": flow.device_url,
    }  # fmt: skip
    return {**{word: url for word, url in urls.items() if url}, "scopes": dict(flow.scopes)}


def _scheme(name: str, source: Mapping[str, Any], discovered: Mapping[str, Mapping[str, Any]]) -> Scheme:
    kind, http = source.get("type"), str(source.get("scheme", "")).lower()
    if kind == "apiKey":
        place, parameter = source.get("in"), source.get("name")
        if place not in ("header", "query", "cookie") or not isinstance(parameter, str) or not parameter:
            raise DefinitionError(
                f"the scheme {name!r}: an apiKey has a name and is in header, query or cookie, not in {place!r}"
            )
        return Scheme(name, "apiKey", "api_key", place, parameter, source=source)
    if kind == "basic" or (kind == "http" and http == "basic"):
        return Scheme(name, "basic", "basic", source=source)
    if kind == "http" and http == "bearer":
        return Scheme(name, "bearer", "api_key", source=source)
    if kind == "oauth2":
        return Scheme(name, "oauth2", "oauth2", flows=_flows(name, source), source=source)
    if kind == "openIdConnect":
        url = source.get("openIdConnectUrl")
        if not isinstance(url, str) or not url:
            raise DefinitionError(f"the scheme {name!r} has no openIdConnectUrl")
        flows = flows_of_discovery(discovered[url]) if url in discovered else ()
        return Scheme(name, "openIdConnect", "oauth2", flows=flows, discovery_url=url, source=source)
    if not isinstance(kind, str):
        raise DefinitionError(f"the scheme {name!r} has no type")
    return Scheme(name, "other", None, source=source)


def _flows(name: str, source: Mapping[str, Any]) -> tuple[OAuthFlow, ...]:
    listed = source.get("flows")
    if listed is None and "flow" in source:  # Swagger 2 has one, beside the rest
        listed = {source["flow"]: source}
    found = []
    for word, flow in _dict(listed, f"flows of {name!r}").items():
        kind = _FLOWS.get(word, word)
        if str(word).startswith("x-"):
            continue
        if kind not in _KNOWN:
            raise DefinitionError(f"the scheme {name!r} has a flow {word!r}; there are {', '.join(_KNOWN)}")
        flow = _dict(flow, f"the flow {word} of {name!r}")
        found.append(
            OAuthFlow(
                kind,
                _text(flow.get("authorizationUrl")),
                _text(flow.get("tokenUrl")),
                _text(flow.get("refreshUrl")),
                _text(flow.get("deviceAuthorizationUrl")),
                {str(k): str(v) for k, v in _dict(flow.get("scopes"), f"scopes of {name!r}").items()},
            )
        )
    return tuple(found)


def _alternative(known: Mapping[str, Scheme], listed: object, where: str) -> tuple[Requirement, ...]:
    found = []
    for name, scopes in _dict(listed, f"security of {where}").items():
        if name not in known:
            raise DefinitionError(
                f"security of {where} names the scheme {name!r}, which the description does not have; it has "
                f"{', '.join(known) or 'none'}"
            )
        if not isinstance(scopes, Sequence) or isinstance(scopes, str):
            raise DefinitionError(f"security of {where}: the scopes of {name!r} are a list, not {scopes!r:.100}")
        found.append(Requirement(known[name], tuple(map(str, scopes))))
    return tuple(found)


def _resolved(spec: Mapping[str, Any], value: Any, where: str) -> Mapping[str, Any]:
    """What a local ``$ref`` leads to."""
    for _ in range(_DEEPEST):
        found = _dict(value, where)
        target = found.get("$ref")
        if target is None:
            return found
        if not isinstance(target, str) or not target.startswith("#/"):
            raise DefinitionError(f"{where} refers to {target!r}, outside of the description; put it into it")
        value = spec
        for part in target[2:].split("/"):
            value = _dict(value, where).get(part.replace("~1", "/").replace("~0", "~"))
    raise DefinitionError(f"{where} refers to itself")


def _dict(value: object, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise DefinitionError(f"{where} is an object, not {value!r:.100}")
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


# --- meeting it -------------------------------------------------------------------------------------------


def choose(
    security: Security, credentials: Mapping[str, str | Secret | tuple[str, str | Secret] | Credential]
) -> tuple[Requirement, ...]:
    """The first of the alternatives that the credentials meet; one without credentials only if no other one does.

    Raises:
        MissingScopeError: there are credentials, and they may not do it; with what the nearest alternative lacks.
        DefinitionError: there are none; the message says what would do.
    """
    if not security:
        return ()
    lacking: list[list[str]] = []
    for alternative in (each for each in security if each):
        if not all(need.scheme.kind != "other" and need.scheme.name in credentials for need in alternative):
            continue
        missing = [scope for need in alternative for scope in _missing(need, _credential(credentials, need.scheme))]
        if not missing:
            return alternative
        lacking.append(list(dict.fromkeys(missing)))
    if () in security:
        return ()
    if lacking:
        nearest = min(lacking, key=len)
        raise MissingScopeError(f"the operation needs the scopes {', '.join(nearest)}; nothing was sent", nearest)
    ways = "; or ".join(" and ".join(need.scheme.name for need in each) for each in security)
    raise DefinitionError(f"the operation needs credentials for {ways}; there are some for {_names(credentials)}")


def apply(
    request: httpx.Request,
    security: Security,
    credentials: Mapping[str, str | Secret | tuple[str, str | Secret] | Credential],
) -> httpx.Request:
    """A request like *request* with the credentials that the operation needs, where it needs them.

    Args:
        request: is not changed.
        security: from `security_of`.
        credentials: by the names of schemes: a key or token, ``(username, password)``, or a `Credential`.

    Raises:
        MissingScopeError, DefinitionError: see `choose`; a value that cannot stand in a header or cookie.
    """
    import httpx

    chosen = choose(security, credentials)
    made = httpx.Request(request.method, request.url, headers=request.headers, stream=request.stream)
    made.extensions = dict(request.extensions)
    if hasattr(request, "_content"):
        made.read()
    for need in chosen:
        scheme, value = need.scheme, _credential(credentials, need.scheme).value
        if scheme.kind == "basic":
            if not isinstance(value, tuple) or len(value) != 2:
                raise DefinitionError(f"the credential for {scheme.name!r} is (username, password)")
            put_basic(made, value[0], _plain(scheme, value[1]))
        elif scheme.kind == "apiKey" and scheme.place is not None and scheme.parameter is not None:
            put_key(made, scheme.place, scheme.parameter, _plain(scheme, value))
        else:
            put_bearer(made, _plain(scheme, value))
    return made


def _missing(need: Requirement, credential: Credential) -> list[str]:
    # of API keys and passwords a description lists roles, which nobody can compare with anything
    if credential.scopes is None or need.scheme.kind in ("apiKey", "basic"):
        return []
    return [scope for scope in need.scopes if scope not in credential.scopes]


def _credential(credentials: Mapping[str, Any], scheme: Scheme) -> Credential:
    found = credentials[scheme.name]
    return found if isinstance(found, Credential) else Credential(found)


def _plain(scheme: Scheme, value: object) -> str:
    text = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(text, str):
        raise DefinitionError(f"the credential for {scheme.name!r} is a text or a df.Secret, not {type(text).__name__}")
    return text


def _names(credentials: Mapping[str, Any]) -> str:
    return ", ".join(map(str, credentials)) or "none"
