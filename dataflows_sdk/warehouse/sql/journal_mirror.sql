-- DuckDB: the journal's tables of `ctx.sql`, and what is remembered of PostgreSQL's.
--
-- Ids are VARCHAR: they join with the text ids of DataFrames and of `run.id`, can be searched by prefix, and print
-- the same everywhere. JSON keeps the text as it stands in the journal.

-- name: create
create table dataflows.main.runs (
    id varchar, workflow varchar, version varchar, status varchar, input json, result json, error json, epoch integer,
    queue varchar, priority smallint, parent varchar, parent_key varchar, forked_from varchar,
    idempotency_key varchar, created_at timestamptz, started_at timestamptz, finished_at timestamptz,
    wake_at timestamptz, waiting_for varchar[], seconds double
);
create table dataflows.main.steps (
    run varchar, key varchar, name varchar, op varchar, attempt integer, status varchar, output json, error json,
    input json, started_at timestamptz, finished_at timestamptz, seconds double, seq integer
);
create table dataflows.main.events (
    run varchar, seq integer, kind varchar, key varchar, name varchar, "at" timestamptz, epoch integer, data json
);
create schema dataflows.internal;
-- every run there is
create table dataflows.internal.head (id varchar, born varchar, running boolean);
-- runs whose head was written since a table was refreshed
create table dataflows.internal.stale (mirror varchar, run varchar);
-- for a run that may get more events: how many of them a table knows, and the highest seq
create table dataflows.internal.mark (mirror varchar, run varchar, n integer, top integer);

-- name: drop
drop table if exists dataflows.main.runs;
drop table if exists dataflows.main.steps;
drop table if exists dataflows.main.events;
drop schema if exists dataflows.internal cascade;

-- name: empty
-- $table is put in
delete from dataflows.main.$table;

-- name: staging
-- $table is put in
create or replace temp table staged as from dataflows.main.$table limit 0;

-- name: count_heads
select count(*) from dataflows.internal.head;

-- name: incoming
-- $1 id[] $2 born[] $3 running[]
create or replace temp table incoming as
select unnest($1::varchar[]) as id, unnest($2::varchar[]) as born, unnest($3::boolean[]) as running;

-- name: take_heads
-- An id that was deleted and given to another run begins anew.
create or replace temp table reborn as
select h.id from dataflows.internal.head h join incoming i on i.id = h.id where i.born <> h.born;
delete from dataflows.main.steps where run in (select id from reborn);
delete from dataflows.main.events where run in (select id from reborn);
delete from dataflows.internal.mark where run in (select id from reborn);
delete from dataflows.internal.head where id in (select id from incoming);
insert into dataflows.internal.head from incoming;

-- name: note_stale
-- $1 mirrors that are loaded[]
insert into dataflows.internal.stale
select m.mirror, i.id from (select unnest($1::varchar[]) as mirror) m cross join incoming i;

-- name: present
-- $1 id[]
create or replace temp table present as select unnest($1::varchar[]) as id;

-- name: forget
create or replace temp table gone as select id from dataflows.internal.head where id not in (select id from present);
delete from dataflows.main.runs where id in (select id from gone);
delete from dataflows.main.steps where run in (select id from gone);
delete from dataflows.main.events where run in (select id from gone);
delete from dataflows.internal.mark where run in (select id from gone);
delete from dataflows.internal.stale where run in (select id from gone);
delete from dataflows.internal.head where id in (select id from gone);

-- name: stale_runs
select distinct run from dataflows.internal.stale where mirror = 'runs';

-- name: suspects
-- $1 mirror
-- Runs that may have events which the mirror does not have.
select s.run, coalesce(m.n, 0), coalesce(m.top, 0)
from (
    select run from dataflows.internal.stale where mirror = $1
    union
    select id from dataflows.internal.head where running
) s
left join dataflows.internal.mark m on m.mirror = $1 and m.run = s.run;

-- name: settle
-- $1 mirror
delete from dataflows.internal.stale where mirror = $1;

-- name: marked
-- $1 mirror $2 run[] $3 n[] $4 top[]
create or replace temp table marked as
select $1::varchar as mirror, unnest($2::varchar[]) as run, unnest($3::integer[]) as n, unnest($4::integer[]) as top;

-- name: remark
delete from dataflows.internal.mark k using marked m where k.mirror = m.mirror and k.run = m.run;
insert into dataflows.internal.mark from marked;

-- name: unmark
-- $1 mirror
delete from dataflows.internal.mark where mirror = $1;

-- name: restart
-- $1 run[]
-- Runs that are read from their first event on.
create or replace temp table restarted as select unnest($1::varchar[]) as run;

-- name: merge_runs
delete from dataflows.main.runs where id in (select id from staged);
insert into dataflows.main.runs from staged;

-- name: merge_events
delete from dataflows.main.events where run in (select run from restarted);
insert into dataflows.main.events from staged;

-- name: merge_steps
delete from dataflows.main.steps where run in (select run from restarted);
delete from dataflows.main.steps s using (select distinct run, key from staged) d where s.run = d.run and s.key = d.key;
insert into dataflows.main.steps from staged;

-- name: columns
-- $1 table
select column_name, data_type from duckdb_columns()
where database_name = 'dataflows' and schema_name = 'main' and table_name = $1
order by column_index;
