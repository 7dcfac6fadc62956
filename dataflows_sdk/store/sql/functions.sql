-- Functions that were deployed as source.

-- name: deploy
-- $1 slug $2 version $3 engine $4 source $5 timeout_ms $6 memory_mb $7 now
-- What comes back is current again.
insert into dataflows.function (slug, version, engine, source, timeout_ms, memory_mb, deployed_at)
values ($1, $2, $3, $4, $5, $6, $7::timestamptz)
on conflict (slug, version) do update set deployed_at = excluded.deployed_at;

-- name: current
-- $1 slug or null
select distinct on (f.slug) f.slug, f.version, f.engine, f.source, f.timeout_ms, f.memory_mb
from dataflows.function f where $1::text is null or f.slug = $1
order by f.slug, f.deployed_at desc;

-- name: versions
-- $1 slug
select f.slug, f.version, f.engine, f.source, f.timeout_ms, f.memory_mb
from dataflows.function f where f.slug = $1 order by f.deployed_at;
