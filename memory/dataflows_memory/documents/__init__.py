"""Documents: read as text with headings, and cut into chunks that can be cited."""

from __future__ import annotations

from dataflows_memory.documents.chunks import Chunk, chunk
from dataflows_memory.documents.document import Document, Part
from dataflows_memory.documents.reading import read_document

__all__ = ["Chunk", "Document", "Part", "chunk", "read_document"]
