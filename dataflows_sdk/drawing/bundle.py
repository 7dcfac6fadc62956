"""What an object tells a notebook of itself: the same picture in each form that somebody can show."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

#: of a picture; a larger one is left out, and the text has to do
LARGEST = 1_000_000


def image(svg: str, text: str) -> str:
    """The picture as an ``<img>``: what notebooks that nobody trusts yet show, where inline SVG is taken away."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(text)}" src="data:image/svg+xml;base64,{data}" style="max-width:100%;height:auto">'


def bundle(svg: str, text: str, html: str | None = None) -> dict[str, Any]:
    """Text for terminals, HTML for notebooks, SVG for those that make pages or papers of them.

    Args:
        svg: the picture.
        text: one line, or a few.
        html: instead of the picture as an image.
    """
    data: dict[str, Any] = {"text/plain": text}
    if len(svg) <= LARGEST:
        data["text/html"] = html if html is not None else image(svg, text)
        data["image/svg+xml"] = svg
    elif html is not None:
        data["text/html"] = html
    return data
