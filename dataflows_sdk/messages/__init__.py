"""Messages by subject: told to whoever listens, and kept in streams that are read at one's own pace.

The words and the rules are those of NATS and its JetStream; everything lies in PostgreSQL.
"""

from __future__ import annotations

from dataflows_sdk.messages.desk import Messages, Receipt
from dataflows_sdk.messages.stream import Consumer, ConsumerInfo, Stream, StreamInfo, StreamMessage
from dataflows_sdk.messages.subscription import Heard, Listening

__all__ = [
    "Consumer",
    "ConsumerInfo",
    "Heard",
    "Listening",
    "Messages",
    "Receipt",
    "Stream",
    "StreamInfo",
    "StreamMessage",
]
