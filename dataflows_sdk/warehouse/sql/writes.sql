-- The list of writes, and what came before them.

-- name: after
-- $1 transaction $2 write: what was heard last $3 table, or null for all $4 how many
-- Writes in the order of their transactions, as far as no older one is under way any more (decision 0014).
select w.xid::text, w.id, w.name, w.at, w.run, w.step, w.source, w.inserted + w.updated + w.deleted
from dataflows.write w
where (w.xid, w.id) > ($1::text::xid8, $2::bigint) and w.xid < pg_snapshot_xmin(pg_current_snapshot())
      and ($3::text is null or w.name = $3)
order by w.xid, w.id
limit $4;

-- name: from_here
-- What is heard from now on.
select (pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1)::text, 9223372036854775807;

-- name: since
-- $1 moment: the last write that is older
select w.xid::text, w.id from dataflows.write w where w.at < $1::timestamptz order by w.xid desc, w.id desc limit 1;

-- name: by_run
-- $1 run
select w.name, w.step, w.at, w.source, w.inserted, w.updated, w.deleted, w.id
from dataflows.write w where w.run = $1::uuid order by w.id;

-- name: why
-- $1 run $2 step
-- The run that wrote: its workflow and version, the event of its step, and how it began.
select r.workflow, r.version, e.seq, c.data
from dataflows.run r
left join dataflows.event c on c.run = r.id and c.seq = 1
left join lateral (
    select e.seq from dataflows.event e
    where e.run = r.id and e.key = $2 and e.kind = 'step.completed'
    order by e.seq desc limit 1
) e on true
where r.id = $1::uuid;

-- name: aside
-- $1 table $2 how many
select a.id, a.at, a.reason, a.row, a.source, a.run, a.step
from dataflows.warehouse_aside a where a.name = $1 order by a.id desc limit $2;

-- name: forget_aside
-- $1 table $2 id[], or null for all
delete from dataflows.warehouse_aside a where a.name = $1 and ($2::bigint[] is null or a.id = any($2));

-- name: count_aside
select count(*) from dataflows.warehouse_aside a where a.name = $1;
