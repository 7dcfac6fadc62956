"""``action_email``: the config and the message that is made of it."""

from __future__ import annotations

import asyncio
import email
import email.policy
import time
from email.message import EmailMessage
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_sdk.errors import DefinitionError, NodeUnavailableError, NonRetryableError
from dataflows_sdk.nodes.mail import ActionEmail, MailSettings, MailTemplate, read_templates, send_email
from dataflows_sdk.nodes.mail_addresses import parse_addresses
from dataflows_sdk.nodes.mail_transport import Sent
from dataflows_sdk.nodes.registry import Call
from dataflows_sdk.nodes.services import Services

PLAIN = {"to": "ada@example.com", "subject": "Hello", "body": "Text"}
TEMPLATES = {
    "welcome": {
        "subject": "Welcome, {{customer.name}}",
        "body": "Dear {{customer.name}},\nyour number is {{number}}.\n",
        "html": '<p title="{{customer.name}}">Dear <b>{{customer.name}}</b>, {{number}} {{list}}</p>',
    },
    "short": {"subject": "Hi", "body": "Hi {{name}} \\{{kept}}"},
}


def send(
    config: dict[str, Any], url: str = "memory:?from=app@shop.example", key: str = "run-1:mail"
) -> tuple[Any, Sent]:
    settings = MailSettings.from_url(url)
    services = Services(mail=settings, mail_templates=TEMPLATES)
    call = Call("mail", "run-1", "orders", 1, key, {}, services)
    output = asyncio.run(send_email(ActionEmail.model_validate(config), call))
    [sent] = settings.outbox
    return output, sent


def wire(sent: Sent) -> EmailMessage:
    """The message as somebody reads it who got its bytes."""
    raw = sent.message.as_bytes()
    raw.decode("ascii")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    read = email.message_from_bytes(raw.replace(b"\r\n", b"\n"), policy=email.policy.default)
    assert isinstance(read, EmailMessage)
    assert not read.defects
    return read


# --- the message ------------------------------------------------------------------------------------------


def test_a_plain_message() -> None:
    output, sent = send({**PLAIN, "body": "Grüße\n.\nFrom here"})
    read = wire(sent)
    assert (read["From"], read["To"], read["Subject"]) == ("app@shop.example", "ada@example.com", "Hello")
    assert read.get_content() == "Grüße\n.\nFrom here\n"
    assert read.get_content_type() == "text/plain"
    assert output == {"message_id": read["Message-ID"], "accepted": ["ada@example.com"], "rejected": {}}
    assert read["Date"].datetime.tzinfo is not None


def test_the_message_id_follows_the_idempotency_key() -> None:
    first, again, other = (send(PLAIN, key=key)[0]["message_id"] for key in ("a", "a", "b"))
    assert first == again != other
    assert first.endswith("@shop.example>")
    assert send(PLAIN, key="grüße\n\ud800")[0]["message_id"].isascii()


def test_text_and_html_and_attachments() -> None:
    _, sent = send(
        {
            **PLAIN,
            "html": "<p>Grüße</p>",
            "attachments": [
                {"filename": "größe.csv", "content": "a;ü\n"},
                {"filename": "x.bin", "content": b"\x00\xff"},
                {"filename": "y.pdf", "base64": "JVBE\nRi0="},
                {"filename": "z", "content": "", "content_type": "Application/JSON"},
                {"filename": "site.tar.gz", "content": b"zip"},
            ],
        }
    )
    read = wire(sent)
    assert read.get_content_type() == "multipart/mixed"
    body, *files = read.iter_parts()
    assert [part.get_content_type() for part in body.iter_parts()] == ["text/plain", "text/html"]  # type: ignore[attr-defined]
    assert read.get_body(("html",)).get_content() == "<p>Grüße</p>\n"  # type: ignore[union-attr]
    assert [(part.get_filename(), part.get_content_type()) for part in files] == [
        ("größe.csv", "text/csv"), ("x.bin", "application/octet-stream"), ("y.pdf", "application/pdf"),
        ("z", "application/json"), ("site.tar.gz", "application/octet-stream"),
    ]  # fmt: skip
    assert [part.get_content() for part in files] == ["a;ü\n", b"\x00\xff", b"%PDF-", b"", b"zip"]


def test_html_alone() -> None:
    _, sent = send({"to": "ada@example.com", "subject": "x", "html": "<p>x</p>"})
    assert (wire(sent).get_content_type(), wire(sent).get_content()) == ("text/html", "<p>x</p>\n")


def test_recipients() -> None:
    output, sent = send(
        {
            **PLAIN,
            "to": ["Ada Lovelace <ada@example.com>, bob@example.com", '"Grüße, Otto" <otto@bücher.example>'],
            "cc": "carl@example.com, ada@example.com",
            "bcc": ["secret@example.com"],
            "from": "Shop <shop@example.com>",
            "reply_to": "help@example.com",
        }
    )
    read = wire(sent)
    everyone = [
        "ada@example.com",
        "bob@example.com",
        "otto@xn--bcher-kva.example",
        "carl@example.com",
        "secret@example.com",
    ]
    assert (output["accepted"], list(sent.recipients), sent.sender) == (everyone, everyone, "shop@example.com")
    assert [str(address) for address in read["To"].addresses][::2] == [
        "Ada Lovelace <ada@example.com>", '"Grüße, Otto" <otto@xn--bcher-kva.example>',
    ]  # fmt: skip
    assert (read["Cc"], read["Reply-To"]) == ("carl@example.com, ada@example.com", "help@example.com")
    assert b"secret" not in sent.message.as_bytes()
    assert "bcc" not in [name.lower() for name in read]


def test_long_and_odd_texts_stay_what_they_are() -> None:
    subject, body = "Grüße " * 200 + "=? ?= .", ("x" * 5000 + "\n" + "ü" * 3000 + "\n.\n..\r\n--\n\tend") * 3
    read = wire(send({**PLAIN, "subject": subject, "body": body})[1])
    assert read["Subject"] == subject
    assert read.get_content().replace("\r\n", "\n").rstrip("\n") == body.replace("\r\n", "\n")
    assert wire(send({**PLAIN, "body": "\ud800 \0"})[1]).get_content() == "? \0\n"


# --- templates --------------------------------------------------------------------------------------------


def test_a_template_and_its_merge_fields() -> None:
    name = "Ada <b>\"&' {{number}} \\{{"
    fields = {"customer": {"name": name}, "number": 7, "list": ["<i>", '"']}
    _, sent = send({"to": "ada@example.com", "template": "welcome", "merge_fields": fields})
    read = wire(sent)
    assert read["Subject"] == f"Welcome, {name}"
    assert read.get_body(("plain",)).get_content() == f"Dear {name},\nyour number is 7.\n"  # type: ignore[union-attr]
    escaped = "Ada &lt;b&gt;&quot;&amp;&#x27; {{number}} \\{{"
    assert read.get_body(("html",)).get_content() == (  # type: ignore[union-attr]
        f'<p title="{escaped}">Dear <b>{escaped}</b>, 7 [&quot;&lt;i&gt;&quot;, &quot;\\&quot;&quot;]</p>\n'
    )
    assert wire(send({**PLAIN, "body": "\\{{x}} {{y"})[1]).get_content() == "\\{{x}} {{y\n", "no second rendering"
    read = wire(send({"to": "a@b.example", "template": "short", "merge_fields": {"name": None}})[1])
    assert read.get_content() == "Hi  {{kept}}\n"


def test_a_template_that_lacks_fields() -> None:
    with pytest.raises(NonRetryableError, match=r"'welcome' needs the merge_fields customer\.name, number, list"):
        send({"to": "ada@example.com", "template": "welcome", "merge_fields": {"customer": {}}})


def test_a_template_that_is_not_there() -> None:
    with pytest.raises(NodeUnavailableError, match="no e-mail template 'welcom'; there are: 'short', 'welcome'"):
        send({"to": "ada@example.com", "template": "welcom"})


@pytest.mark.parametrize(
    "template",
    [{}, {"subject": "x"}, {"body": "x"}, {"subject": "a\nb", "body": ""}, {"subject": "x", "body": "{{1 + 1}}"},
     {"subject": "{{", "body": ""}, {"subject": "x", "body": "y", "htm": "z"}, {"subject": "x", "body": 5}, None, []],
    ids=repr,
)  # fmt: skip
def test_templates_that_cannot_be_read(template: Any) -> None:
    with pytest.raises(DefinitionError, match="the e-mail template 'bad' cannot be read"):
        read_templates({"good": MailTemplate(subject="x", body="y"), "bad": template})


# --- injection --------------------------------------------------------------------------------------------

EVIL = [
    "x\nBcc: evil@example.com",
    "x\r\nBcc: evil@example.com",
    "x\rBcc: evil@example.com",
    "x\0",
    "x\x0b",
    "x\u2028y",
]


@pytest.mark.parametrize("evil", EVIL)
def test_no_value_becomes_a_header(evil: str) -> None:
    for config in (
        {**PLAIN, "subject": evil},
        {**PLAIN, "to": evil},
        {**PLAIN, "to": ["ada@example.com", f"{evil} <ada@example.com>"]},
        {**PLAIN, "cc": evil},
        {**PLAIN, "bcc": f"ada@example.com{evil}"},
        {**PLAIN, "from": f"{evil}@example.com"},
        {**PLAIN, "reply_to": evil},
        {**PLAIN, "attachments": [{"filename": evil, "content": ""}]},
        {**PLAIN, "attachments": [{"filename": "x", "content": "", "content_type": f"text/plain; {evil}"}]},
    ):
        with pytest.raises(pydantic.ValidationError):
            ActionEmail.model_validate(config)
    fields = {"customer": {"name": evil}, "number": 1, "list": []}
    with pytest.raises(NonRetryableError, match="the subject with its merge_fields"):
        send({"to": "ada@example.com", "template": "welcome", "merge_fields": fields})


@pytest.mark.parametrize(
    "word",
    [
        "=?utf-8?q?x=0ABcc:_evil@example.com?=",
        "=?utf-8?b?eApCY2M6IGV2aWxAZXhhbXBsZS5jb20=?=",
        "=?utf-8?q?x=0D=0A=0D=0Ay?=",
    ],
)
def test_no_encoded_word_becomes_a_header(word: str) -> None:
    for config in (
        {**PLAIN, "subject": word},
        {**PLAIN, "subject": f"a {word} b"},
        {**PLAIN, "to": f"{word} <ada@example.com>"},
        {**PLAIN, "to": f'"{word}" <ada@example.com>'},
        {**PLAIN, "from": f"{word} <ada@example.com>"},
    ):
        with pytest.raises((NonRetryableError, pydantic.ValidationError)):
            send(config)
    _, sent = send({**PLAIN, "attachments": [{"filename": word, "content": ""}]})
    assert "evil" not in str(wire(sent).items())


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_refused_or_arrives_and_adds_no_header(subject: str, name: str, body: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    config = {"to": f'"{quoted}" <ada@example.com>', "subject": subject, "body": body}
    try:
        _, sent = send(config)
    except (pydantic.ValidationError, NonRetryableError):
        return
    read = wire(sent)
    assert {key.lower() for key in read} == {
        "from", "to", "subject", "date", "message-id", "content-type", "content-transfer-encoding", "mime-version",
    }  # fmt: skip
    assert [address.addr_spec for address in read["To"].addresses] == ["ada@example.com"]
    assert sent.recipients == ("ada@example.com",)


# --- configs and addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"to": "ada@example.com"},
        {"to": "ada@example.com", "subject": "x"},
        {"to": "ada@example.com", "body": "x"},
        {**PLAIN, "template": "welcome"},
        {**PLAIN, "merge_fields": {"a": 1}},
        {**PLAIN, "to": 5},
        {**PLAIN, "to": None},
        {**PLAIN, "subject": None},
        {**PLAIN, "subject": 5},
        {**PLAIN, "attachments": {"filename": "x"}},
        {**PLAIN, "attachments": [{"filename": "x"}]},
        {**PLAIN, "attachments": [{"filename": "", "content": ""}]},
        {**PLAIN, "attachments": [{"filename": "../etc/passwd", "content": ""}]},
        {**PLAIN, "attachments": [{"filename": "a\\b", "content": ""}]},
        {**PLAIN, "attachments": [{"filename": "x", "content": "", "base64": ""}]},
        {**PLAIN, "attachments": [{"filename": "x", "base64": "no base64!"}]},
        {**PLAIN, "attachments": [{"filename": "x", "base64": "abc"}]},
        {**PLAIN, "attachments": [{"filename": "x", "content": "", "content_type": "pdf"}]},
        {**PLAIN, "attachments": [{"filename": "x", "content": "", "content_type": "multipart/mixed"}]},
        {**PLAIN, "attachments": [{"filename": "x", "content": "", "content_type": "message/rfc822"}]},
        {**PLAIN, "attachments": [{"filename": "x", "content": "", "path": "/etc/passwd"}]},
    ],
    ids=repr,
)
def test_configs_that_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        ActionEmail.model_validate(config)


@pytest.mark.parametrize(
    "text",
    ["ada", "ada@", "@example.com", "ada@@example.com", "ada@exa mple.com", "ada@example..com", "ada@-example.com",
     "ada@example.com.", ".ada@example.com", "a..b@example.com", "ada@[127.0.0.1]", "<ada@example.com",
     "ada@example.com>",
     "ada@example.com bob@example.com", "alice@example.org)bob@evil.example", ",", "a" * 65 + "@example.com",
     "ada@" + "a" * 64 + ".com", "ada@" + "a." * 130 + "com", '"a b"@example.com', "ada@\u2024", "(" * 10_000,
     "<" * 10_000,
     '"' * 9_999, "[" * 5000, "ada@example.com\\", "=?utf-8?q?a=40b?= <x>"],
)  # fmt: skip
def test_texts_that_are_no_address(text: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ValueError, match="address"):
        parse_addresses(text)
    assert time.monotonic() - begun < 10, "the time does not grow with the square of the length"


def test_long_lists_are_read() -> None:
    assert len(parse_addresses("ada@example.com, " * 1000)) == 1000
    assert len(parse_addresses(["Ada <ada@example.com>"] * 1000)) == 1000
    with pytest.raises(ValueError, match="give many as a list"):
        parse_addresses("Ada <ada@example.com>, " * 1000)


@given(st.text(max_size=200))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        found = parse_addresses(text)
    except ValueError:
        return
    for address in found:
        assert "@" in address.addr_spec
        assert address.domain.isascii()
        assert parse_addresses(address.addr_spec)[0].addr_spec == address.addr_spec


@pytest.mark.parametrize("to", ["", [], " ", ["", " "]])
def test_nobody_to_send_to(to: Any) -> None:
    with pytest.raises(NonRetryableError, match="`to` is empty"):
        send({**PLAIN, "to": to})


def test_too_much() -> None:
    with pytest.raises(NonRetryableError, match="1,001 recipients"):
        send({**PLAIN, "bcc": [f"a{n}@example.com" for n in range(1000)]})
    files = [{"filename": f"{n}", "content": b"\0" * 9_000_000} for n in range(3)]
    with pytest.raises(NonRetryableError, match="larger than 25,000,000 bytes"):
        send({**PLAIN, "attachments": files})


def test_no_sender_and_no_settings() -> None:
    with pytest.raises(NonRetryableError, match="set `from` in the node"):
        send(PLAIN, url="memory:")
    with pytest.raises(NonRetryableError, match="2 senders"):
        send({**PLAIN, "from": "a@example.com, b@example.com"})
    call = Call("mail", "r", "w", 1, "k", {}, Services())
    with pytest.raises(NodeUnavailableError, match="no mail server is configured"):
        asyncio.run(send_email(ActionEmail.model_validate(PLAIN), call))


def test_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    settings = MailSettings.from_url("console:?from=app@example.com")
    call = Call("mail", "r", "w", 1, "k", {}, Services(mail=settings))
    assert asyncio.run(send_email(ActionEmail.model_validate(PLAIN), call))["accepted"] == ["ada@example.com"]
    printed = capsys.readouterr().out
    assert "e-mail to ada@example.com" in printed
    assert "Subject: Hello" in printed


# --- settings ---------------------------------------------------------------------------------------------


def test_urls() -> None:
    read = MailSettings.from_url(
        "smtp://us%40er:p%2Fw%3A@Mail.example.com:2525?starttls=1&from=Shop+<a@b.example>&timeout=5"
    )
    assert (read.transport, read.host, read.port, read.username) == ("smtp", "mail.example.com", 2525, "us@er")
    assert (read.starttls, read.sender, read.timeout, read.verify) == (True, "Shop <a@b.example>", 5.0, True)
    assert read.password is not None
    assert read.password.reveal() == "p/w:"
    assert "p/w" not in repr(read)
    for url, port in (("smtp://h", 25), ("smtp://u:p@h", 587), ("smtps://u:p@h", 465), ("smtp://[::1]:99", 99)):
        assert MailSettings.from_url(url).port == port
    assert MailSettings.from_url("smtp://h?starttls=0&verify=no").starttls is False
    assert MailSettings.from_url("memory:").outbox == []


@pytest.mark.parametrize(
    "url",
    ["", "mail.example.com", "http://h", "smtp:", "smtp://", "smtp://:25", "smtp://hun ter2/", "smtp://h:port", "smtp://h:99999",
     "smtp://hunter2@h", "smtp://:hunter2@h", "smtp://u:hunter2@", "smtp://h?tls=1", "smtp://h?from=nobody", "smtp://h?from=a@b,c@d",
     "smtp://h?timeout=0", "smtp://h?timeout=inf", "smtp://h?starttls=perhaps", "smtps://h?starttls=1", "smtp://h?from=a@b.c&from=d@e.f",
     "memory://h", "console:x", "smtp://u:hun/ter2@h", "smtp://u:hunter2/@h:25", "smtp://u:hunter2@[::1", None, 5],
)  # fmt: skip
def test_urls_that_are_none(url: Any) -> None:
    with pytest.raises(DefinitionError) as caught:
        MailSettings.from_url(url)
    assert "hunter2" not in str(caught.value)
    assert "hun" not in str(caught.value)
