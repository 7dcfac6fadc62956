-- DuckDB: what is in an archive. Its layout is that of the mirrors, so that the same questions can be asked.

-- $database is put in
-- name: create
create schema $database.internal;
create schema $database.internal_writes;
create schema $database.internal_past;
create schema $database.warehouse;
create table $database.internal.archive (name varchar, value varchar);
create table $database.internal.tables (name varchar, created integer);
create table $database.main.blobs (sha256 varchar, data blob);

-- $database is put in; $1 name $2 value
-- name: note
insert into $database.internal.archive values ($1, $2);

-- $database is put in; $1 name $2 place
-- name: note_table
insert into $database.internal.tables values ($1, $2);

-- $database is put in; $1 sha256[] $2 data[]
-- name: note_blobs
insert into $database.main.blobs select unnest($1::varchar[]), unnest($2::blob[]);

-- $into, $table and $where are put in
-- name: copy
create table $into as select * from $table where $where;

-- $1 run[]
-- name: kept
create or replace temp table kept as select unnest($1::varchar[]) as id;

-- Texts that may name large values.
-- name: referring
select data::varchar from dataflows.main.events where contains(data::varchar, '"sha256"') and $where;

-- name: info
select name, value from dataflows.internal.archive;

-- name: tables
select name from dataflows.internal.tables order by created;

-- $1 sha256[]
-- name: blobs
select sha256, data from dataflows.main.blobs where list_contains($1::varchar[], sha256);

-- $1 schema $2 table
-- name: columns
select column_name, data_type from duckdb_columns()
where database_name = 'dataflows' and schema_name = $1 and table_name = $2
order by column_index;

-- $1 database
-- All tables that there are.
-- name: contents
select schema_name, table_name from duckdb_tables() where database_name = $1 order by schema_name, table_name;

-- $1 the beginning of an id
-- name: one_run
select id, workflow, version, status, input, result, error, parent, forked_from, created_at, started_at, finished_at
from dataflows.main.runs where starts_with(id, $1) limit 2;

-- $1 workflow or null $2 status[] or null $3 limit
-- name: some_runs
select id, workflow, version, status, input, result, error, parent, forked_from, created_at, started_at, finished_at
from dataflows.main.runs
where ($1::varchar is null or workflow = $1) and ($2::varchar[] is null or list_contains($2::varchar[], status))
order by created_at desc, id desc limit $3;

-- $1 run
-- name: events
select seq, kind, coalesce(key, ''), data::varchar, "at" from dataflows.main.events where run = $1 order by seq;

-- $column is put in
-- name: of_kept
$column in (select id from kept)

-- $values, $table and $file are put in
-- name: to_parquet
copy (select $values from $table) to $file (format parquet);

-- $view, $values and $file are put in
-- name: from_parquet
create view $view as select $values from read_parquet($file);

-- $1 run; $today and $past are put in
-- What a run wrote to a table: write, step, when, rows inserted, updated, deleted.
-- name: wrote
select v.write, any_value(w.step), min(v."at"), sum(v.inserted)::bigint, sum(v.updated)::bigint, sum(v.deleted)::bigint
from (
    select _write as write, _synced_at as "at", (_version = 1)::int as inserted, (_version > 1)::int as updated, 0 as deleted
    from $today
    union all
    select _write, _synced_at, (_version = 1)::int, (_version > 1)::int, 0 from $past
    union all
    select _ended_by, _valid_to, 0, 0, 1 from $past where _deleted
) v
join dataflows.internal_writes.writes w on w.id = v.write
where w.run = $1 group by v.write;

-- $table is put in; ? limit
-- name: rows
select * from warehouse.$table order by id limit ?

-- $table is put in; ? ids
-- name: rows_of
select * from warehouse.$table where list_contains(?, id) order by id

-- $today and $past are put in; $1 after $2 until $3 limit
-- Rows of which a version began or ended.
-- name: moved
select distinct id from (
    select id, _synced_at as "at" from $today
    union all
    select id, _synced_at from $past
    union all
    select id, _valid_to from $past
) where "at" > $1 and "at" <= $2 order by id limit $3;

-- $database is put in
-- name: create_versions
create table $database.internal.versions (
    workflow varchar, version varchar, kind varchar, source varchar, document varchar
);

-- $database is put in
-- name: versions_used
select distinct workflow, version from $database.main.runs where version is not null order by all;

-- $database is put in; lists of the columns
-- name: note_versions
insert into $database.internal.versions
select unnest($1::varchar[]), unnest($2::varchar[]), unnest($3::varchar[]), unnest($4::varchar[]), unnest($5::varchar[]);

-- $database is put in
-- name: create_said
create table $database.internal.said (
    run varchar, act varchar, "at" timestamptz, step varchar, item bigint, collection varchar, scope varchar,
    origin varchar, ref varchar, part integer, text varchar
);

-- $database is put in
-- name: run_ids
select id from $database.main.runs;

-- $database is put in; lists of the columns
-- name: note_said
insert into $database.internal.said
select unnest($1::varchar[]), unnest($2::varchar[]), unnest($3::timestamptz[]), unnest($4::varchar[]),
       unnest($5::bigint[]), unnest($6::varchar[]), unnest($7::varchar[]), unnest($8::varchar[]), unnest($9::varchar[]),
       unnest($10::integer[]), unnest($11::varchar[]);

-- What came later than the first archives, and may be missing.
-- name: besides
select table_name from information_schema.tables
where table_catalog = 'dataflows' and table_schema = 'internal' and table_name in ('versions', 'said');

-- $1 workflow $2 version
-- name: version
select kind, source, document from dataflows.internal.versions where workflow = $1 and version = $2;

-- $1 run
-- name: said
select act, "at", step, item, collection, scope, origin, ref, part, text
from dataflows.internal.said where run = $1 order by "at", act = 'remembered', item;

-- $1 run
-- How much a run wrote, also to tables that are not in the archive.
-- name: count_writes
select count(*) from dataflows.internal_writes.writes where run = $1;
