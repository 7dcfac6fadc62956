"""Which parts of a tree may be there, by their names in sqlglot; and what others mean, for messages."""

from __future__ import annotations

from dataflows_memory.gate.words import listed

ALLOWED = listed("""
    Select Union Except Intersect Subquery Values With CTE From Join Lateral Where Group Having Order Ordered
    Limit Offset Fetch LimitOptions Distinct Window WindowSpec WithinGroup Filter GroupingSets Cube Rollup Table
    TableAlias Column Identifier Alias Star Literal Boolean Null Var Paren Tuple Array Bracket Slice Kwarg
    Anonymous Cast DataType DataTypeParam Interval IntervalSpan Case If Extract Substring Trim StrPosition
    Overlay Unnest AtTimeZone Collate CurrentDate CurrentTime CurrentTimestamp Localtime Localtimestamp And Or
    Not EQ NEQ GT GTE LT LTE Is In Between Exists All Any NullSafeEQ NullSafeNEQ Like ILike SimilarTo Escape
    RegexpLike RegexpILike Overlaps Add Sub Mul Div Mod Pow Neg DPipe BitwiseAnd BitwiseOr BitwiseXor BitwiseNot
    BitwiseLeftShift BitwiseRightShift ArrayContainsAll ArrayContainedBy ArrayOverlaps JSONExtract
    JSONExtractScalar JSONBExtract JSONBExtractScalar JSONPath JSONPathRoot JSONPathKey JSONPathSubscript
    JSONBContainsTopKey JSONBContainsAnyTopKeys JSONBContainsAllTopKeys JSONBDeleteAtPath JSONBContains
""")

#: words of other statements that can stand within a query; `{}` is the word
ASIDE = {
    "insert": "{} within a query",
    "update": "{} within a query",
    "delete": "{} within a query",
    "merge": "{} within a query",
    "into": "SELECT … {}",
    "recursive": "WITH {}",
}

#: what is refused: how to say it, and what to do instead
MEANINGS = {
    "Insert": ("INSERT within a query", ""),
    "Update": ("UPDATE within a query", ""),
    "Delete": ("DELETE within a query", ""),
    "Merge": ("MERGE within a query", ""),
    "Into": ("INTO, which makes a table", ""),
    "Lock": ("FOR UPDATE or FOR SHARE, which lock rows", ""),
    "Command": ("a command", ""),
    "Set": ("SET", ""),
    "Copy": ("COPY", ""),
    "Operator": ("OPERATOR(…)", "Write the operator itself."),
    "ObjectIdentifier": ("regclass and other types that look names up in the database", "Name tables in FROM."),
    "Parameter": ("a parameter such as $1", "Write the value into the query."),
    "Placeholder": ("a parameter", "Write the value into the query."),
    "TableSample": ("TABLESAMPLE", "Use order by random() limit n."),
    "IgnoreNulls": ("IGNORE NULLS, which PostgreSQL does not know", "Filter the nulls out."),
    "RespectNulls": ("RESPECT NULLS, which PostgreSQL does not know", "It is so without it."),
    "CurrentUser": ("CURRENT_USER", "Who asks is not to be read."),
    "SessionUser": ("SESSION_USER", "Who asks is not to be read."),
    "CurrentRole": ("CURRENT_ROLE", "Who asks is not to be read."),
    "CurrentSchema": ("CURRENT_SCHEMA", "Tables are found without it."),
    "CurrentCatalog": ("CURRENT_CATALOG", "Tables are found without it."),
    "Variadic": ("VARIADIC", "Write the arguments one by one."),
    "XMLTable": ("XMLTABLE", ""),
    "Pivot": ("PIVOT", "Use sum(…) filter (where …) for each column."),
    "Lambda": ("a lambda", ""),
    "Concat": ("two texts side by side", "Put || between them."),
}

#: types a value may be cast to, as sqlglot calls them
CASTS = listed("""
    ARRAY BOOLEAN SMALLINT INT BIGINT DECIMAL FLOAT DOUBLE TEXT VARCHAR CHAR BPCHAR DATE TIME TIMETZ TIMESTAMP
    TIMESTAMPTZ INTERVAL UUID JSON JSONB
""")
