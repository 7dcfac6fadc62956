-- What changed in tables of the warehouse since a snapshot, and their rows as CSV. Read by `store/table_copying.py`.
--
-- Every write notes its transaction, and every row and past version its write: so the transactions that an earlier
-- snapshot did not see say exactly what is new. Statements that begin with `copy` have what they need put in by the
-- client, because COPY takes no parameters; $table, $columns, $by and $c are names, quoted by the driver.

-- name: now
-- What is visible (see `moment` in mirror.sql), and the names of all tables.
select s::text, pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint,
       concat_ws('/', pg_postmaster_start_time()::text, current_database(), 'dataflows.run'::regclass::oid::text),
       (select coalesce(array_agg(t.name), '{}') from dataflows.warehouse_table t)
from pg_current_snapshot() as s;

-- name: relations
-- $1 name[]
-- Tables, their past and their views of both: which relation and which file it is, how large, and its columns in order.
select t.name, n.nspname, c.relkind = 'v', c.oid::bigint, coalesce(pg_relation_filenode(c.oid), 0)::bigint, t.version,
       case when c.relkind = 'v' then 0 else pg_relation_size(c.oid) end,
       (select json_agg(json_build_array(a.attname, coalesce(b.typname, y.typname)) order by a.attnum)
        from pg_attribute a join pg_type y on y.oid = a.atttypid left join pg_type b on b.oid = y.typbasetype
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)
from dataflows.warehouse_table t
join pg_namespace n on n.nspname in ('warehouse', 'warehouse_past')
join pg_class c on c.relnamespace = n.oid
 and (c.relname = t.name and c.relkind in ('r', 'p')
      or c.relname = t.name || '_history' and n.nspname = 'warehouse' and c.relkind = 'v')
where t.name = any($1::text[]);

-- name: writes_since
-- $1 table, $2 the xmin of an earlier snapshot, $3 that snapshot
select coalesce(array_agg(w.id), '{}'), coalesce(sum(w.inserted::bigint + w.updated + w.deleted), 0)::bigint
from dataflows.write w
where w.name = $1 and w.xid >= $2::text::xid8 and not pg_visible_in_snapshot(w.xid, $3::text::pg_snapshot);

-- name: newest
-- When rows were last written, by the clock that wrote them, and what time it is here.
select greatest(clock_timestamp(), (select max(w.at) from dataflows.write w));

-- name: all_writes
copy (
    select w.id, w.run, w.step from dataflows.write w
) to stdout (format csv);

-- name: some_writes
-- $1 the xmin of an earlier snapshot, $2 that snapshot
copy (
    select w.id, w.run, w.step from dataflows.write w
    where w.xid >= $1::text::xid8 and not pg_visible_in_snapshot(w.xid, $2::text::pg_snapshot)
) to stdout (format csv);

-- name: all_rows
copy (
    select $columns from $table as t
) to stdout (format csv);

-- name: rows_by
-- $1 write[]
copy (
    select $columns from $table as t where t.$by = any($1::bigint[])
) to stdout (format csv);

-- name: rows_since
-- $1 the xmin of an earlier snapshot
-- By the rows' own transactions, so that a change by hand is seen too; it reads the whole table.
copy (
    select $columns from $table as t where age(t.xmin) <= (select age($1::text::xid8::xid))
) to stdout (format csv);

-- name: count
select count(*) from $table

-- name: as_interval
-- months, days and microseconds, as DuckDB has them; `numeric` because an hour may be any number
case when t.$c is not null then concat_ws(' ',
    (extract(year from t.$c) * 12 + extract(month from t.$c))::bigint, extract(day from t.$c)::bigint,
    (extract(hour from t.$c) * 3600000000 + extract(minute from t.$c) * 60000000 + extract(microseconds from t.$c))::bigint
) end

-- name: views
-- $1 folded name[]
-- Views of the warehouse, whoever made them, without the pasts of tables: name, and the columns in order.
select c.relname::text,
       (select json_agg(json_build_array(a.attname, coalesce(b.typname, y.typname)) order by a.attnum)
        from pg_attribute a join pg_type y on y.oid = a.atttypid left join pg_type b on b.oid = y.typbasetype
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)
from pg_class c
where c.relnamespace = 'warehouse'::regnamespace and c.relkind in ('v', 'm')
  and lower(c.relname) = any($1::text[])
  and not exists (select from dataflows.warehouse_table t where c.relname = t.name || '_history');
