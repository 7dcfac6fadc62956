"""Of the database, and of values on their way into it."""

from __future__ import annotations

from dataflows_sdk.errors.base import DataflowsError


class StoreError(DataflowsError):
    """The database refused."""


class StoreUnavailableError(StoreError):
    """No PostgreSQL answers there."""


class StoreVersionError(StoreError):
    """The PostgreSQL there is too old: version 14 or later is needed."""


class StoreExtensionError(StoreError):
    """The PostgreSQL extension `vector` is missing."""


class SchemaVersionError(StoreError):
    """The schema in the database does not fit this version of the library."""


class EmbeddedServerError(StoreError):
    """The embedded PostgreSQL cannot run here."""


class ValueCodecError(DataflowsError):
    """A value cannot be written or read."""


class NotSerializableError(ValueCodecError):
    """A value would not come back equal from the journal.

    Attributes:
        path: where in the value, for example ``$.orders[3].file``.
    """

    def __init__(self, message: str | None = None, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class UnknownTypeError(ValueCodecError):
    """A recorded value has a type that this process does not know."""


class BlobMissingError(ValueCodecError):
    """The content of a large value is not in the store."""


class InvalidIdError(ValueCodecError, ValueError):
    """Not an id: ids are UUIDs such as 0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77."""


class ArchiveError(DataflowsError):
    """Not an archive that can be read, or one that cannot be written."""


class StreamNotFoundError(DataflowsError):
    """There is no such stream."""


class ConsumerNotFoundError(DataflowsError):
    """There is no such consumer."""
