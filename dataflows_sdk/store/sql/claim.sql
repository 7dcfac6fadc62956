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

-- name: tell_worker
-- $1 id $2 info
update dataflows.worker set info = $2::json where id = $1::uuid;

-- name: still_ours
-- $1 worker $2 run[] $3 epoch[]
-- Which of these runs still belong to the worker?
select r.id from unnest($2::uuid[], $3::int[]) as q(id, epoch)
join dataflows.run r on r.id = q.id and r.epoch = q.epoch
where r.owner = $1::uuid and r.status || '' = 'running';

-- name: retire_worker
-- $1 id
delete from dataflows.worker w
where w.id = $1::uuid and not exists (select 1 from dataflows.run r where r.owner = w.id and r.status = 'running');

-- name: dead_workers
-- $1 own id
select l.id, l.expired from dataflows.lost_worker l where l.id <> $1::uuid;

-- name: look
-- $1 now $2 worker $3 workflow[] $4 queue[] or null for all
-- One glance at everything that a worker may have to do; what there is is then asked for by its own statement.
-- Returns how many workers there are; whether one of them may be gone; whether a message was not told; whether queues
-- have limits; whether a run may be claimed; when the next one may be; and how many are this worker's.
with timer as materialized (
    select queue, workflow, wake_at from dataflows.timed_kind
), ready as materialized (
    select queue, workflow from dataflows.queued_kind
)
select (select count(*) from dataflows.worker),
       exists (select 1 from dataflows.lost_worker l where l.id <> $2::uuid),
       exists (
           select 1 from dataflows.message m join dataflows.run r on r.id = m.run
           where m.consumed is null and m.at > now() - interval '1 day' and r.status in ('sleeping', 'waiting')
             and (m.kind = 'cancel' or m.name = any(r.waits)))
           or exists (select 1 from dataflows.broadcast b where not b.told),
       exists (select 1 from dataflows.queue),
       exists (select 1 from ready p where p.workflow = any($3::text[]) and ($4::text[] is null or p.queue = any($4))),
       least(
           (select min(t.wake_at) from timer t
            where t.workflow = any($3::text[]) and ($4::text[] is null or t.queue = any($4))),
           (select min(r.wake_at) from dataflows.run r where r.status = 'sleeping' and r.epoch = 0),
           -- when a queue that has used up its rate may let go of the next one
           (select min(b.at + q.period) from dataflows.queue q cross join lateral (
                select b.at from dataflows.begun b
                where b.queue = q.name and b.at > coalesce($1::timestamptz, now()) - q.period
                order by b.at desc offset q.rate - 1 limit 1) b
            where q.rate is not null and exists (select 1 from ready p where p.queue = q.name or q.name = '*')),
           (select min(b.at + q.key_period) from dataflows.queue q cross join lateral (
                select b.at from dataflows.begun b
                where b.queue = q.name and b.at > coalesce($1::timestamptz, now()) - q.key_period
                order by b.at limit 1) b
            where q.key_rate is not null and exists (select 1 from ready p where p.queue = q.name))),
       (select count(*) from dataflows.run r where r.status = 'running' and r.owner = $2::uuid);

-- name: ready_delayed
-- $1 now $2 limit
-- Runs that were to be started later join their queue.
update dataflows.run r set status = 'queued', slot = case when r.slot like 'wait:%' then null else r.slot end
from (select d.id from dataflows.run d
      where d.status = 'sleeping' and d.epoch = 0 and d.wake_at <= coalesce($1::timestamptz, now())
      order by d.wake_at limit $2::int for update skip locked) d
where r.id = d.id;

-- name: claim_due
-- $1 now $2 worker $3 workflow[] $4 limit $5 queue[] or null for all $6 version[]
-- $7 workflow in code[] $8 its version here[]: what a run begins with is the code of who takes it on first
-- From queues without limits: runs whose time has come, then queued ones by their rank. The pairs of queue and workflow
-- that have any are found by skipping through the index, so that runs which nobody here knows cost nothing.
-- The claim bumps the epoch and is an event of the run; a message or timer is looked at after it, under the claim.
-- A run that nobody ever touched comes with its first event, so that its history need not be read.
with timer as materialized (
    select queue, workflow, wake_at from dataflows.timed_kind
), ready as materialized (
    select queue, workflow from dataflows.queued_kind
), woken as (
    select d.id, d.was from timer t cross join lateral (
        select r.id, r.status as was from dataflows.run r
        where r.status in ('sleeping', 'waiting') and r.wake_at is not null and r.epoch > 0
          and r.queue = t.queue and r.workflow = t.workflow and r.wake_at <= coalesce($1::timestamptz, now())
          and (r.pinned is null or r.pinned = any($6::text[]))
        order by r.wake_at limit $4::int for update skip locked) d
    where t.workflow = any($3::text[]) and ($5::text[] is null or t.queue = any($5))
      and t.wake_at <= coalesce($1::timestamptz, now())
      and not exists (select 1 from dataflows.queue q where q.name in ('*', t.queue))
    limit $4::int
), room as (
    select $4::int - count(*) as n from woken
), mine as (
    select p.queue, p.workflow from ready p
    where p.workflow = any($3::text[]) and ($5::text[] is null or p.queue = any($5))
      and not exists (select 1 from dataflows.queue q where q.name in ('*', p.queue))
), quota as (
    select m.queue, m.workflow, (select n from room) as n from mine m where (select count(*) from mine) = 1
    union all
    -- several: how many of the first ones are whose?
    select h.queue, h.workflow, count(*) from (
        select m.queue, m.workflow, r.rank from mine m cross join lateral (
            select r.rank from dataflows.run r
            where r.status = 'queued' and r.queue = m.queue and r.workflow = m.workflow
              and (r.pinned is null or r.pinned = any($6::text[]))
            order by r.rank limit (select n from room)) r
        where (select count(*) from mine) > 1
        order by r.rank limit (select n from room)) h
    group by h.queue, h.workflow
), due as (
    select w.id, w.was from woken w
    union all
    select d.id, 'queued' from quota q cross join lateral (
        select r.id from dataflows.run r
        where r.status = 'queued' and r.queue = q.queue and r.workflow = q.workflow
          and (r.pinned is null or r.pinned = any($6::text[]))
        order by r.rank limit q.n for update skip locked) d
), claimed as (
    update dataflows.run r
    set status = 'running', epoch = r.epoch + 1, owner = $2::uuid, wake_at = null, waits = null,
        slot = case when r.slot like 'wait:%' then null else r.slot end,
        version = coalesce(case when r.epoch = 0 and r.forked_from is null then (
            select v.version from unnest($7::text[], $8::text[]) as v(workflow, version)
            where v.workflow = r.workflow) end, r.version),
        started_at = coalesce(r.started_at, coalesce($1::timestamptz, now()))
    from due where due.id = r.id
    returning r.id, r.workflow, r.version, r.epoch, r.parent, r.parent_key, r.created_at, due.was,
              r.epoch = 1 and r.last_seq = 1 and r.forked_from is null as fresh
), noted as (
    insert into dataflows.event (run, seq, epoch, kind, data, at)
    select c.id, case when c.fresh then 2 else
               (select coalesce(max(e.seq), 0) + 1 from dataflows.event e where e.run = c.id) end,
           c.epoch, 'run.claimed',
           case when c.epoch = 1 then json_build_object('worker', $2::uuid, 'why', c.was, 'version', c.version)
                else json_build_object('worker', $2::uuid, 'why', c.was) end,
           coalesce($1::timestamptz, now())
    from claimed c
)
select c.id, c.workflow, c.version, c.epoch, c.parent, c.parent_key, c.created_at, c.was,
       case when c.fresh and not exists (select 1 from dataflows.message m where m.run = c.id)
            then (select e.data::text from dataflows.event e where e.run = c.id and e.seq = 1) end
from claimed c order by c.id;

-- name: lock_queues
-- Claims from queues with limits are made one after another. A transaction of its own would let go of the lock too
-- early, one statement with the claim would count what stood before the lock: it is the statement before the claim.
select pg_advisory_xact_lock(4711430172);

-- name: ready_limited
-- $1 now $2 limit
-- In queues with limits runs whose time has come line up again, before those that never began.
with timer as materialized (
    select queue, workflow, wake_at from dataflows.timed_kind
)
update dataflows.run r set status = 'queued', rank = r.wake_at - interval '100 years'
from timer t cross join lateral (
    select d.id from dataflows.run d
    where d.status in ('sleeping', 'waiting') and d.wake_at is not null and d.epoch > 0
      and d.queue = t.queue and d.workflow = t.workflow and d.wake_at <= coalesce($1::timestamptz, now())
    order by d.wake_at limit $2::int for update skip locked) d
where r.id = d.id and t.wake_at <= coalesce($1::timestamptz, now())
  and exists (select 1 from dataflows.queue q where q.name in ('*', t.queue));

-- name: claim_limited
-- $1 now $2 worker $3 workflow[] $4 limit $5 queue[] or null for all $6 version[]
-- $7 workflow in code[] $8 its version here[] $9 queue[] $10 key[]: where the keys' turns go on
-- After lock_queues of the same transaction. Slots are not counted anywhere: those taken are the runs that are running.
-- A run whose worker died holds its slot until it is queued again, because until then its worker may still write.
with ready as materialized (
    select queue, workflow from dataflows.queued_kind
), running as (
    select r.queue, r.key, count(*) as n from dataflows.run r where r.status = 'running' group by r.queue, r.key
), whole as (
    select $4::int as n
    union all
    select q.concurrency - (select coalesce(sum(n), 0) from running) from dataflows.queue q
    where q.name = '*' and q.concurrency is not null
    union all
    select 0 from dataflows.queue q where q.name = '*' and q.paused
), fresh_whole as (
    select q.rate - (select count(*) from dataflows.begun b
                     where b.queue = '*' and b.at > coalesce($1::timestamptz, now()) - q.period) as n
    from dataflows.queue q where q.name = '*' and q.rate is not null
), limited as (
    select p.queue as name, coalesce(q.per_key is not null or q.key_rate is not null or q.fair, false) as keyed,
           q.per_key, q.key_rate, q.key_period,
           least((select min(n) from whole),
                 q.concurrency - (select coalesce(sum(u.n), 0) from running u where u.queue = p.queue)) as room,
           q.rate - (select count(*) from dataflows.begun b
                     where b.queue = q.name and b.at > coalesce($1::timestamptz, now()) - q.period) as fresh_room,
           coalesce((select c.key from unnest($9::text[], $10::text[]) as c(queue, key) where c.queue = p.queue), '') as turn
    from (select distinct queue from ready) p left join dataflows.queue q on q.name = p.queue
    where (q.name is not null or exists (select 1 from dataflows.queue g where g.name = '*'))
      and not coalesce(q.paused, false) and ($5::text[] is null or p.queue = any($5))
), open as (
    select * from limited l where l.room > 0
), lane as (
    -- of many lanes each gives a part at a time, not as much as all of them together
    select o.name, k.key, k.nth, greatest(4, 2 * $4::int / k.lanes) as share,
           coalesce((select u.n from running u where u.queue = o.name and u.key = k.key), 0) as busy,
           case when k.key = '' then null else o.per_key end as per_key,
           case when k.key = '' then null else o.key_rate - (
               select count(*) from dataflows.begun b
               where b.queue = o.name and b.key = k.key and b.at > coalesce($1::timestamptz, now()) - o.key_period)
           end as fresh_room,
           o.room
    from open o cross join lateral (
        -- every key that has queued runs, from where the turn is; with very many of them a part, and then the next
        with recursive onward(key) as (
            (select r.key from dataflows.run r
             where r.status = 'queued' and r.key is not null and r.queue = o.name and r.key > o.turn
             order by r.key limit 1)
            union all
            select n.key from onward w cross join lateral (
                select r.key from dataflows.run r
                where r.status = 'queued' and r.key is not null and r.queue = o.name and r.key > w.key
                order by r.key limit 1) n
        ), again(key) as (
            (select r.key from dataflows.run r
             where r.status = 'queued' and r.key is not null and r.queue = o.name and r.key <= o.turn
             order by r.key limit 1)
            union all
            select n.key from again w cross join lateral (
                select r.key from dataflows.run r
                where r.status = 'queued' and r.key is not null and r.queue = o.name and r.key > w.key
                  and r.key <= o.turn
                order by r.key limit 1) n
        )
        select k.key, row_number() over (order by k.lap, k.key) as nth, count(*) over () as lanes
        from (select 0 as lap, key from onward union all select 1, key from again limit 500) k) k
    where o.keyed
), candidate as (
    select l.name as queue, l.key, l.nth as lane, r.id, r.rank, r.epoch = 0 as fresh, l.busy, l.per_key,
           l.fresh_room as key_fresh, true as keyed
    from lane l cross join lateral (
        select r.id, r.rank, r.epoch from dataflows.run r
        where r.status = 'queued' and r.key is not null and r.queue = l.name and r.key = l.key
          and r.workflow = any($3::text[]) and (r.pinned is null or r.pinned = any($6::text[]))
        order by r.rank limit greatest(0, least(l.room, l.share, l.per_key - l.busy))) r
    union all
    select o.name, r.key, 0, r.id, r.rank, r.epoch = 0, 0, null, null, false
    from open o join ready p on p.queue = o.name cross join lateral (
        select r.id, r.rank, r.epoch, r.key from dataflows.run r
        where r.status = 'queued' and r.queue = p.queue and r.workflow = p.workflow
          and (r.pinned is null or r.pinned = any($6::text[]))
        order by r.rank limit o.room) r
    where not o.keyed and p.workflow = any($3::text[])
), in_lane as (
    select c.*,
           case when c.keyed then c.busy + row_number() over (partition by c.queue, c.key order by c.rank, c.id)
                else 0 end as turn,
           count(*) filter (where c.fresh) over (partition by c.queue, c.key order by c.rank, c.id) as nth_fresh
    from candidate c
), in_queue as (
    select c.*, o.room, o.fresh_room,
           row_number() over w as nth_in_queue, count(*) filter (where c.fresh) over w as fresh_in_queue
    from in_lane c join open o on o.name = c.queue
    where (c.per_key is null or c.turn <= c.per_key)
      and (not c.fresh or c.key_fresh is null or c.nth_fresh <= c.key_fresh)
    window w as (partition by c.queue order by c.turn, c.lane, c.rank, c.id)
), in_all as (
    select c.*, row_number() over w as nth, count(*) filter (where c.fresh) over w as nth_fresh_of_all
    from in_queue c
    where c.nth_in_queue <= c.room and (not c.fresh or c.fresh_room is null or c.fresh_in_queue <= c.fresh_room)
    window w as (order by c.turn, c.lane, c.rank, c.id)
), due as (
    select c.id, c.lane from in_all c
    where c.nth <= (select min(n) from whole)
      and (not c.fresh or c.nth_fresh_of_all <= coalesce((select n from fresh_whole), c.nth_fresh_of_all))
), claimed as (
    update dataflows.run r
    set status = 'running', epoch = r.epoch + 1, owner = $2::uuid, wake_at = null, waits = null,
        slot = case when r.slot like 'wait:%' then null else r.slot end,
        version = coalesce(case when r.epoch = 0 and r.forked_from is null then (
            select v.version from unnest($7::text[], $8::text[]) as v(workflow, version)
            where v.workflow = r.workflow) end, r.version),
        started_at = coalesce(r.started_at, coalesce($1::timestamptz, now()))
    from due where due.id = r.id and r.status || '' = 'queued'
    returning r.id, r.workflow, r.version, r.epoch, r.parent, r.parent_key, r.created_at, r.queue, r.key,
              due.lane, r.epoch = 1 and r.last_seq = 1 and r.forked_from is null as fresh
), noted as (
    insert into dataflows.event (run, seq, epoch, kind, data, at)
    select c.id, case when c.fresh then 2 else
               (select coalesce(max(e.seq), 0) + 1 from dataflows.event e where e.run = c.id) end,
           c.epoch, 'run.claimed',
           case when c.epoch = 1 then json_build_object('worker', $2::uuid, 'why', 'queued', 'version', c.version)
                else json_build_object('worker', $2::uuid, 'why', 'queued') end,
           coalesce($1::timestamptz, now())
    from claimed c
), started as (
    insert into dataflows.begun (queue, key, at, run)
    select q.name, coalesce(c.key, ''), coalesce($1::timestamptz, now()), c.id
    from claimed c join dataflows.queue q on q.name in ('*', c.queue)
    where c.epoch = 1 and (q.rate is not null or q.key_rate is not null)
), past as (
    delete from dataflows.begun b using dataflows.queue q
    where b.queue = q.name
      and b.at < coalesce($1::timestamptz, now()) - greatest(q.period, q.key_period) - interval '1 second'
)
select c.id, c.workflow, c.version, c.epoch, c.parent, c.parent_key, c.created_at, 'queued',
       case when c.fresh and not exists (select 1 from dataflows.message m where m.run = c.id)
            then (select e.data::text from dataflows.event e where e.run = c.id and e.seq = 1) end,
       c.queue, coalesce(c.key, '')
from claimed c order by c.lane, c.id;

-- name: reclaim
-- $1 now $2 worker $3 workflow[] $4 limit $5 dead worker[] $6 queue[] or null for all $7 version[]
-- Runs of workers that are gone, also of workers whose row was already removed. Those of queues with limits line up
-- again instead.
with lost as (
    select r.id
    from dataflows.run r
    where r.status = 'running' and r.owner = any($5::uuid[]) and r.workflow = any($3::text[])
      and ($6::text[] is null or r.queue = any($6)) and (r.pinned is null or r.pinned = any($7::text[]))
      and not exists (select 1 from dataflows.queue q where q.name in ('*', r.queue))
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
select id, workflow, version, epoch, parent, parent_key, created_at, 'lost' as was, null from claimed order by id;

-- name: requeue_lost
-- $1 now $2 dead worker[] $3 limit
-- The other runs of workers that are gone line up again, whoever knows their workflow: before all that never began.
with lost as (
    select r.id, r.owner
    from dataflows.run r
    where r.status = 'running' and r.owner = any($2::uuid[])
    limit $3::int
    for update skip locked
), queued as (
    update dataflows.run r
    set status = 'queued', epoch = r.epoch + 1, owner = null, wake_at = coalesce($1::timestamptz, now()),
        rank = coalesce($1::timestamptz, now()) - interval '100 years'
    from lost where lost.id = r.id
    returning r.id, r.epoch, lost.owner
)
insert into dataflows.event (run, seq, epoch, kind, data, at)
select q.id, (select coalesce(max(e.seq), 0) + 1 from dataflows.event e where e.run = q.id), q.epoch, 'run.lost',
       json_build_object('worker', q.owner), coalesce($1::timestamptz, now())
from queued q
returning run;

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
select id, workflow, version, epoch, parent, parent_key, created_at, 'lost' as was, null from claimed order by id;

-- name: claim_one
-- $1 now $2 worker $3 run $4 status[] that may be claimed $5 whether also from a queue with limits
-- One named run: a cancel without code, a fork that begins where it was made.
with one as (
    select r.id, r.status as was from dataflows.run r
    where r.id = $3::uuid and r.status = any($4::text[])
      and ($5::bool or not exists (select 1 from dataflows.queue q where q.name in ('*', r.queue)))
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
select id, workflow, version, epoch, parent, parent_key, created_at, was, null from claimed;

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
-- Also of runs that retention deleted and whose keys have not had their time.
select r.workflow, r.idempotency_key, r.id from dataflows.run r
join unnest($1::text[], $2::text[]) as q(workflow, key) on q.workflow = r.workflow and q.key = r.idempotency_key
union all
select s.workflow, s.key, s.run from dataflows.spent_key s
join unnest($1::text[], $2::text[]) as q(workflow, key) on q.workflow = s.workflow and q.key = s.key;

-- name: find_by_slot
-- $1 workflow $2 slot
select r.id from dataflows.run r where r.workflow = $1::text and r.slot = $2::text;

-- name: run_status
-- $1 run[]
select r.status from dataflows.run r where r.id = any($1::uuid[]);

-- name: resume
-- $1 now $2 run $3 data of the event $4 the version that it is pinned to, or null
-- A quarantined run may be claimed again.
with head as (
    update dataflows.run r
    set status = 'queued', wake_at = coalesce($1::timestamptz, now()), owner = null, finished_at = null,
        epoch = r.epoch + 1, rank = coalesce($1::timestamptz, now()) - interval '100 years', pinned = $4::text
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
