"""Which addresses may be called, without calling any."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_sdk.errors import DefinitionError, EgressDeniedError, NonRetryableError
from dataflows_sdk.nodes.egress import EgressPolicy
from dataflows_sdk.nodes.egress_ranges import embedded_ipv4, numeric_host, why_not_public
from dataflows_sdk.nodes.egress_url import shown_url

PUBLIC = "93.184.216.34"


def resolving(*answers: Sequence[str]) -> tuple[Any, list[str]]:
    """A resolver that gives these answers one after the other (the last one for ever), and what it was asked."""
    asked: list[str] = []

    async def resolver(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return resolver, asked


async def no_resolver(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host} was looked up")


def code_of(url: Any, policy: EgressPolicy | None = None) -> str:
    policy = policy if policy is not None else EgressPolicy(resolver=resolving([PUBLIC])[0])
    try:
        asyncio.run(policy.check(url))
    except EgressDeniedError as error:
        return error.code
    return "permitted"


# --- what is denied by default ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        # spellings of 127.0.0.1
        "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0X7F.0.0.1", "0177.0.0.1",
        "017700000001", "0177.1",
        "127.0.0.1.", "127.1.", "0x7F.0x0.0.01", "127。0。0。1", "000000000177.1",
        "127.255.255.254",
        # private, link-local, metadata
        "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "0xa9fea9fe",
        "2852039166", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16",
        # unspecified, carrier NAT, reserved, multicast, broadcast
        "0.0.0.0", "0", "0x0", "0.1.2.3", "100.64.0.1", "100.127.255.255", "192.0.2.1", "198.18.0.1", "198.51.100.7",
        "203.0.113.7", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "4294967295",
        # IPv6
        "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]",
        "[2001:db8::1]", "[3fff::1]", "[100::1]", "[5f00::1]", "[4000::1]", "[2001:20::1]", "[2001:2::1]",
        # IPv4 within IPv6: mapped, compatible, translated, NAT64, 6to4, Teredo
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:169.254.169.254]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::169.254.169.254]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]",
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]", f"[::ffff:{PUBLIC}]", f"[64:ff9b::{PUBLIC}]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_addresses_that_are_not_public(scheme: str, host: str) -> None:
    assert code_of(f"{scheme}://{host}/", EgressPolicy(resolver=no_resolver)) == "denied_ip"
    assert code_of(f"{scheme}://{host}:8080/x?y=z#f", EgressPolicy(resolver=no_resolver)) == "denied_ip"


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "localhost.", "a.localhost", "a.b.localhost.", "localhost.localdomain", "metadata",
        "metadata.google.internal", "Metadata.Google.Internal.", "db.internal", "internal", "printer.local", "nas.lan",
        "router.home.arpa", "ip6-localhost", "kubernetes.default.svc", "api.default.svc.cluster.local", "instance-data",
    ],
)  # fmt: skip
def test_names_of_private_networks(host: str) -> None:
    assert code_of(f"http://{host}/", EgressPolicy(resolver=no_resolver)) == "denied_hostname"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "invalid_url"),
        ("example.com", "invalid_url"),
        ("/path", "invalid_url"),
        ("//example.com/", "invalid_url"),
        ("http://", "invalid_url"),
        ("http:///etc/passwd", "invalid_url"),
        ("http:127.0.0.1/", "invalid_url"),
        ("http://user:secret@example.com/", "invalid_url"),
        ("http://user@example.com/", "invalid_url"),
        ("http://example.com@127.0.0.1/", "invalid_url"),
        ("http://127.0.0.1\\@example.com/", "invalid_url"),
        ("http://example.com:0/", "invalid_url"),
        ("http://example.com:65536/", "invalid_url"),
        ("http://example.com:-1/", "invalid_url"),
        ("http://example.com:http/", "invalid_url"),
        ("http://exa mple.com/", "invalid_url"),
        ("http://example.com\r\nX: y/", "invalid_url"),
        ("http://example.com/\0", "invalid_url"),
        ("http://ex%00ample.com/", "invalid_url"),
        ("http://%31%32%37.0.0.1/", "invalid_url"),
        ("http://１２７.0.0.1/", "invalid_url"),
        ("http://①②⑦.0.0.1/", "invalid_url"),
        ("http://ｌｏｃａｌｈｏｓｔ/", "invalid_url"),
        ("http://a..example.com/", "invalid_url"),
        ("http://.example.com/", "invalid_url"),
        ("http://-a.example.com/", "invalid_url"),
        (f"http://{'a' * 64}.com/", "invalid_url"),
        (f"http://{'a.' * 127}com/", "invalid_url"),
        ("http://256.1.1.1/", "invalid_url"),
        ("http://1.2.3.4.5/", "invalid_url"),
        ("http://1.2.3.256/", "invalid_url"),
        ("http://4294967296/", "invalid_url"),
        ("http://09.1/", "invalid_url"),
        ("http://127.0.0.0x100000000/", "invalid_url"),
        ("http://a.1/", "invalid_url"),
        ("http://a.0x1/", "invalid_url"),
        ("http://[::1/", "invalid_url"),
        ("http://[fe80::1%25eth0]/", "invalid_url"),
        ("http://[::ffff:999.1.1.1]/", "invalid_url"),
        ("http://[example.com]/", "invalid_url"),
        ("http://example.com/" + "a" * 9000, "invalid_url"),
        (None, "invalid_url"),
        (7, "invalid_url"),
        (b"http://example.com/", "invalid_url"),
        ("ftp://example.com/", "invalid_scheme"),
        ("file:///etc/passwd", "invalid_scheme"),
        ("gopher://127.0.0.1:6379/_x", "invalid_scheme"),
        ("ws://example.com/", "invalid_scheme"),
        ("javascript:alert(1)", "invalid_scheme"),
        ("data:text/plain,x", "invalid_scheme"),
    ],
)
def test_what_is_no_url_to_call(url: Any, code: str) -> None:
    assert code_of(url, EgressPolicy(resolver=no_resolver)) == code


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com", "https://example.com/", "HTTPS://EXAMPLE.COM:8443/a?b=c#d", "http://example.com./",
        "http://bücher.example/", "http://xn--bcher-kva.example/", f"http://{PUBLIC}/", "http://8.8.8.8/", "http://134744072/",
        "https://[2606:4700::1111]/", "http://exa_mple.com/", "http://internal.example.com/", "http://mylocalhost/",
        "http://172.32.0.1/", "http://100.128.0.1/", "http://11.0.0.1/", "http://1e100.net/", "http://0xg.example/", "http://@example.com/",
    ],
)  # fmt: skip
def test_public_addresses(url: str) -> None:
    assert code_of(url) == "permitted"


@given(st.ip_addresses(v=4))
def test_a_public_ipv4_address_is_public_for_python_too(address: ipaddress.IPv4Address) -> None:
    if why_not_public(address) is None:
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_a_public_ipv6_address_is_global_unicast(address: ipaddress.IPv6Address) -> None:
    if why_not_public(address) is None:
        assert address in ipaddress.ip_network("2000::/3")
        assert embedded_ipv4(address) is None


@given(
    st.ip_addresses(v=4),
    st.integers(1, 4),
    st.lists(st.sampled_from(["%d", "0%o", "0x%x", "0X%X"]), min_size=4, max_size=4),
)
def test_every_spelling_of_an_address_is_that_address(
    address: ipaddress.IPv4Address, count: int, forms: list[str]
) -> None:
    octets = list(address.packed)
    values = [*octets[: count - 1], int.from_bytes(address.packed[count - 1 :], "big")]
    host = ".".join(form % value for form, value in zip(forms, values, strict=False))
    assert numeric_host(host) == address
    assert socket.inet_aton(host) == address.packed, "the system reads it in the same way"


@given(st.text(max_size=30))
def test_any_text_is_permitted_or_denied_and_nothing_else_happens(text: str) -> None:
    for url in (text, f"http://{text}/", f"http://example.com{text}"):
        assert code_of(url) in {
            "permitted", "invalid_url", "invalid_scheme", "denied_hostname", "denied_ip",
        }  # fmt: skip


# --- names and their addresses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        [PUBLIC, "10.0.0.1"],
        ["10.0.0.1", PUBLIC],
        ["2606:4700::1111", "::1"],
        [PUBLIC, "fe80::1%eth0"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["64:ff9b::a9fe:a9fe"],
        ["2002:7f00:1::"],
        ["169.254.169.254"],
        ["0.0.0.0"],
    ],
)
def test_one_private_answer_denies_the_name(answers: list[str]) -> None:
    resolver, _ = resolving(answers)
    assert code_of("https://rebind.example.com/", EgressPolicy(resolver=resolver)) == "denied_dns"


def test_public_answers_are_given_back() -> None:
    resolver, asked = resolving([PUBLIC, "2606:4700::1111", PUBLIC, f"64:ff9b::{PUBLIC}"])
    target, addresses = asyncio.run(EgressPolicy(resolver=resolver).check("https://Bücher.Example./x"))
    assert (target.scheme, target.host, target.port, target.address) == ("https", "xn--bcher-kva.example", 443, None)
    assert [str(address) for address in addresses] == [PUBLIC, "2606:4700::1111", "64:ff9b::5db8:d822"]
    assert asked == ["xn--bcher-kva.example"]


def test_names_that_lead_nowhere() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert code_of("http://nowhere.example.com/", EgressPolicy(resolver=unknown)) == "dns_resolution_failed"
    for answers in ([], ["no address"], [""]):
        policy = EgressPolicy(resolver=resolving(answers)[0])
        assert code_of("http://nowhere.example.com/", policy) == "dns_resolution_failed"
    # the system's own resolver: nobody answers for .invalid, with a network or without
    assert code_of("http://nowhere.invalid/", EgressPolicy()) == "dns_resolution_failed"


def test_the_resolver_of_the_system_is_checked_too() -> None:
    """A name of /etc/hosts for this machine."""
    policy = EgressPolicy(allow=["localhost"])
    _, addresses = asyncio.run(policy.check("http://localhost:1234/"))
    assert "127.0.0.1" in map(str, addresses)
    assert all(address.is_loopback for address in addresses)


# --- the lists --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allow", "url", "code"),
    [
        (["127.0.0.1"], "http://127.0.0.1:8080/", "permitted"),
        (["127.0.0.1"], "http://127.1/", "permitted"),
        (["127.0.0.1"], "http://127.0.0.2/", "denied_ip"),
        (["127.0.0.1"], "http://[::ffff:127.0.0.1]/", "denied_ip"),
        (["127.0.0.1"], "http://localhost/", "denied_hostname"),
        (["0x7f.1"], "http://127.0.0.1/", "permitted"),
        (["127.0.0.1:8080"], "http://127.0.0.1:8080/", "permitted"),
        (["127.0.0.1:8080"], "http://127.0.0.1:8081/", "denied_ip"),
        (["10.0.0.0/8"], "http://10.2.3.4/", "permitted"),
        (["10.0.0.0/8"], "http://11.2.3.4/", "permitted"),
        (["10.0.0.0/8"], "http://192.168.0.1/", "denied_ip"),
        (["10.0.0.0/8:80"], "http://10.2.3.4:81/", "denied_ip"),
        (["::1"], "http://[::1]/", "permitted"),
        (["[::1]:8080"], "http://[::1]:8080/", "permitted"),
        (["[::1]:8080"], "http://[::1]/", "denied_ip"),
        (["fd00::/8"], "http://[fd12::1]/", "permitted"),
        (["DB.internal."], "http://db.internal/", "permitted"),
        (["db.internal:5000"], "http://db.internal:5000/", "permitted"),
        (["db.internal:5000"], "http://db.internal/", "denied_hostname"),
        (["*.internal"], "http://a.b.internal/", "permitted"),
        (["*.internal"], "http://internal/", "denied_hostname"),
        (["*.internal"], "http://xinternal/", "denied_dns"),
        (["*.bücher.local"], "http://a.xn--bcher-kva.local/", "permitted"),
        (["intranet.example.com"], "http://intranet.example.com/", "permitted"),
        (["intranet.example.com"], "http://other.example.com/", "denied_dns"),
        (["10.0.0.0/8"], "http://other.example.com/", "permitted"),
        (["*"], "http://127.0.0.1/", "permitted"),
        (["*"], "http://localhost/", "permitted"),
    ],
)
def test_allow(allow: list[str], url: str, code: str) -> None:
    resolver, _ = resolving(["10.0.0.9"])
    assert code_of(url, EgressPolicy(allow, resolver=resolver)) == code


@pytest.mark.parametrize(
    ("deny", "url", "code"),
    [
        (["example.com"], "http://example.com/", "denied_hostname"),
        (["example.com"], "http://EXAMPLE.com./", "denied_hostname"),
        (["example.com"], "http://www.example.com/", "permitted"),
        (["*.example.com"], "http://www.example.com/", "denied_hostname"),
        (["example.com:25"], "http://example.com:25/", "denied_hostname"),
        (["example.com:25"], "http://example.com/", "permitted"),
        ([PUBLIC], f"http://{PUBLIC}/", "denied_ip"),
        ([PUBLIC], f"http://[::ffff:{PUBLIC}]/", "denied_ip"),
        ([PUBLIC], "http://example.com/", "denied_dns"),
        (["93.184.0.0/16"], "http://example.com/", "denied_dns"),
        (["*"], "http://example.com/", "denied_hostname"),
        (["*"], f"http://{PUBLIC}/", "denied_ip"),
    ],
)
def test_deny_wins(deny: list[str], url: str, code: str) -> None:
    for allow in ([], ["*"], ["example.com", "0.0.0.0/0", "::/0"]):
        assert code_of(url, EgressPolicy(allow, deny, resolver=resolving([PUBLIC])[0])) == code


@pytest.mark.parametrize(
    ("only", "allow", "url", "code"),
    [
        (["api.example.com"], [], "https://api.example.com/", "permitted"),
        (["api.example.com"], [], "https://example.com/", "allowlist_miss"),
        (["api.example.com"], [], f"https://{PUBLIC}/", "allowlist_miss"),
        (["api.example.com"], ["10.0.0.1"], "http://10.0.0.1/", "allowlist_miss"),
        (["10.0.0.1"], [], "http://10.0.0.1/", "denied_ip"),
        (["10.0.0.1"], ["10.0.0.1"], "http://10.0.0.1/", "permitted"),
        (["db.internal"], [], "http://db.internal/", "denied_hostname"),
        (["db.internal"], ["db.internal"], "http://db.internal/", "permitted"),
        (["api.example.com:443"], [], "https://api.example.com:8443/", "allowlist_miss"),
        (["93.184.0.0/16"], [], "https://any.example.com/", "permitted"),
        (["94.0.0.0/8"], [], "https://any.example.com/", "allowlist_miss"),
        ([], [], "https://example.com/", "allowlist_miss"),
    ],
)
def test_only(only: list[str], allow: list[str], url: str, code: str) -> None:
    assert code_of(url, EgressPolicy(allow, only=only, resolver=resolving([PUBLIC])[0])) == code


def test_ports() -> None:
    policy = EgressPolicy(
        ["127.0.0.1:9000", "10.0.0.0/8", "db.internal:5000"], ports=[443, 80], resolver=resolving([PUBLIC])[0]
    )
    assert code_of("https://example.com/", policy) == "permitted"
    assert code_of("http://example.com:443/", policy) == "permitted"
    assert code_of("http://example.com:22/", policy) == "allowlist_miss"
    assert code_of("http://127.0.0.1:9000/", policy) == "permitted"
    assert code_of("http://db.internal:5000/", policy) == "permitted"
    assert code_of("http://10.0.0.1:9000/", policy) == "allowlist_miss"


@pytest.mark.parametrize(
    "entry",
    ["", " ", "https://example.com", "example.com/path", "example.com:0", "example.com:70000", "example.com:x", "a b",
     "*.*.com", "ex*.com", "10.0.0.1/8", "10.0.0.0/33", "1.2.3.4.5", "[::1", "[::1]:", "[]", "user@example.com",
     None, 7, "**"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["allow", "deny", "only"])
def test_entries_that_are_none(name: str, entry: Any) -> None:
    with pytest.raises(DefinitionError, match=name):
        EgressPolicy(**{name: [entry]})


def test_arguments_that_are_no_lists() -> None:
    with pytest.raises(DefinitionError, match="is a list"):
        EgressPolicy("example.com")
    for ports in (443, "443", [0], [70000], ["80"], [True]):
        with pytest.raises(DefinitionError, match="ports"):
            EgressPolicy(ports=ports)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="http2"):
        EgressPolicy().client(http2=True)
    for option in ("transport", "mounts", "proxy", "cert"):
        with pytest.raises(DefinitionError, match=option):
            EgressPolicy().client(**{option: object()})
    with pytest.raises(DefinitionError, match="trust_env"):
        EgressPolicy().client(trust_env=True)


# --- what people read -------------------------------------------------------------------------------------


def test_the_message_says_what_where_and_the_way_out() -> None:
    with pytest.raises(EgressDeniedError) as caught:
        EgressPolicy().check_url("http://0x7f.1:5432/db?token=hunter2")
    assert str(caught.value) == (
        "http://0x7f.1:5432/db?… may not be called: 127.0.0.1 is a loopback address; "
        "EgressPolicy(allow=['127.0.0.1']) permits it"
    )
    assert (caught.value.code, caught.value.url) == ("denied_ip", "http://0x7f.1:5432/db?…")
    assert isinstance(caught.value, NonRetryableError), "a step does not try it again"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:hunter2@example.com/a?b=c", "https://***@example.com/a?…"),
        ("https://user:hun/ter2@example.com/a", "https://***@example.com/a"),
        ("https://user:hun?ter2@example.com/a", "https://***@example.com/a"),
        ("https://hunter2@example.com", "https://***@example.com"),
        ("https://example.com/@someone/x#hunter2", "https://example.com/@someone/x"),
        ("https://[::1]:80/@x?hunter2", "https://[::1]:80/@x?…"),
        ("hunter2@example.com", "***@example.com"),
        ("http://a\r\nb/", "http://a��b/"),
        (None, "None"),
    ],
)
def test_no_password_in_what_is_shown(url: Any, shown: str) -> None:
    assert shown_url(url) == shown


def test_repr_shows_the_rules() -> None:
    policy = EgressPolicy(["10.0.0.0/8"], ["*.bad.example"], [443], only=[])
    assert repr(policy) == "EgressPolicy(allow=['10.0.0.0/8'], deny=['*.bad.example'], only=[], ports=[443])"
    assert repr(EgressPolicy()) == "EgressPolicy()"
