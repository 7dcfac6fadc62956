-- Roles that read the warehouse, for BI tools. PostgreSQL's own format() quotes what is put in.

-- name: lock
select pg_advisory_xact_lock(7240351927412);

-- name: role
-- $1: its name; who made it, and whether it may more than read.
select shobj_description(r.oid, 'pg_authid'), r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolbypassrls
       or r.rolreplication or exists (select 1 from pg_auth_members m where m.member = r.oid)
from pg_roles r where r.rolname = $1;

-- name: database
select current_database()::text;

-- name: create
select format('create role %I login', $1::text);

-- name: mark
select format('comment on role %I is %L', $1::text, $2::text);

-- name: password
select format('alter role %I login password %L', $1::text, $2::text);

-- name: settings
-- $2: seconds of a statement, $3: connections
select unnest(array[
    format('alter role %I connection limit %s', $1::text, $3::int),
    format('alter role %I set default_transaction_read_only = on', $1::text),
    format('alter role %I set statement_timeout = %L', $1::text, $2::bigint || 'ms'),
    format('alter role %I set idle_in_transaction_session_timeout = %L', $1::text, $2::bigint || 'ms'),
    format('alter role %I set lock_timeout = %L', $1::text, '10s'),
    format('alter role %I set search_path = warehouse', $1::text)
]);

-- name: grants
-- What lets the role read: the schemas, what is there now, and what will be made by each owner of the warehouse.
-- $2: whether the journal as well, $3: which views those are.
with mine as (
    select c.oid, c.relname, c.relowner, n.nspname
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'warehouse' and c.relkind in ('r', 'p', 'f', 'v', 'm')
), journal as (
    select c.relname from pg_class c
    where $2 and c.relnamespace = 'dataflows'::regnamespace and c.relkind = 'v' and c.relname = any ($3::text[])
)
select format('grant usage on schema warehouse to %I', $1::text)
union all
select format('grant select on %I.%I to %I', nspname, relname, $1::text) from mine
where has_table_privilege(oid, 'select with grant option')
union all
select format('alter default privileges for role %I in schema warehouse grant select on tables to %I',
              pg_get_userbyid(owner), $1::text)
from (select relowner as owner from mine union select current_user::regrole::oid
      union select nspowner from pg_namespace where nspname = 'warehouse') o
where pg_has_role(owner, 'usage')
union all
select format('grant usage on schema dataflows to %I', $1::text) where $2
union all
select format('grant select on dataflows.%I to %I', relname, $1::text) from journal;

-- name: connect
select format('grant connect on database %I to %I', current_database(), $1::text)
where not has_database_privilege($1::text, current_database(), 'connect');

-- name: out_of_reach
-- Tables that others own and did not let this role pass on, and owners whose tables to come stay unseen.
select format('%I', c.relname), null
from pg_class c
where c.relnamespace = 'warehouse'::regnamespace and c.relkind in ('r', 'p', 'f', 'v', 'm')
  and not has_table_privilege($1::text, c.oid, 'select')
union all
select null, format('%I', pg_get_userbyid(owner))
from (select distinct relowner as owner from pg_class
      where relnamespace = 'warehouse'::regnamespace and relkind in ('r', 'p', 'f', 'v', 'm')) o
where not pg_has_role(owner, 'usage');

-- name: revokes
-- What was granted in this database: everything, or ($2) only what the journal shows.
with me as (select oid, rolname from pg_roles where rolname = $1)
select format('revoke all on %I.%I from %I', n.nspname, c.relname, me.rolname)
from me cross join pg_class c join pg_namespace n on n.oid = c.relnamespace
where exists (select 1 from aclexplode(c.relacl) p where p.grantee = me.oid)
  and (not $2 or n.nspname = 'dataflows')
union all
select format('revoke all on schema %I from %I', n.nspname, me.rolname)
from me cross join pg_namespace n
where exists (select 1 from aclexplode(n.nspacl) p where p.grantee = me.oid)
  and (not $2 or n.nspname = 'dataflows')
union all
select format('alter default privileges for role %I%s revoke all on tables from %I', pg_get_userbyid(d.defaclrole),
              ' in schema ' || quote_ident(n.nspname), me.rolname)
from me cross join pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace
where d.defaclobjtype = 'r' and exists (select 1 from aclexplode(d.defaclacl) p where p.grantee = me.oid) and not $2
union all
select format('revoke all on database %I from %I', d.datname, me.rolname)
from me cross join pg_database d
where d.datname = current_database() and not $2
  and exists (select 1 from aclexplode(d.datacl) p where p.grantee = me.oid);

-- name: oid
select oid::bigint from pg_roles where rolname = $1;

-- name: disconnect
-- Who is connected under a role that is gone by now, as far as we may end them. $1: its oid
select pg_terminate_backend(a.pid)
from pg_stat_activity a, pg_roles me
where a.usesysid = $1 and me.rolname = current_user and (me.rolsuper or pg_has_role('pg_signal_backend', 'usage'));

-- name: drop
select format('drop role %I', $1::text);
