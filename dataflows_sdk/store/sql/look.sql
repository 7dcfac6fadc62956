-- Looking at runs: what people and tools ask.

-- name: run
-- $1 run
select r.id, r.workflow, r.version, r.status, r.epoch, r.owner, r.wake_at, r.waits, r.last_seq, r.parent, r.parent_key,
       r.forked_from, r.idempotency_key, r.created_at, r.started_at, r.finished_at, w.heartbeat_at, w.info
from dataflows.run r left join dataflows.worker w on w.id = r.owner
where r.id = $1;

-- name: runs
-- $1 workflow or null, $2 status[] or null, $3 since or null, $4 until or null, $5 before id or null, $6 limit,
-- $7 parent or null, $8 forked_from or null
select r.id, r.workflow, r.version, r.status, r.epoch, r.owner, r.wake_at, r.waits, r.last_seq, r.parent, r.parent_key,
       r.forked_from, r.idempotency_key, r.created_at, r.started_at, r.finished_at, null::timestamptz, null::json
from dataflows.run r
where ($1::text is null or r.workflow = $1)
  and ($2::text[] is null or r.status = any($2))
  and ($3::timestamptz is null or r.created_at >= $3)
  and ($4::timestamptz is null or r.created_at < $4)
  and ($5::uuid is null or r.id < $5)
  and ($7::uuid is null or r.parent = $7)
  and ($8::uuid is null or r.forked_from = $8)
order by r.id desc
limit $6;

-- name: events
-- $1 run, $2 after seq, $3 up to seq or null
select seq, kind, coalesce(key, ''), data::text, at, epoch from dataflows.event
where run = $1 and seq > $2 and ($3::int is null or seq <= $3) order by seq;

-- name: tail
-- $1 after instant, $2 run or null, $3 workflow or null, $4 limit
select e.run, r.workflow, e.seq, e.kind, coalesce(e.key, ''), e.data::text, e.at
from dataflows.event e join dataflows.run r on r.id = e.run
where e.at > $1 and ($2::uuid is null or e.run = $2) and ($3::text is null or r.workflow = $3)
order by e.at, e.run, e.seq limit $4;

-- name: version
-- $1 workflow, $2 hash
select kind, source, spec::text, info::text, created_at from dataflows.version where workflow = $1 and hash = $2;

-- name: versions_of
-- $1 workflows, $2 a hash for each
select v.workflow, v.hash, v.kind, v.source, v.spec::text
from unnest($1::text[], $2::text[]) as w(workflow, hash)
join dataflows.version v on v.workflow = w.workflow and v.hash = w.hash;

-- name: latest_version
-- $1 workflow
select v.hash from dataflows.version v where v.workflow = $1 order by v.created_at desc, v.hash limit 1;

-- name: messages
-- $1 run
select id, kind, name, payload::text, at, consumed from dataflows.message where run = $1 order by id;

-- name: has_message
-- $1 run $2 dedupe
select 1 from dataflows.message m where m.run = $1::uuid and m.dedupe = $2;

-- name: outcome
-- $1 run
select r.status, e.data::text from dataflows.run r join dataflows.event e on e.run = r.id and e.seq = r.last_seq
where r.id = $1;

-- name: blobs
-- $1 sha256[]
select sha256, data from dataflows.blob where sha256 = any($1);

-- name: find_prefix
-- $1 first id $2 last id: runs whose id begins with what somebody typed
select id from dataflows.run where id between $1 and $2 limit 2;

-- name: workers
select w.id, w.started_at, w.heartbeat_at, w.lease, w.info,
       (select count(*) from dataflows.run r where r.owner = w.id and r.status = 'running'),
       exists (select 1 from pg_locks l where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
               and l.classid::bigint = ((w.lock_key >> 32) & 4294967295) and l.objid::bigint = (w.lock_key & 4294967295))
from dataflows.worker w order by w.started_at;

-- name: counts
select status, count(*) from dataflows.run group by status;
