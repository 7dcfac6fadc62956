-- DuckDB: what surrounds a user's statement.

-- name: session
-- A user's tables go to `memory`; names are looked for there and in the mirrors.
set search_path = 'memory.main,dataflows.main,dataflows.warehouse';

-- name: session_as_of
-- $moment is put in
set search_path = 'memory.main,dataflows_past.main,dataflows_past.warehouse';
set variable dataflows_as_of = timestamptz '$moment';

-- name: parse
-- $1 query
select json_serialize_sql($1::varchar)

-- name: memory_limit
select current_setting('memory_limit')

-- name: answer
-- The user's query follows. A temporary table belongs to the connection, and the connection to the relation.
create temp table answer as

-- name: read_answer
from temp.main.answer

-- name: guard
-- $name is put in. A transaction can write to one database only: after this it is not the mirrors' one.
create macro memory.main.$name() as 1

-- name: unguard
drop macro memory.main.$name

-- name: objects
-- What users made: name, kind, definition.
select table_name, 'table', null from duckdb_tables() where database_name = 'memory'
union all
select view_name, 'view', sql from duckdb_views() where database_name = 'memory' and not internal
union all
select function_name, 'macro', macro_definition from duckdb_functions() where database_name = 'memory' and not internal

-- name: no_answer
select true as done
