-- Reading for others: a transaction that writes nothing, ends in time, and finds no function but PostgreSQL's own.

-- name: begin
begin transaction read only;

-- name: settings
-- $1 milliseconds of a statement
select set_config(name, value, true)
from (values ('statement_timeout', $1::bigint::text),
             ('lock_timeout', '2000'),
             ('idle_in_transaction_session_timeout', ($1::bigint + 5000)::text),
             ('search_path', 'pg_catalog, pg_temp'),
             ('standard_conforming_strings', 'on'),
             ('DateStyle', 'ISO, YMD'),
             ('IntervalStyle', 'postgres'),
             ('TimeZone', 'UTC'),
             ('bytea_output', 'hex'),
             ('extra_float_digits', '1'),
             ('jit', 'off'),
             ('max_parallel_workers_per_gather', '0')) s (name, value);

-- name: role
-- $1 a role of which ours is a member: the statement that takes it on until the transaction ends
select format('set local role %I', $1::text);

-- name: end
rollback;

-- name: clean
discard all;

-- name: columns
-- Which columns a query has. The parenthesis has a line of its own: a comment at the end would swallow it.
select * from ({query}
) as q limit 0;

-- name: cursor
-- The query as a cursor, each column as {shown} says; as a part of another it can be no more than one statement.
declare q no scroll cursor for select {shown} from ({query}
) as q ({names});

-- name: fetch
fetch forward {rows} from q;
