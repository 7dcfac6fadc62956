-- DuckDB: tables of the warehouse. $table and the like are quoted names, or lists of them, and are put in.
--
-- As in PostgreSQL, today's rows lie in one table and what is no longer true in another: a question about today reads
-- as much as it would in a table without a past.

-- name: create
create schema if not exists dataflows.warehouse;
create schema if not exists dataflows.internal_past;
create schema if not exists dataflows.internal_writes;
create table if not exists dataflows.internal_writes.writes (id bigint, run varchar, step varchar);

-- Views of all tables as they were when the variable says. They have a database of their own, so that the names of
-- schemas can be the same.
-- name: create_past
attach ':memory:' as dataflows_past;
create schema if not exists dataflows_past.warehouse;

-- name: drop
drop schema if exists dataflows.warehouse cascade;
drop schema if exists dataflows.internal_past cascade;
drop schema if exists dataflows.internal_writes cascade;

-- name: replace
create or replace table $table ($columns);

-- name: remove
drop view if exists dataflows.warehouse.$history;
drop table if exists dataflows.warehouse.$table;
drop table if exists dataflows.internal_past.$table;

-- name: remove_past
drop view if exists dataflows_past.warehouse.$history;
drop view if exists dataflows_past.warehouse.$table;

-- Rows on their way, with decimals as text.
-- name: stage
create or replace temp table staged ($columns);

-- The rows of which a version ended.
-- name: stage_ended
create or replace temp table ended (id $kind);

-- Of a column of decimals: digits before the point, digits after it, whether there is a NaN or an infinity.
-- name: digits
select coalesce(max(len(ltrim(split_part(ltrim($c, '-'), '.', 1), '0'))) filter ($c not in ('NaN', 'Infinity', '-Infinity')), 0),
       coalesce(max(len(split_part($c, '.', 2))), 0),
       coalesce(bool_or($c in ('NaN', 'Infinity', '-Infinity')), false)
from $source;

-- name: widen
alter table $table alter column $c type $kind;

-- name: append
insert into $table select $values from staged;

-- name: forget
delete from $table
where id in (select cast(id as $kind) from ended union all select cast(id as $kind) from staged);

-- name: count
select count(*) from $table;

-- name: empty_writes
delete from dataflows.internal_writes.writes;

-- name: bytes
from_hex(substr($c, 3))

-- name: interval
to_months(cast(split_part($c, ' ', 1) as integer)) + to_days(cast(split_part($c, ' ', 2) as integer))
    + to_microseconds(cast(split_part($c, ' ', 3) as bigint))

-- name: day
case when suffix($c, ' BC') then cast(regexp_replace($c, '^(\S+)(.*) BC$', '\1 (BC)\2') as $kind) else cast($c as $kind) end

-- name: view
-- The rows of a view of PostgreSQL, for one query.
create or replace temporary table $table ($columns);
