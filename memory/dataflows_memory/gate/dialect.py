"""PostgreSQL for sqlglot, without its wish to help: a call stays the call that was written.

The parser's own dialect turns calls that it knows into what other databases would understand: date_part() becomes
EXTRACT, which has another type and another column name. Here a function is its name and its arguments.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.tokenizer_core import TokenType

_Parser: Any = Postgres.Parser
_Generator: Any = Postgres.Generator


class Plain(Postgres):
    """The dialect. Importing it registers it with sqlglot as ``plain``; nobody asks for it by name."""

    class Parser(_Parser):  # type: ignore[misc]
        """Knows no functions but those with a grammar of their own."""

        # an arrow is JSON's, never a lambda's
        LAMBDAS: ClassVar[dict[Any, Any]] = {TokenType.FARROW: _Parser.LAMBDAS[TokenType.FARROW]}
        NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            name: _Parser.NO_PAREN_FUNCTION_PARSERS[name] for name in ("ANY", "CASE", "VARIADIC")
        }
        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            name: _Parser.FUNCTION_PARSERS[name]
            for name in ("CAST", "EXTRACT", "SUBSTRING", "TRIM", "POSITION", "OVERLAY")
            if name in _Parser.FUNCTION_PARSERS
        }

    class Generator(_Generator):  # type: ignore[misc]
        """Writes operators as operators."""

        TRANSFORMS: ClassVar[dict[Any, Any]] = {
            **_Generator.TRANSFORMS,
            exp.Pow: lambda self, node: self.binary(node, "^"),
        }
