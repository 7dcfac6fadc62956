"""Security of descriptions, in both languages, and how requests meet it."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

import dataflows_sdk as df
from dataflows_integrations.openapi_security import (
    Credential,
    Requirement,
    apply,
    choose,
    flows_of_discovery,
    schemes,
    security_of,
    service_client,
)
from dataflows_sdk.errors import DefinitionError, MissingScopeError

DISCOVERY = "https://login.example.org/.well-known/openid-configuration"

#: in the manner of the descriptions that large providers publish
PETS: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "1"},
    "security": [{"oauth": ["read"]}],
    "paths": {
        "/pets": {
            "get": {"operationId": "list"},
            "post": {"security": [{"oauth": ["read", "write"]}, {"key": [], "basic": []}]},
            "delete": {"security": []},
            "put": {"security": [{}, {"key": []}]},
            "patch": {"security": [{"digest": []}, {"cookie": []}]},
            "head": {"security": [{"nobody": []}]},
            "options": {"security": [{"oidc": ["email"]}]},
        },
        "/maps": {"get": {"security": [{"query": []}]}, "post": {"security": [{"token": ["admin"]}]}},
        "/shared": {"$ref": "#/components/pathItems/Shared"},
    },
    "components": {
        "pathItems": {"Shared": {"get": {"security": [{"aliased": []}]}}},
        "securitySchemes": {
            "oauth": {
                "type": "oauth2",
                "flows": {
                    "authorizationCode": {
                        "authorizationUrl": "https://x.test/authorize", "tokenUrl": "https://x.test/token",
                        "refreshUrl": "https://x.test/refresh", "scopes": {"read": "Read", "write": "Write"},
                    },
                    "clientCredentials": {"tokenUrl": "https://x.test/token", "scopes": {}},
                    "password": {"tokenUrl": "https://x.test/token", "scopes": {}},
                    "implicit": {"authorizationUrl": "https://x.test/authorize", "scopes": {}},
                    "deviceCode": {"deviceAuthorizationUrl": "https://x.test/device", "tokenUrl": "https://x.test/t"},
                    "x-more": 7,
                },
            },
            "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            "query": {"type": "apiKey", "in": "query", "name": "key"},
            "cookie": {"type": "apiKey", "in": "cookie", "name": "session"},
            "basic": {"type": "http", "scheme": "Basic"},
            "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "digest": {"type": "http", "scheme": "digest"},
            "tls": {"type": "mutualTLS"},
            "oidc": {"type": "openIdConnect", "openIdConnectUrl": DISCOVERY},
            "aliased": {"$ref": "#/components/securitySchemes/key"},
        },
    },
}  # fmt: skip

OLD: dict[str, Any] = {
    "swagger": "2.0",
    "securityDefinitions": {
        "petstore_auth": {
            "type": "oauth2", "flow": "accessCode", "authorizationUrl": "https://old.test/dialog",
            "tokenUrl": "https://old.test/token", "scopes": {"write:pets": "modify", "read:pets": "read"},
        },
        "machine": {"type": "oauth2", "flow": "application", "tokenUrl": "https://old.test/token", "scopes": {}},
        "api_key": {"type": "apiKey", "name": "api_key", "in": "header"},
        "login": {"type": "basic"},
    },
    "security": [{"api_key": []}],
    "paths": {
        "/pet": {"post": {"security": [{"petstore_auth": ["write:pets", "read:pets"]}]}, "get": {}},
        "/login": {"get": {"security": [{"login": []}]}},
    },
}  # fmt: skip


def asked(spec: Any, path: str, method: str, credentials: Any, url: str = "https://x.test/a?b=1") -> httpx.Request:
    request = httpx.Request(method, url, headers={"Cookie": "theme=dark; session=old"})
    before = (str(request.url), dict(request.headers))
    made = apply(request, security_of(spec, path, method), credentials)
    assert (str(request.url), dict(request.headers)) == before
    return made


def test_schemes_of_openapi_3() -> None:
    found = schemes(PETS)
    assert {name: (each.kind, each.auth_type) for name, each in found.items()} == {
        "oauth": ("oauth2", "oauth2"), "key": ("apiKey", "api_key"), "query": ("apiKey", "api_key"),
        "cookie": ("apiKey", "api_key"), "basic": ("basic", "basic"), "token": ("bearer", "oauth2"),
        "digest": ("other", None), "tls": ("other", None), "oidc": ("openIdConnect", "oauth2"),
        "aliased": ("apiKey", "api_key"),
    }  # fmt: skip
    flows = {flow.kind: flow for flow in found["oauth"].flows}
    assert set(flows) == {"authorizationCode", "clientCredentials", "password", "implicit", "deviceAuthorization"}
    code = flows["authorizationCode"]
    assert (code.authorization_url, code.token_url, code.refresh_url, dict(code.scopes)) == (
        "https://x.test/authorize", "https://x.test/token", "https://x.test/refresh",
        {"read": "Read", "write": "Write"},
    )  # fmt: skip
    assert flows["deviceAuthorization"].device_url == "https://x.test/device"
    assert found["token"].flows == found["oauth"].flows
    assert found["oidc"].discovery_url == DISCOVERY


def test_a_bearer_token_without_a_flow_is_a_key() -> None:
    only = {"openapi": "3.0.3", "components": {"securitySchemes": {"token": {"type": "http", "scheme": "Bearer"}}}}
    assert schemes(only)["token"].auth_type == "api_key"


def test_schemes_of_swagger_2() -> None:
    found = schemes(OLD)
    assert [(each.kind, each.auth_type) for each in found.values()] == [
        ("oauth2", "oauth2"), ("oauth2", "oauth2"), ("apiKey", "api_key"), ("basic", "basic"),
    ]  # fmt: skip
    assert [flow.kind for name in ("petstore_auth", "machine") for flow in found[name].flows] == [
        "authorizationCode", "clientCredentials",
    ]  # fmt: skip
    assert found["petstore_auth"].flows[0].token_url == "https://old.test/token"


def test_openid_connect_is_data() -> None:
    document = {
        "authorization_endpoint": "https://login.test/a", "token_endpoint": "https://login.test/t",
        "device_authorization_endpoint": "https://login.test/d", "scopes_supported": ["openid", "email"],
        "grant_types_supported": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code", "magic"],
    }  # fmt: skip
    flows = schemes(PETS, discovered={DISCOVERY: document})["oidc"].flows
    assert flows == flows_of_discovery(document)
    assert [(each.kind, each.authorization_url, each.token_url, each.device_url) for each in flows] == [
        ("authorizationCode", "https://login.test/a", "https://login.test/t", None),
        ("deviceAuthorization", None, "https://login.test/t", "https://login.test/d"),
    ]
    assert [each.kind for each in flows_of_discovery({})] == ["authorizationCode", "implicit"]


def test_the_operation_comes_before_the_whole() -> None:
    found = schemes(PETS)
    assert security_of(PETS, "/pets", "GET") == ((Requirement(found["oauth"], ("read",)),),)
    assert security_of(PETS, "/pets", "delete") == ()
    assert security_of(PETS, "/pets", "post") == (
        (Requirement(found["oauth"], ("read", "write")),), (Requirement(found["key"]), Requirement(found["basic"])),
    )  # fmt: skip
    assert security_of(PETS, "/shared", "get") == ((Requirement(found["aliased"]),),)
    assert security_of({**PETS, "security": None}, "/pets", "get") == ()
    assert security_of(OLD, "/pet", "get")[0][0].scheme.name == "api_key"


def test_a_key_in_the_query_is_in_the_query_only() -> None:
    made = asked(PETS, "/maps", "get", {"query": "k&y=1 ü"})
    assert dict(made.url.params) == {"b": "1", "key": "k&y=1 ü"}
    assert "authorization" not in made.headers
    assert not any("k&y" in value for value in made.headers.values())
    twice = asked(PETS, "/maps", "get", {"query": "new"}, "https://x.test/?key=old")
    assert str(twice.url) == "https://x.test/?key=new"


def test_a_key_in_header_and_cookie() -> None:
    made = asked(OLD, "/pet", "get", {"api_key": df.Secret("abc-123-key")})
    assert made.headers["api_key"] == "abc-123-key"
    made = asked(PETS, "/pets", "patch", {"cookie": "new", "digest": "x"})
    assert made.headers["cookie"] == "theme=dark; session=new"


def test_basic_and_bearer() -> None:
    made = asked(OLD, "/login", "get", {"login": ("ann", df.Secret("pä:ss"))})
    assert base64.b64decode(made.headers["authorization"].removeprefix("Basic ")).decode() == "ann:pä:ss"
    assert asked(PETS, "/pets", "get", {"oauth": "tok"}).headers["authorization"] == "Bearer tok"
    assert asked(PETS, "/maps", "post", {"token": "tok"}).headers["authorization"] == "Bearer tok"


def test_all_of_one_or_another() -> None:
    both = asked(PETS, "/pets", "post", {"key": "k1", "basic": ("a", "b")})
    assert both.headers["x-api-key"] == "k1"
    assert both.headers["authorization"].startswith("Basic ")
    first = asked(PETS, "/pets", "post", {"key": "k1", "basic": ("a", "b"), "oauth": "tok"})
    assert first.headers["authorization"] == "Bearer tok"
    assert "x-api-key" not in first.headers
    with pytest.raises(DefinitionError, match="oauth; or key and basic; there are some for key"):
        asked(PETS, "/pets", "post", {"key": "k1"})


def test_none_is_the_last_resort() -> None:
    assert "x-api-key" in asked(PETS, "/pets", "put", {"key": "k1"}).headers
    assert "x-api-key" not in asked(PETS, "/pets", "put", {}).headers
    assert "authorization" not in asked(PETS, "/pets", "delete", {"oauth": "tok"}).headers


def test_scopes_are_compared_before_anything_is_sent() -> None:
    few = Credential("tok", scopes=["read"])
    with pytest.raises(MissingScopeError) as refused:
        asked(PETS, "/pets", "post", {"oauth": few})
    assert refused.value.missing == ["write"]
    other = asked(PETS, "/pets", "post", {"oauth": few, "key": "k", "basic": ("a", "b")})
    assert other.headers["x-api-key"] == "k", "another way does without"
    assert asked(PETS, "/pets", "post", {"oauth": Credential("tok")}).headers["authorization"] == "Bearer tok"
    assert "tok" not in repr(few)


def test_the_body_comes_along() -> None:
    request = httpx.Request("POST", "https://x.test/pets", json={"name": "Rex"}, extensions={"timeout": {"read": 3}})
    made = apply(request, security_of(PETS, "/pets", "post"), {"oauth": "tok"})
    assert made.content == request.content
    assert made.headers["content-type"] == "application/json"
    assert made.extensions["timeout"] == {"read": 3}


@pytest.mark.parametrize(
    ("spec", "path", "method", "message"),
    [
        ({}, "/", "get", "neither openapi"), (7, "/", "get", "a dict"), ({"openapi": "3.0.0"}, "/", "get", "no path"),
        (PETS, "/pets", "trace", "no operation"), (PETS, "/pets", "$ref", "no operation"),
        (PETS, "/pets", "head", "'nobody'"),
        ({"openapi": "3.0.0", "components": {"securitySchemes": {"k": {"type": "apiKey", "in": "body", "name": "x"}}}},
         "/", "get", "not in 'body'"),
        ({"openapi": "3.0.0", "components": {"securitySchemes": {"k": {}}}}, "/", "get", "no type"),
        ({"openapi": "3.0.0", "components": {"securitySchemes": {"k": {"type": "openIdConnect"}}}}, "/", "get",
         "openIdConnectUrl"),
        ({"openapi": "3.0.0", "components": {"securitySchemes": {"k": {"type": "oauth2", "flows": {"magic": {}}}}}},
         "/", "get", "magic"),
        ({"openapi": "3.0.0", "components": {"securitySchemes": {"k": {"$ref": "#/components/securitySchemes/k"}}}},
         "/", "get", "itself"),
        ({"openapi": "3.0.0", "components": {"securitySchemes": {"k": {"$ref": "other.yaml"}}}}, "/", "get", "outside"),
        ({"openapi": "3.0.0", "components": {"securitySchemes": [1]}}, "/", "get", "is an object"),
        ({"openapi": "3.0.0", "security": "k", "paths": {"/": {"get": {}}}}, "/", "get", "is a list"),
        ({**PETS, "security": [{"key": "read"}]}, "/pets", "get", "are a list"),
    ],
)  # fmt: skip
def test_bad_descriptions_are_told(spec: Any, path: str, method: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message.replace("$", r"\$")):
        security_of(spec, path, method)


@pytest.mark.parametrize(
    ("path", "method", "credentials"),
    [
        ("/pets", "get", {"oauth": "a\r\nX: y"}), ("/pets", "get", {"oauth": "schlüssel"}),
        ("/pets", "get", {"oauth": 7}),
        ("/pets", "patch", {"cookie": "a;b"}), ("/pets", "put", {"key": "a\0secret"}),
    ],
)  # fmt: skip
def test_values_that_fit_nowhere_are_refused_without_being_shown(path: str, method: str, credentials: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        asked(PETS, path, method, credentials)
    assert not any(isinstance(v, str) and v in str(refused.value) for v in credentials.values())


def test_a_user_name_with_a_colon_is_refused() -> None:
    with pytest.raises(DefinitionError, match="colon"):
        asked(OLD, "/login", "get", {"login": ("a:b", "c")})
    with pytest.raises(DefinitionError, match="username, password"):
        asked(OLD, "/login", "get", {"login": "ann"})


def test_choosing_is_pure() -> None:
    needed = security_of(PETS, "/pets", "post")
    assert choose(needed, {"oauth": "t"}) == needed[0]
    assert choose((), {}) == ()


def test_a_scheme_becomes_a_service_client(ctx: df.Context) -> None:
    for name in ("oauth", "key", "query", "cookie", "basic", "token", "oidc"):
        given = service_client(schemes(PETS)[name])
        made = ctx.service_client(name, **given)
        assert made.auth_type == schemes(PETS)[name].auth_type
        assert made.security_schema["type"] == given["security_schema"]["type"]
    assert ctx.service_clients.get("oauth").security_schema["flows"]["authorizationCode"]["refreshUrl"] == (
        "https://x.test/refresh"
    )
    with pytest.raises(DefinitionError, match="digest"):
        service_client(schemes(PETS)["digest"])
