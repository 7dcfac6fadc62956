-- Background jobs: a run, and a run of the workflow `dataflows.job` above it that waits for its end.

-- name: adopt
-- $1 run $2 job $3 key
-- The job is told when the run ends, as a parent is of its child.
update dataflows.run set parent = $2::uuid, parent_key = $3 where id = $1::uuid;

-- name: again
-- $1 run that failed $2 id of the new one $3 now $4 key
-- The same run once more, from its beginning: whatever columns it has go along, but what it came to.
with made as (
    insert into dataflows.run
    select n.* from dataflows.run r
    cross join lateral jsonb_populate_record(r, jsonb_build_object(
        'id', $2::uuid, 'status', 'queued', 'epoch', 0, 'owner', null, 'wake_at', coalesce($3::timestamptz, now()),
        'waits', null, 'last_seq', 1, 'parent_key', $4::text, 'idempotency_key', null, 'forked_from', null,
        'slot', null, 'key_until', null, 'pinned', null,
        'rank', dataflows.rank_of(r.queue, r.priority, coalesce($3::timestamptz, now())),
        'created_at', coalesce($3::timestamptz, now()), 'started_at', null, 'finished_at', null)) n
    where r.id = $1::uuid
), refs as (
    insert into dataflows.blob_ref (run, sha256)
    select $2::uuid, b.sha256 from dataflows.blob_ref b
    join dataflows.event e on e.run = b.run and e.seq = 1
    where b.run = $1::uuid and strpos(e.data::text, b.sha256) > 0
)
insert into dataflows.event (run, seq, epoch, kind, data, at)
select $2::uuid, 1, 0, e.kind, e.data, coalesce($3::timestamptz, now())
from dataflows.event e where e.run = $1::uuid and e.seq = 1;

-- name: runs_of
-- $1 job
-- The attempts, the last one first.
select r.id, r.workflow, r.status from dataflows.run r where r.parent = $1::uuid order by r.id desc limit 1000;

-- name: list
-- $1 workflow of jobs $2 workflow or null $3 status[] or null $4 before id or null $5 limit
select j.id from dataflows.run j
cross join lateral (
    select r.workflow, r.status from dataflows.run r where r.parent = j.id order by r.id desc limit 1
) l
where j.workflow = $1 and ($2::text is null or l.workflow = $2) and ($3::text[] is null or l.status = any($3))
  and ($4::uuid is null or j.id < $4)
order by j.id desc limit $5::int;
