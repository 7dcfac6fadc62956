-- Views of the warehouse: what stands on what, as PostgreSQL knows it, and the texts of every version.
-- DDL is put together by PostgreSQL's own format(), which quotes.

-- name: lock
-- Two definitions at once would drop each other's views.
select pg_advisory_xact_lock(7240351927411);

-- name: patience
select set_config('lock_timeout', $1, true);

-- name: path
-- Bare names are tables of the warehouse; gives the path that was.
with before as materialized (select current_setting('search_path') as path)
select before.path, set_config('search_path', case $1 when '' then '' else concat_ws(', ', $1, nullif(before.path, '')) end, true)
from before;

-- name: restore_path
select set_config('search_path', $1, true);

-- name: relations
-- What is there under which names; $1: the schema.
select c.relname::text, c.relkind::text, v.name is not null, t.name is not null
from pg_class c
left join dataflows.warehouse_view v on v.name = c.relname
left join dataflows.warehouse_table t on t.name = c.relname
where c.relnamespace = $1::regnamespace and c.relkind in ('r', 'p', 'f', 'v', 'm')
order by c.relname;

-- name: list
-- $1: one name, or null for all
select w.name, w.version, x.sql, x.materialized, x.key, w.description, w.refresh, w.next_at, w.refreshed_at, w.changed_at,
       c.oid::bigint, c.relkind::text, w.failures, w.last_error, w.failed_at, w.retry_at
from dataflows.warehouse_view w
join dataflows.warehouse_view_version x on x.name = w.name and x.version = w.version
left join pg_class c on c.relname = w.name and c.relnamespace = 'warehouse'::regnamespace and c.relkind in ('v', 'm')
where $1::text is null or w.name = $1
order by w.name;

-- name: list_oid
select c.oid::bigint from pg_class c where c.relname = $1 and c.relnamespace = 'warehouse'::regnamespace;

-- name: versions
select version, sql, materialized, key, depends, restored_from, role, run, step, at
from dataflows.warehouse_view_version where name = $1 order by version;

-- name: columns
select a.attname::text, format_type(a.atttypid, a.atttypmod)
from pg_attribute a
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
order by a.attnum;

-- name: readable
-- Every view that stands in the schema, whoever made it, without the pasts of tables: name, column, type.
select c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = 'warehouse'::regnamespace and c.relkind in ('v', 'm')
  and not exists (select 1 from dataflows.warehouse_table t where c.relname = t.name || '_history')
order by c.relname, a.attnum;

-- name: depends
-- What a view reads itself: schema, name, kind.
select distinct n.nspname::text, c.relname::text, c.relkind::text
from pg_rewrite r
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class
join pg_class c on c.oid = d.refobjid
join pg_namespace n on n.oid = c.relnamespace
where r.ev_class = $1
order by 1, 2;

-- name: dependants
-- The views that stand on relations, in the order in which they can be made; $1: oids.
with recursive edge as (
    select distinct d.refobjid as below, r.ev_class as above
    from pg_rewrite r
    join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                    and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class
), walk (rel, depth) as (
    select above, 1 from edge where below = any ($1::oid[])
    union
    select edge.above, walk.depth + 1 from walk join edge on edge.below = walk.rel where walk.depth < 1000
)
select c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text
from walk
join pg_class c on c.oid = walk.rel
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('v', 'm') and c.oid <> all ($1::oid[])
group by c.oid, n.nspname, c.relname, c.relkind
order by max(walk.depth), n.nspname, c.relname;

-- name: oids
-- The history of tables, and ($2) they and their past themselves; $1: names of tables.
select c.oid::bigint
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where (n.nspname = 'warehouse' and c.relname = any (select each || '_history' from unnest($1::text[]) each))
   or ($2 and n.nspname in ('warehouse', 'warehouse_past') and c.relname = any ($1::text[]));

-- name: remake
-- The statements that make a view as it is, after it was dropped: itself, and what hangs on it. With an empty search
-- path, so that every name in them has its schema. $1: oid.
select array_remove(array[
    format('create %s %I.%I%s as %s%s', w.kind, n.nspname, c.relname,
           ' with (' || array_to_string(c.reloptions, ', ') || ')',
           rtrim(pg_get_viewdef(c.oid), ' ;' || chr(10)), case when not c.relispopulated then ' with no data' end)
], null) || h.statements
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
cross join lateral (select case c.relkind when 'm' then 'materialized view' else 'view' end) w (kind)
cross join lateral (
    select coalesce(array_agg(s.text order by s.place, s.text), '{}') as statements from (
        select 1, format('alter %s %I.%I owner to %I', w.kind, n.nspname, c.relname, pg_get_userbyid(c.relowner))
        where pg_get_userbyid(c.relowner) <> current_user
        union all
        select 2, pg_get_indexdef(i.indexrelid) from pg_index i where i.indrelid = c.oid
        union all
        select 3, format('comment on %s %I.%I is %L', w.kind, n.nspname, c.relname, obj_description(c.oid, 'pg_class'))
        where obj_description(c.oid, 'pg_class') is not null
        union all
        select 4, format('comment on column %I.%I.%I is %L', n.nspname, c.relname, a.attname, col_description(c.oid, a.attnum))
        from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and col_description(c.oid, a.attnum) is not null
        union all
        select 5, format('grant %s on %I.%I to %s%s', p.privilege_type, n.nspname, c.relname,
                         case p.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(p.grantee)) end,
                         case when p.is_grantable then ' with grant option' end)
        from aclexplode(c.relacl) p where p.grantee <> c.relowner
        union all
        select 5, format('grant %s (%I) on %I.%I to %s%s', p.privilege_type, a.attname, n.nspname, c.relname,
                         case p.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(p.grantee)) end,
                         case when p.is_grantable then ' with grant option' end)
        from pg_attribute a cross join lateral aclexplode(a.attacl) p
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        union all
        select 6, pg_get_triggerdef(t.oid) from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal
    ) s (place, text)
) h
where c.oid = $1;

-- name: grants
-- The statements that let others read a view again, after it was dropped and made with another text. $1: oid.
select format('grant %s on warehouse.%I to %s%s', p.privilege_type, c.relname,
              case p.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(p.grantee)) end,
              case when p.is_grantable then ' with grant option' end)
from pg_class c cross join lateral aclexplode(c.relacl) p
where c.oid = $1 and p.grantee <> c.relowner;

-- name: drop
select format('drop %s %I.%I', case $3 when 'm' then 'materialized view' else 'view' end, $1::text, $2::text);

-- name: check
-- Only one SELECT can stand after this.
select 'declare dataflows_check no scroll cursor for ';

-- name: check_done
close dataflows_check;

-- name: plan
select 'explain (verbose, costs off, format json) ';

-- name: create
-- What comes before the text; $2: the kind, $3: whether to replace
select format('create %s%s warehouse.%I as ', case when $3 then 'or replace ' else '' end,
              case $2 when 'm' then 'materialized view' else 'view' end, $1::text);

-- name: trial
select format('explain (costs off) select * from warehouse.%I', $1::text);

-- name: index
-- $2: columns
select format('create unique index on warehouse.%I (%s)', $1::text,
              (select string_agg(quote_ident(each), ', ' order by n) from unnest($2::text[]) with ordinality u (each, n)));

-- name: comment
select format('comment on %s warehouse.%I is %L',
              case $2 when 'm' then 'materialized view' else 'view' end, $1::text, $3::text);

-- name: refresh
select format('refresh materialized view %s warehouse.%I', case when $2 then 'concurrently' else '' end, $1::text),
       pg_current_snapshot()::text, clock_timestamp();

-- name: refreshed
update dataflows.warehouse_view
set refreshed_at = $2, seen = $3::pg_snapshot, next_at = $4, failures = 0, last_error = null, failed_at = null, retry_at = null
where name = $1;

-- name: not_refreshed
-- $2: why; $3: now; $4: when to try again
update dataflows.warehouse_view set failures = failures + 1, last_error = $2, failed_at = $3, retry_at = $4 where name = $1;

-- name: clock
select clock_timestamp();

-- name: now
select now(), pg_current_snapshot()::text;

-- name: next_version
select coalesce(max(version), 0) + 1 from dataflows.warehouse_view_version where name = $1;

-- name: put_version
insert into dataflows.warehouse_view_version
    (name, version, sql, materialized, key, depends, restored_from, role, run, step, at)
values ($1, $2, $3, $4, $5, $6, $7, session_user, $8, $9, now());

-- name: put
insert into dataflows.warehouse_view
    (name, version, description, refresh, next_at, refreshed_at, seen, created_at, changed_at)
values ($1, $2, $3, $4, $5, case when $6::text is not null then $7::timestamptz end, $6::pg_snapshot, now(), now())
on conflict (name) do update
set version = excluded.version, description = excluded.description, refresh = excluded.refresh,
    next_at = excluded.next_at, refreshed_at = excluded.refreshed_at, seen = excluded.seen, changed_at = now(),
    failures = 0, last_error = null, failed_at = null, retry_at = null;

-- name: describe
update dataflows.warehouse_view
set description = $2, refresh = $3, next_at = $4, changed_at = now(), retry_at = null
where name = $1;

-- name: refilled
-- Materialised views were made anew in this transaction; $1: names, $2: what that could see
update dataflows.warehouse_view w set refreshed_at = now(), seen = $2::pg_snapshot
from dataflows.warehouse_view_version x
where w.name = any ($1::text[]) and x.name = w.name and x.version = w.version and x.materialized;

-- name: forget
delete from dataflows.warehouse_view where name = $1;

-- name: pulse
-- When the next view is to be refreshed; one that somebody dropped by hand is not.
select min(greatest(w.next_at, w.retry_at))
from dataflows.warehouse_view w
join pg_class c on c.relname = w.name and c.relnamespace = 'warehouse'::regnamespace and c.relkind = 'm'
where w.next_at is not null;

-- name: due
-- $1: the time by which they are due, or null for now. Those that stand on another one of them come after it: they
-- would be made of its old rows.
with recursive due as materialized (
    select w.name, w.next_at, c.oid
    from dataflows.warehouse_view w
    join pg_class c on c.relname = w.name and c.relnamespace = 'warehouse'::regnamespace and c.relkind = 'm'
    where greatest(w.next_at, w.retry_at) <= coalesce($1::timestamptz, now()) and w.next_at is not null
), edge as (
    select distinct d.refobjid as below, r.ev_class as above
    from pg_rewrite r
    join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                    and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class
), walk (name, rel) as (
    select name, oid from due
    union
    select walk.name, edge.below from walk join edge on edge.above = walk.rel
)
select d.name from due d
where not exists (select 1 from walk join due o on o.oid = walk.rel where walk.name = d.name and o.name <> d.name)
order by d.next_at, d.name;

-- name: try_hold
-- Whoever refreshes a view because it is due holds this until the end of the transaction. No lock of a row: a refresh by
-- hand, or another definition, locks the view first and then the row.
select pg_try_advisory_xact_lock(724035193, hashtext($1));

-- name: still_due
-- After try_hold, as a statement of its own: it has to see what was committed before that. How often it failed.
select w.failures from dataflows.warehouse_view w
where w.name = $1 and w.next_at is not null and greatest(w.next_at, w.retry_at) <= coalesce($2::timestamptz, now());

-- name: staleness
-- Materialised views that a view reads, itself included, against what was written since to the tables they read.
with recursive edge as (
    select distinct d.refobjid as below, r.ev_class as above
    from pg_rewrite r
    join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                    and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class
), under (rel) as (
    select $1::oid
    union
    select edge.below from under join edge on edge.above = under.rel
), kept as (
    select c.oid, w.refreshed_at, w.seen
    from under
    join pg_class c on c.oid = under.rel and c.relkind = 'm' and c.relnamespace = 'warehouse'::regnamespace
    join dataflows.warehouse_view w on w.name = c.relname
), walk (kept, rel) as (
    select oid, oid from kept
    union
    select walk.kept, edge.below from walk join edge on edge.above = walk.rel
), since as (
    select distinct w.id, w.at, w.inserted + w.updated + w.deleted as n
    from walk
    join kept on kept.oid = walk.kept
    join pg_class t on t.oid = walk.rel and t.relnamespace = 'warehouse'::regnamespace and t.relkind = 'r'
    join dataflows.write w on w.name = t.relname and w.xid >= pg_snapshot_xmin(kept.seen)
                          and not pg_visible_in_snapshot(w.xid, kept.seen)
)
select (select count(*) from kept),
       (select min(refreshed_at) from kept),
       coalesce($2::timestamptz, now()),
       (select count(*) from since),
       (select coalesce(sum(n), 0)::bigint from since),
       (select min(at) from since),
       not exists (
           select 1 from walk join pg_class t on t.oid = walk.rel
           left join dataflows.warehouse_table k on k.name = t.relname and t.relnamespace = 'warehouse'::regnamespace
           where t.relkind in ('r', 'p', 'f') and k.name is null
             and t.relnamespace <> 'warehouse_past'::regnamespace
             and t.oid <> 'dataflows.write'::regclass
       );
