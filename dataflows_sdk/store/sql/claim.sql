-- Who works on what: workers, claims, reclaims.

-- name: register_worker
-- $1 id $2 lock_key $3 lease seconds $4 info
insert into dataflows.worker (id, lock_key, started_at, heartbeat_at, lease, info)
values ($1::uuid, $2::bigint, now(), now(), make_interval(secs => $3::float8), $4::json)
on conflict (id) do update set heartbeat_at = now();

-- name: hold_lock
-- $1 lock_key
-- Held by the heartbeat's session: when the process dies, the server frees it at once.
select pg_try_advisory_lock($1::bigint);

-- name: heartbeat
-- $1 id
update dataflows.worker set heartbeat_at = now() where id = $1::uuid returning now();

-- name: retire_worker
-- $1 id
delete from dataflows.worker w
where w.id = $1::uuid and not exists (select 1 from dataflows.run r where r.owner = w.id and r.status = 'running');

-- name: dead_workers
-- $1 own id
-- Workers whose lease ran out (true), and those whose session is gone, so that their lock is free (false): the
-- latter may only be reconnecting, the caller looks twice. So may owners of runs whom nobody remembers: one was taken
-- for dead, came back, and may have died before it could register again.
with recursive owners(id) as (
    (select r.owner from dataflows.run r
     where r.status = 'running' and r.owner is not null order by r.owner limit 1)
    union all
    select (select r.owner from dataflows.run r
            where r.status = 'running' and r.owner > o.id order by r.owner limit 1)
    from owners o where o.id is not null
)
select o.id, false
from owners o
where o.id <> $1::uuid and not exists (select 1 from dataflows.worker w where w.id = o.id)
union all
select w.id, w.heartbeat_at + w.lease < now()
from dataflows.worker w
where w.id <> $1::uuid
  and (w.heartbeat_at + w.lease < now()
    or (pg_postmaster_start_time() < now() - interval '3 seconds'
        and not exists (
            select 1 from pg_locks l
            where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
              and l.database = (select oid from pg_database where datname = current_database())
              and l.classid::bigint = ((w.lock_key >> 32) & 4294967295)
              and l.objid::bigint = (w.lock_key & 4294967295))));

-- name: claim_due
-- $1 now $2 worker $3 workflow[] $4 limit
-- The claim bumps the epoch and is an event of the run; a message or timer is looked at after it, under the claim.
with due as (
    select r.id, r.status as was
    from dataflows.run r
    where r.status in ('queued', 'sleeping', 'waiting')
      and r.wake_at <= coalesce($1::timestamptz, now())
      and r.workflow = any($3::text[])
    order by r.wake_at
    limit $4::int
    for update skip locked
), claimed as (
    update dataflows.run r
    set status = 'running', epoch = r.epoch + 1, owner = $2::uuid, wake_at = null, waits = null,
        started_at = coalesce(r.started_at, coalesce($1::timestamptz, now()))
    from due where due.id = r.id
    returning r.id, r.workflow, r.version, r.epoch, r.parent, r.parent_key, r.created_at, due.was
), noted as (
    insert into dataflows.event (run, seq, epoch, kind, data, at)
    select c.id, (select coalesce(max(e.seq), 0) + 1 from dataflows.event e where e.run = c.id), c.epoch, 'run.claimed',
           json_build_object('worker', $2::uuid, 'why', c.was), coalesce($1::timestamptz, now())
    from claimed c
)
select id, workflow, version, epoch, parent, parent_key, created_at, was from claimed order by id;

-- name: reclaim
-- $1 now $2 worker $3 workflow[] $4 limit $5 dead worker[]
-- Runs of workers that are gone, also of workers whose row was already removed.
with lost as (
    select r.id
    from dataflows.run r
    where r.status = 'running' and r.owner = any($5::uuid[]) and r.workflow = any($3::text[])
    limit $4::int
    for update skip locked
), claimed as (
    update dataflows.run r
    set epoch = r.epoch + 1, owner = $2::uuid
    from lost where lost.id = r.id
    returning r.id, r.workflow, r.version, r.epoch, r.parent, r.parent_key, r.created_at
), noted as (
    insert into dataflows.event (run, seq, epoch, kind, data, at)
    select c.id, (select coalesce(max(e.seq), 0) + 1 from dataflows.event e where e.run = c.id), c.epoch, 'run.claimed',
           json_build_object('worker', $2::uuid, 'why', 'lost'), coalesce($1::timestamptz, now())
    from claimed c
)
select id, workflow, version, epoch, parent, parent_key, created_at, 'lost' as was from claimed order by id;

-- name: owned
-- $1 worker
select r.id, r.epoch from dataflows.run r where r.owner = $1::uuid and r.status = 'running';

-- name: reclaim_own
-- $1 now $2 worker $3 run[] $4 epoch[]
-- Runs of ours that are not in our memory: the answer to their claim was lost.
with lost as (
    select r.id
    from unnest($3::uuid[], $4::int[]) as q(id, epoch)
    join dataflows.run r on r.id = q.id and r.epoch = q.epoch
    where r.status || '' = 'running' and r.owner = $2::uuid
    for update of r skip locked
), claimed as (
    update dataflows.run r
    set epoch = r.epoch + 1
    from lost where lost.id = r.id
    returning r.id, r.workflow, r.version, r.epoch, r.parent, r.parent_key, r.created_at
), noted as (
    insert into dataflows.event (run, seq, epoch, kind, data, at)
    select c.id, (select coalesce(max(e.seq), 0) + 1 from dataflows.event e where e.run = c.id), c.epoch, 'run.claimed',
           json_build_object('worker', $2::uuid, 'why', 'lost'), coalesce($1::timestamptz, now())
    from claimed c
)
select id, workflow, version, epoch, parent, parent_key, created_at, 'lost' as was from claimed order by id;

-- name: claim_one
-- $1 now $2 worker $3 run $4 status[] that may be claimed
-- One named run: a cancel without code, a resume by hand.
with one as (
    select r.id, r.status as was from dataflows.run r
    where r.id = $3::uuid and r.status = any($4::text[])
    for update
), claimed as (
    update dataflows.run r
    set status = 'running', epoch = r.epoch + 1, owner = $2::uuid, wake_at = null, waits = null, finished_at = null
    from one where one.id = r.id
    returning r.id, r.workflow, r.version, r.epoch, r.parent, r.parent_key, r.created_at, one.was
), noted as (
    insert into dataflows.event (run, seq, epoch, kind, data, at)
    select c.id, (select coalesce(max(e.seq), 0) + 1 from dataflows.event e where e.run = c.id), c.epoch, 'run.claimed',
           json_build_object('worker', $2::uuid, 'why', c.was), coalesce($1::timestamptz, now())
    from claimed c
)
select id, workflow, version, epoch, parent, parent_key, created_at, was from claimed;

-- name: next_due
-- $1 workflow[]
select min(r.wake_at) from dataflows.run r
where r.status in ('queued', 'sleeping', 'waiting') and r.wake_at is not null and r.workflow = any($1::text[]);

-- name: orphaned_wakes
-- $1 now
-- Suspended runs whose message arrived and whose sender died before it could wake them.
select r.id from dataflows.message m join dataflows.run r on r.id = m.run
where m.consumed is null and m.at > now() - interval '1 day' and r.status in ('sleeping', 'waiting')
  and (m.kind = 'cancel' or m.name = any(r.waits))
limit 1000;

-- name: load_events
-- $1 run[]
select run, seq, kind, coalesce(key, ''), data::text, at from dataflows.event where run = any($1::uuid[]) order by run, seq;

-- name: load_messages
-- $1 run[]
select run, id, kind, name, payload::text, at from dataflows.message
where run = any($1::uuid[]) and coalesce(consumed, 0) = 0 order by run, id;

-- name: owned_with_messages
-- $1 worker
-- Runs of ours with a message that nobody took yet.
select r.id from dataflows.run r
where r.owner = $1::uuid and r.status = 'running'
  and exists (select 1 from dataflows.message m where m.run = r.id and coalesce(m.consumed, 0) = 0);

-- name: pull_broadcasts
-- $1 run[] $2 name[]
-- Events for everybody that these runs wait for and have not had become messages of theirs.
insert into dataflows.message (run, kind, name, payload, dedupe, at)
select q.run, 'event', b.name, b.payload, 'broadcast:' || b.id, b.at
from unnest($1::uuid[], $2::text[]) as q(run, name)
join dataflows.run r on r.id = q.run
join dataflows.broadcast b on b.name = q.name and b.at >= r.created_at
order by b.at
on conflict (run, dedupe) where dedupe is not null do nothing;

-- name: load_blobs
-- $1 sha256[]
select sha256, data from dataflows.blob where sha256 = any($1::text[]);

-- name: run_outcomes
-- $1 run[]
-- How finished runs ended.
select r.id, r.status, e.data::text
from dataflows.run r join dataflows.event e on e.run = r.id and e.seq = r.last_seq
where r.id = any($1::uuid[]) and r.status in ('succeeded', 'failed', 'cancelled', 'quarantined');

-- name: find_by_idempotency
-- $1 workflow[] $2 key[]
select r.workflow, r.idempotency_key, r.id from dataflows.run r
join unnest($1::text[], $2::text[]) as q(workflow, key) on q.workflow = r.workflow and q.key = r.idempotency_key;

-- name: run_status
-- $1 run[]
select r.status from dataflows.run r where r.id = any($1::uuid[]);

-- name: resume
-- $1 now $2 run $3 data of the event
-- A quarantined run may be claimed again.
with head as (
    update dataflows.run r
    set status = 'queued', wake_at = coalesce($1::timestamptz, now()), owner = null, finished_at = null, epoch = r.epoch + 1
    where r.id = $2::uuid and r.status = 'quarantined'
    returning r.id, r.epoch
)
insert into dataflows.event (run, seq, epoch, kind, data, at)
select h.id, (select max(e.seq) + 1 from dataflows.event e where e.run = h.id), h.epoch, 'run.resumed', $3::json,
       coalesce($1::timestamptz, now())
from head h
returning run;

-- name: flow_specs
-- $1 workflow[] $2 hash[]
select v.workflow, v.hash, v.spec::text
from dataflows.version v join unnest($1::text[], $2::text[]) as q(workflow, hash) on q.workflow = v.workflow and q.hash = v.hash
where v.kind = 'flow';
