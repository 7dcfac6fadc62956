-- Which tables there are, and what they look like.

-- name: lock
-- $1 table: whoever makes or changes it waits for the others
select pg_advisory_xact_lock(hashtextextended('dataflows.warehouse.' || $1, 0));

-- name: get
-- $1 table
select t.shape, t.version from dataflows.warehouse_table t where t.name = $1;

-- name: list
select t.name, t.shape, t.version from dataflows.warehouse_table t order by t.name;

-- name: actual
-- $1 table: its columns as they are now, whoever made them
select a.attname, format_type(a.atttypid, a.atttypmod)
from pg_attribute a
where a.attrelid = to_regclass('warehouse.' || quote_ident($1)) and a.attnum > 0 and not a.attisdropped
order by a.attnum;

-- name: put
-- $1 table $2 shape $3 version $4 changes $5 run $6 step
with kept as (
    insert into dataflows.warehouse_shape (name, version, shape, changes, run, step, at)
    values ($1, $3, $2::json, $4::json, $5, $6, clock_timestamp())
)
insert into dataflows.warehouse_table (name, shape, version, created_at, changed_at)
values ($1, $2::json, $3, clock_timestamp(), clock_timestamp())
on conflict (name) do update set shape = excluded.shape, version = excluded.version, changed_at = excluded.changed_at;

-- name: next_version
-- $1 table
select coalesce(max(s.version), 0) + 1 from dataflows.warehouse_shape s where s.name = $1;

-- name: forget
-- $1 table
delete from dataflows.warehouse_table t where t.name = $1;

-- name: exists
-- $1 table: whether something of that name stands in our schemas already
select to_regclass('warehouse.' || quote_ident($1)) is not null
       or to_regclass('warehouse_past.' || quote_ident($1)) is not null;
