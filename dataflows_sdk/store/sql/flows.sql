-- Flows that were saved, and their versions.

-- name: find
-- $1 id or null, $2 name or null
select f.id, f.name, f.description, f.trigger_type, f.status, f.version, f.created_at, f.updated_at, f.deleted_at, f.created_by
from dataflows.flow f
where f.deleted_at is null and (f.id = $1::uuid or f.name = $2::text);

-- name: list
-- $1 status or null, $2 limit, $3 offset
select f.id, f.name, f.description, f.trigger_type, f.status, f.version, f.created_at, f.updated_at, f.deleted_at, f.created_by
from dataflows.flow f
where f.deleted_at is null and ($1::text is null or f.status = $1)
order by f.updated_at desc, f.id desc limit $2 offset $3;

-- name: create
-- $1 id $2 name $3 description $4 trigger_type $5 now $6 by
-- Nothing where the name is taken.
insert into dataflows.flow (id, name, description, trigger_type, version, created_at, updated_at, created_by)
values ($1::uuid, $2, $3, $4, 0, $5::timestamptz, $5::timestamptz, $6)
on conflict (name) where deleted_at is null do nothing
returning id;

-- name: lock
-- $1 id
select f.version, f.name, f.status from dataflows.flow f where f.id = $1::uuid and f.deleted_at is null for update;

-- name: add_version
-- $1 flow $2 version $3 hash $4 document $5 label $6 tag $7 description $8 restored_from $9 automatic $10 now $11 by
insert into dataflows.flow_version
    (flow, version, hash, document, name, tag, description, restored_from, automatic, created_at, created_by)
values ($1::uuid, $2, $3, $4::json, $5, $6, $7, $8, $9, $10::timestamptz, $11);

-- name: point
-- $1 flow $2 version $3 description $4 trigger_type $5 now
update dataflows.flow set version = $2, description = $3, trigger_type = $4, updated_at = $5::timestamptz
where id = $1::uuid;

-- name: version
-- $1 flow $2 version
select v.version, v.hash, v.document::text, v.name, v.tag, v.description, v.restored_from, v.automatic, v.created_at,
       v.created_by
from dataflows.flow_version v where v.flow = $1::uuid and v.version = $2;

-- name: versions
-- $1 flow $2 limit $3 offset
select v.version, v.hash, v.document::text, v.name, v.tag, v.description, v.restored_from, v.automatic, v.created_at,
       v.created_by
from dataflows.flow_version v where v.flow = $1::uuid order by v.version desc limit $2 offset $3;

-- name: label
-- $1 flow $2 version $3 name $4 tag $5 description
-- The only things of a version that may change; null leaves one as it is.
update dataflows.flow_version v
set name = coalesce($3, v.name), tag = coalesce($4, v.tag), description = coalesce($5, v.description)
where v.flow = $1::uuid and v.version = $2
returning v.version;

-- name: set_status
-- $1 id $2 status $3 now $4 status that it must have
update dataflows.flow set status = $2, updated_at = $3::timestamptz
where id = $1::uuid and status = $4 and deleted_at is null returning id;

-- name: delete
-- $1 id $2 now
update dataflows.flow set deleted_at = $2::timestamptz, updated_at = $2::timestamptz
where id = $1::uuid and deleted_at is null returning id;

-- name: runnable
-- $1 updated after
-- The newest content of flows that may have runs, for workers; deleted ones finish what they began.
select f.name, v.document::text, f.updated_at
from dataflows.flow f join dataflows.flow_version v on v.flow = f.id and v.version = f.version
where f.updated_at > $1::timestamptz
order by f.updated_at;
