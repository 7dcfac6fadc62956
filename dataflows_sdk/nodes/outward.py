"""The node types that call out: HTTP and mail."""

from __future__ import annotations

from dataflows_sdk.flow.kinds import NodeKind
from dataflows_sdk.nodes.http import ActionHttp, call_http
from dataflows_sdk.nodes.mail import ActionEmail, send_email
from dataflows_sdk.nodes.registry import NodeType, register

register(
    NodeType(
        NodeKind("action_http", "http", config=ActionHttp, standard=True),
        "Calls an address; private and internal ones are refused unless they are allowed.",
        "action",
        call_http,
        {
            "url": "https://hooks.example.com/orders",
            "method": "POST",
            "body": {"text": "New order: {{trigger.record.id}}"},
        },
        "`{status, headers, body}`; 400 and above fail the step, 408, 429 and 5xx may be tried again",
    )
)
register(
    NodeType(
        NodeKind("action_email", "email", config=ActionEmail, html=("html",), standard=True),
        "Sends a mail, from a stored template or as it is written.",
        "action",
        send_email,
        {
            "to": "{{trigger.email}}",
            "subject": "Order {{trigger.id}}",
            "body": "Thank you, {{name}}!",
            "merge_fields": {"name": "{{trigger.name}}"},
        },
        "`{message_id, accepted, rejected}`",
    )
)
