-- Workflows that were published to workers.

-- name: find
-- $1 name[] or null
select p.name, p.kind, p.version, p.home, p.source, p.requires, p.python, p.revoked, p.created_at, p.created_by,
       p.key_id, p.signature
from dataflows.published p
where $1::text[] is null or p.name = any($1::text[])
order by p.name;

-- name: put
-- $1 name $2 kind $3 version $4 home $5 source $6 requires $7 python $8 revoked $9 created_at $10 created_by $11 key_id
-- $12 signature $13 the signature that stands there now, or null
-- Nothing where somebody else was faster.
insert into dataflows.published as p
    (name, kind, version, home, source, requires, python, revoked, created_at, created_by, key_id, signature)
values ($1, $2, $3, $4, $5, $6::text[], $7, $8::boolean, $9::timestamptz, $10, $11, $12)
on conflict (name) do update
set kind = excluded.kind, version = excluded.version, home = excluded.home, source = excluded.source,
    requires = excluded.requires, python = excluded.python, revoked = excluded.revoked,
    created_at = excluded.created_at, created_by = excluded.created_by, key_id = excluded.key_id,
    signature = excluded.signature
where p.signature = $13
returning p.name;

-- name: note
-- $1 action $2 detail
insert into dataflows.audit (action, detail) values ($1, $2::json);

-- name: know
-- $1 workflow $2 hash $3 kind $4 source $5 spec $6 info
-- So that runs of it can be started from SQL before any process ran one.
insert into dataflows.version (workflow, hash, kind, source, spec, info)
values ($1, $2, $3, $4, nullif($5, '')::json, $6::json)
on conflict do nothing;

-- name: tell
select pg_notify('dataflows', 'published ');

-- name: marks
-- What changed since the last look: a row that is written, by whomever, gets another mark.
select p.name, p.xmin::text || ':' || p.ctid::text from dataflows.published p order by p.name;
