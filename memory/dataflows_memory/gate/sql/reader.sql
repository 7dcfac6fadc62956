-- What agents may read, and the role under which they do.

-- name: relations
-- Every table and view of the schema: name, kind, comment, rows by PostgreSQL's guess, and columns with their types.
select c.relname::text, c.relkind::text, obj_description(c.oid, 'pg_class'), greatest(c.reltuples, 0)::bigint,
       array_agg(a.attname::text order by a.attnum), array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum),
       array_agg(col_description(c.oid, a.attnum) order by a.attnum)
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = to_regnamespace('warehouse') and c.relkind in ('r', 'p', 'f', 'v', 'm')
group by c.oid, c.relname, c.relkind, c.reltuples order by c.relname;

-- name: shapes
select t.name, t.shape from dataflows.warehouse_table t order by t.name;

-- name: sizes
-- $1 schemas $2 names: rows by PostgreSQL's guess; those of a table that was never analysed are counted up to a bound.
select n.nspname::text, c.relname::text, c.reltuples::bigint
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where (n.nspname, c.relname) in (select * from unnest($1::text[], $2::text[]));

-- name: role
-- $1: its name; who made it, and whether it may more than read.
select shobj_description(r.oid, 'pg_authid'), r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolbypassrls
       or r.rolreplication or exists (select 1 from pg_auth_members m where m.member = r.oid)
from pg_roles r where r.rolname = $1;

-- name: create
select format('create role %I nologin noinherit connection limit 20', $1::text);

-- name: defaults
select unnest(array[format('alter role %I set default_transaction_read_only = on', $1::text),
                    format('alter role %I set search_path = pg_catalog', $1::text)]);

-- name: wake
-- $2: what PostgreSQL keeps of a password that is thrown away when we are in
select format('alter role %I login password %L', $1::text, $2::text);

-- name: sleep
select format('alter role %I nologin password null', $1::text);

-- name: lock_login
-- $1: its name. One at a time gives it a password, over all processes.
select pg_advisory_lock(hashtextextended($1::text, 7240351927412));

-- name: unlock_login
select pg_advisory_unlock(hashtextextended($1::text, 7240351927412));

-- name: join
-- Ours becomes a member that may take the role on; having made it is not enough since PostgreSQL 16.
select format('grant %I to current_user', $1::text)
where not pg_has_role(current_user, $1::text,
                      case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end);

-- name: grants
-- $2 schemas $3 names $4 column lists (null: the whole table): what is there and not granted yet.
select format('grant usage on schema %I to %I', s, $1::text)
from (select distinct unnest($2::text[]) s) w
where to_regnamespace(quote_ident(s)) is not null and not has_schema_privilege($1::text, s, 'usage')
union all
select format('grant select%s on %I.%I to %I', coalesce(' (' || w.columns || ')', ''), w.s, w.t, $1::text)
from unnest($2::text[], $3::text[], $4::text[]) w (s, t, columns)
where to_regclass(format('%I.%I', w.s, w.t)) is not null
  and (w.columns is not null or not has_table_privilege($1::text, format('%I.%I', w.s, w.t), 'select'));

-- name: column_revokes
-- Taking back what was granted on a table takes back what was granted on its columns.
select format('revoke all on %I.%I from %I', n.nspname, c.relname, me.rolname)
from pg_roles me cross join pg_class c join pg_namespace n on n.oid = c.relnamespace
where me.rolname = $1 and exists (
    select 1 from pg_attribute a, aclexplode(a.attacl) p where a.attrelid = c.oid and p.grantee = me.oid);

-- name: some_columns
select {names} from {table};

-- name: as_it_was
-- A table at a moment: what has been there since, and what was ended later. The same as `as_of` of the warehouse.
select {names} from {table} as t where t._synced_at <= {moment}
union all
select {names} from {past} as t where t._synced_at <= {moment} and t._valid_to > {moment};

-- name: count_up_to
select count(*) from (select 1 as one from {table} limit {most}) as some_rows;

-- name: some_values
with some_rows as materialized (select {names} from {table} limit {looked_at})
select to_jsonb(array[{parts}]);

-- name: values_of
to_jsonb((
    select array_agg(v order by v) from (
        select distinct left(some_rows.{name}, {longest}) as v from some_rows where some_rows.{name} is not null
        limit {most}
    ) as {alias}
))
