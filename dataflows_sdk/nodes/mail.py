"""The node ``action_email``: one message, made so that no value in it can become a header."""

from __future__ import annotations

import base64
import binascii
import email.policy
import hashlib
import html
import mimetypes
import re
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from email.utils import format_datetime, localtime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from dataflows_sdk.errors import DefinitionError, NodeUnavailableError, NonRetryableError, TemplateError
from dataflows_sdk.flow.templates import ABSENT, lookup, parse_template
from dataflows_sdk.flow.texts import as_text
from dataflows_sdk.nodes.mail_addresses import one_line, parse_addresses
from dataflows_sdk.nodes.mail_transport import MailSettings, deliver
from dataflows_sdk.nodes.registry import Call, Config, Text

__all__ = [
    "ActionEmail",
    "Attachment",
    "MailSettings",
    "MailTemplate",
    "MailTemplates",
    "build_message",
    "read_templates",
    "send_email",
]

MAX_RECIPIENTS = 1_000
#: bytes of all attachments together; beyond it most servers refuse
MAX_ATTACHED = 25_000_000
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*", re.IGNORECASE)
#: 7 bits on the wire: no server has to know more
_WIRE = email.policy.SMTP.clone(cte_type="7bit")


def _addresses(value: str | list[str]) -> str | list[str]:
    parse_addresses(value)
    return value


def _media_type(text: str) -> str:
    if not _MEDIA_TYPE.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no type such as application/pdf")
    if text.lower().startswith(("multipart/", "message/")):
        raise ValueError(f"an attachment of the type {text!r} would be taken for a part of the message itself")
    return text.lower()


Line = Annotated[str, AfterValidator(one_line)]
Addresses = Annotated[str | list[str], AfterValidator(_addresses)]


class Attachment(BaseModel):
    """A file that goes along.

    Attributes:
        filename: its name, without a path.
        content: a text, or bytes.
        base64: the content instead, encoded.
        content_type: what it is; by the name if not given.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    filename: Annotated[Line, Field(min_length=1, max_length=255, pattern=r"^[^/\\]*$")]
    content: str | bytes | None = None
    base64: str | None = None
    content_type: Annotated[str, AfterValidator(_media_type)] | None = None

    @model_validator(mode="after")
    def _one_content(self) -> Attachment:
        if (self.content is None) == (self.base64 is None):
            raise ValueError("give its content, or the same as base64")
        self.data()
        return self

    def data(self) -> bytes:
        """Its bytes."""
        if self.base64 is not None:
            try:
                return base64.b64decode("".join(self.base64.split()), validate=True)
            except (binascii.Error, ValueError):
                raise ValueError("this is no base64") from None
        return self.content if isinstance(self.content, bytes) else (self.content or "").encode("utf-8", "replace")


class ActionEmail(Config):
    """One e-mail.

    Attributes:
        to: ``"ada@example.com"``, ``"Ada <ada@example.com>"``, several with commas between them or in a list.
        template: the name of a stored template, with `merge_fields`.
        subject, body, html: the message itself instead; with both body and html the reader's program chooses.
        merge_fields: what the ``{{fields}}`` of the template become; in HTML they are escaped.
        cc, bcc: further recipients; those of bcc are in no header.
        from_: the sender, ``from`` in documents; that of the mail settings if not given.
        reply_to: where answers go.
        attachments: files that go along.
    """

    to: Addresses
    template: str | None = None
    subject: Line | None = None
    body: Text | None = None
    html: Text | None = None
    merge_fields: dict[str, Any] = Field(default_factory=dict)
    cc: Addresses = Field(default_factory=list)
    bcc: Addresses = Field(default_factory=list)
    from_: Addresses | None = Field(default=None, alias="from")
    reply_to: Addresses | None = None
    attachments: list[Attachment] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_text(self) -> ActionEmail:
        inline = [name for name in ("subject", "body", "html") if getattr(self, name) is not None]
        if self.template is not None and inline:
            raise ValueError(f"a template brings its own texts: leave out {' and '.join(inline)}, or the template")
        if self.template is None and (self.subject is None or (self.body is None and self.html is None)):
            raise ValueError("give a template, or a subject and a body or html")
        if self.template is None and self.merge_fields:
            raise ValueError("merge_fields are for a template; in a subject, body or html write {{trigger.name}}")
        return self


class MailTemplate(BaseModel):
    """A stored message: its texts may hold ``{{fields}}``, also paths such as ``{{customer.name}}``.

    Raises:
        pydantic.ValidationError: neither body nor html, or braces that hold no path.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: Line
    body: str | None = None
    html: str | None = None

    @model_validator(mode="after")
    def _readable(self) -> MailTemplate:
        if self.body is None and self.html is None:
            raise ValueError("a template has a body, html or both")
        for text in (self.subject, self.body, self.html):
            try:
                parse_template(text or "")
            except TemplateError as error:
                raise ValueError(str(error)) from None
        return self


#: templates by name, read or as ``{"subject", "body", "html"}``
MailTemplates = Mapping[str, MailTemplate | Mapping[str, str]]


async def send_email(config: ActionEmail, call: Call) -> dict[str, Any]:
    """Send the message.

    A message that is sent again (the answer of the server was lost, the process died before the step was recorded)
    has the same Message-ID, by which mail programs recognise it.

    Returns:
        ``{"message_id": "<…@example.com>", "accepted": ["ada@example.com"], "rejected": {"bob@…": "550 unknown"}}``

    Raises:
        NodeUnavailableError: there is no mail server, or no template of that name.
        MailError: the server could not take it now, or nobody answers there; tried again.
        MailRefusedError: the server will not take it, for any recipient.
        NonRetryableError: the message cannot be made, for example because a merge field is missing.
    """
    settings = getattr(call.services, "mail", None)
    if settings is None:
        raise NodeUnavailableError("no mail server is configured: df.connect(services=df.Services(mail='smtp://…'))")
    message, sender, recipients = build_message(
        config, settings, getattr(call.services, "mail_templates", None) or {}, call.idempotency_key
    )
    rejected = await deliver(settings, message, sender, recipients)
    return {
        "message_id": str(message["Message-ID"]),
        "accepted": [recipient for recipient in recipients if recipient not in rejected],
        "rejected": rejected,
    }


def build_message(
    config: ActionEmail, settings: MailSettings, templates: MailTemplates, key: str
) -> tuple[EmailMessage, str, list[str]]:
    """The message, whom it is from and whom it goes to; pure but for the date.

    Raises:
        NodeUnavailableError: there is no template of that name.
        NonRetryableError: it cannot be made.
    """
    try:
        subject, body, html_body = _texts(config, templates)
        senders = parse_addresses(config.from_ if config.from_ is not None else settings.sender or [])
        to, cc, bcc = (parse_addresses(each) for each in (config.to, config.cc, config.bcc))
        reply_to = parse_addresses(config.reply_to or [])
    except (ValueError, DefinitionError) as error:
        raise NonRetryableError(f"the e-mail cannot be made: {error}") from error
    if len(senders) != 1:
        raise NonRetryableError(
            f"the e-mail has {len(senders)} senders: set `from` in the node, or the address of the mail settings, "
            "df.Services(mail='smtp://…?from=app@example.com')"
        )
    recipients = list(dict.fromkeys(address.addr_spec for address in (*to, *cc, *bcc)))
    if not to:
        raise NonRetryableError("the e-mail has no recipient: `to` is empty")
    if len(recipients) > MAX_RECIPIENTS:
        raise NonRetryableError(
            f"the e-mail has {len(recipients):,} recipients, more than {MAX_RECIPIENTS:,}: send it in a loop"
        )
    wide = not all(address.username.isascii() for address in (*senders, *to, *cc, *bcc, *reply_to))
    message = EmailMessage(policy=_WIRE.clone(utf8=True) if wide else _WIRE)
    message["From"] = senders
    message["To"] = to
    if cc:
        message["Cc"] = cc
    if reply_to:
        message["Reply-To"] = reply_to
    message["Subject"] = subject
    message["Date"] = format_datetime(localtime())
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:40]
    message["Message-ID"] = f"<{digest}@{senders[0].domain}>"
    for name, value in message.items():
        # the standard library reads =?utf-8?q?…=0A…?= in a value, and may find a line break there
        try:
            one_line(str(value))
        except ValueError as error:
            raise NonRetryableError(f"the e-mail cannot be made: {name}: {error}") from None
    _fill(message, body, html_body, config.attachments)
    return message, senders[0].addr_spec, recipients


def _fill(message: EmailMessage, body: str | None, html_body: str | None, attachments: list[Attachment]) -> None:
    if body is not None:
        message.set_content(_plain(body))
        if html_body is not None:
            message.add_alternative(_plain(html_body), subtype="html")
    else:
        message.set_content(_plain(html_body or ""), subtype="html")
    total = 0
    for attachment in attachments:
        data = attachment.data()
        total += len(data)
        if total > MAX_ATTACHED:
            raise NonRetryableError(
                f"the attachments are larger than {MAX_ATTACHED:,} bytes together: send a link instead"
            )
        kind = attachment.content_type or _guessed(attachment)
        main, _, sub = kind.partition("/")
        parameters = {"charset": "utf-8"} if main == "text" and isinstance(attachment.content, str) else None
        message.add_attachment(data, maintype=main, subtype=sub, filename=attachment.filename, params=parameters)


def _guessed(attachment: Attachment) -> str:
    kind, encoding = mimetypes.guess_type(attachment.filename)
    if kind is None or encoding is not None or kind.startswith(("multipart/", "message/")):
        return "application/octet-stream"
    return kind


def _plain(text: str) -> str:
    """Without lone surrogates, which no charset can write."""
    return text.encode("utf-8", "replace").decode()


# --- templates --------------------------------------------------------------------------------------------


def _texts(config: ActionEmail, templates: MailTemplates) -> tuple[str, str | None, str | None]:
    if config.template is None:
        return config.subject or "", config.body, config.html
    template = templates.get(config.template)
    if template is None:
        known = ", ".join(repr(name) for name in sorted(templates)[:10]) or "none"
        raise NodeUnavailableError(f"there is no e-mail template {config.template!r}; there are: {known}")
    template = read_templates({config.template: template})[config.template]
    missing: dict[str, None] = {}

    def fill(text: str | None, escape: Callable[[str], str]) -> str | None:
        return None if text is None else _merge(text, config.merge_fields, escape, missing)

    texts = fill(template.subject, str), fill(template.body, str), fill(template.html, html.escape)
    if missing:
        raise ValueError(f"the template {config.template!r} needs the merge_fields {', '.join(missing)}")
    return _one_line_subject(texts[0] or ""), texts[1], texts[2]


def _one_line_subject(text: str) -> str:
    try:
        return one_line(text)
    except ValueError as error:
        raise ValueError(f"the subject with its merge_fields: {error}") from None


def _merge(text: str, fields: Mapping[str, Any], escape: Callable[[str], str], missing: dict[str, None]) -> str:
    """Fill in one text; what is filled in is escaped, and never read as a template."""
    parts: list[str] = []
    for part in parse_template(text).parts:
        if isinstance(part, str):
            parts.append(part)
            continue
        found = lookup(fields, part.path)
        if found is ABSENT:
            missing[part.text] = None
        else:
            parts.append(escape(as_text(found)))
    return "".join(parts)


def read_templates(templates: MailTemplates) -> dict[str, MailTemplate]:
    """Templates, read and checked.

    Raises:
        DefinitionError: one of them cannot be read; the message names it.
    """
    from pydantic import ValidationError

    read: dict[str, MailTemplate] = {}
    for name, template in templates.items():
        try:
            read[name] = template if isinstance(template, MailTemplate) else MailTemplate.model_validate(dict(template))
        except (ValidationError, TypeError, ValueError) as error:
            raise DefinitionError(f"the e-mail template {name!r} cannot be read: {error}") from None
    return read
