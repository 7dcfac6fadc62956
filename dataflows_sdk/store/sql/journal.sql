-- Statements of the group-commit writer. They are sent through libpq's pipeline: those between two syncs are one
-- transaction. Arrays of one statement have equal lengths; element i of each describes the same row.

-- A run is always found by its id. `status || ''` keeps the planner from the partial indexes on status, which on
-- young tables without statistics look smaller than they are: a loop over them would be quadratic in the batch.
-- `coalesce(consumed, 0) = 0` does the same for messages.

-- name: put_blobs
-- $1 sha256[] $2 media[] $3 data[] $4 meta[]
insert into dataflows.blob (sha256, media, size, data, meta)
select u.sha256, u.media, length(u.data), u.data, u.meta::json
from unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) as u(sha256, media, data, meta)
-- touching an old row keeps the retention of another process from deleting it under our hands
on conflict (sha256) do update set created_at = now() where blob.created_at < now() - interval '30 minutes';

-- name: put_blob_refs
-- $1 run[] $2 sha256[]
insert into dataflows.blob_ref (run, sha256) select * from unnest($1::uuid[], $2::text[]) on conflict do nothing;

-- name: put_versions
-- $1 workflow[] $2 hash[] $3 kind[] $4 source[] $5 spec[] $6 info[]
insert into dataflows.version (workflow, hash, kind, source, spec, info)
select u.workflow, u.hash, u.kind, nullif(u.source, ''), nullif(u.spec, '')::json, u.info::json
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
     as u(workflow, hash, kind, source, spec, info)
on conflict do nothing;

-- name: release_keys
-- $1 now $2 workflow[] $3 idempotency_key[]
-- Before create_runs: idempotency keys whose time is over may be used again.
update dataflows.run r set idempotency_key = null, key_until = null
from unnest($2::text[], $3::text[]) as u(workflow, key)
where r.workflow = u.workflow and r.idempotency_key = u.key and r.key_until < coalesce($1::timestamptz, now());

-- name: create_runs
-- $1 now $2 id[] $3 workflow[] $4 version[] $5 owner[] $6 status[] $7 wake_at[] $8 parent[] $9 parent_key[]
-- $10 forked_from[] $11 idempotency_key[] $12 queue[] $13 priority[] $14 epoch of the parent, or 0[]
-- $15 key[] $16 slot[] $17 key_until[]; these three may be null when no run has one
-- A child is made only while its parent is ours. In a queue that has limits nobody owns a run from its beginning.
-- Returns the ids that were created, and whether they are only queued: a missing one had a taken id, slot or
-- idempotency key.
insert into dataflows.run (id, workflow, version, status, epoch, owner, wake_at, last_seq, queue, priority, key, rank,
                           slot, parent, parent_key, forked_from, idempotency_key, key_until, created_at, started_at)
select u.id, u.workflow, u.version, case when l.taken then 'queued' else u.status end,
       case when u.owner is null or l.taken then 0 else 1 end, case when not l.taken then u.owner end,
       case when l.taken then coalesce($1::timestamptz, now()) else u.wake_at end,
       1, u.queue, u.priority, coalesce(u.key, case when u.queue <> 'default' then '' end),
       case when u.owner is null or l.taken
            then dataflows.rank_of(u.queue, u.priority, coalesce(u.wake_at, $1::timestamptz, now()))
            else coalesce($1::timestamptz, now()) end,
       u.slot, u.parent, u.parent_key, u.forked_from, u.idempotency_key, u.key_until,
       coalesce($1::timestamptz, now()),
       case when u.owner is not null and not l.taken then coalesce($1::timestamptz, now()) end
from unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::timestamptz[], $8::uuid[],
            $9::text[], $10::uuid[], $11::text[], $12::text[], $13::int[], $14::int[], $15::text[], $16::text[],
            $17::timestamptz[])
     as u(id, workflow, version, owner, status, wake_at, parent, parent_key, forked_from, idempotency_key,
          queue, priority, parent_epoch, key, slot, key_until)
cross join lateral (
    select u.owner is not null and exists (select 1 from dataflows.queue q where q.name in ('*', u.queue)) as taken) l
where (u.parent_epoch = 0
       or exists (select 1 from dataflows.run p
                  where p.id = u.parent and p.epoch = u.parent_epoch and p.status || '' = 'running'))
  and (u.idempotency_key is null
       or not exists (select 1 from dataflows.spent_key s
                      where s.workflow = u.workflow and s.key = u.idempotency_key
                        and s.until >= coalesce($1::timestamptz, now())))
on conflict do nothing
returning id, owner is null;

-- name: first_events
-- $1 now $2 run[] $3 data[] $4 1 for a run that was to have an owner[]
-- The first event of each run that create_runs of the same transaction made; of one that existed it is there.
-- One that was to be running and is only queued is told so; the first "status" in the data is the run's, not the input's.
insert into dataflows.event (run, seq, epoch, kind, data, at)
select u.run, 1, r.epoch, 'run.created',
       case when u.owned = 1 and r.owner is null then regexp_replace(u.data, '"status":"running"', '"status":"queued"')
            else u.data end::json,
       coalesce($1::timestamptz, now())
from unnest($2::uuid[], $3::text[], $4::int[]) as u(run, data, owned)
join dataflows.run r on r.id = u.run
on conflict do nothing;

-- name: join_waiting
-- $1 now $2 workflow $3 slot $4 kind $5 data $6 wake_at $7 seconds it may wait in all, or null $8 events at most, or null
-- A run that waits for its start takes one more input. It begins at the new time, or when it has waited long enough;
-- at once when it is full.
with head as (
    update dataflows.run r
    set last_seq = r.last_seq + 1,
        wake_at = case when r.last_seq >= $8::int then coalesce($1::timestamptz, now())
                       else least($6::timestamptz, r.created_at + make_interval(secs => $7::float8)) end,
        status = case when r.last_seq >= $8::int then 'queued' else r.status end,
        slot = case when r.last_seq >= $8::int then null else r.slot end,
        rank = dataflows.rank_of(r.queue, r.priority, coalesce($1::timestamptz, now()))
    where r.workflow = $2::text and r.slot = $3::text and r.status || '' = 'sleeping' and r.epoch = 0
    returning r.id, r.last_seq, r.status
), noted as (
    insert into dataflows.event (run, seq, epoch, kind, data, at)
    select h.id, h.last_seq, 0, $4::text, $5::json, coalesce($1::timestamptz, now()) from head h
)
select h.id, h.status, case when h.status = 'queued' then pg_notify('dataflows', 'full ')::text end from head h;

-- name: set_heads
-- $1 now $2 run[] $3 epoch[] $4 status[] $5 seq[] $6 wake_at[] $7 waits[] (names joined by a line feed, '' for none);
-- the last two may be null when no run has one
-- Runs that are let go of. It is their fence as well: a row that this changes is locked from then on.
-- Returns the runs that are no longer ours.
with gone as (
    update dataflows.run r
    set status = u.status,
        last_seq = u.seq,
        owner = null,
        wake_at = u.wake_at,
        waits = string_to_array(nullif(u.waits, ''), e'\n'),
        -- handed back: before all that never began
        rank = case when u.status = 'queued' then u.wake_at - interval '100 years' else r.rank end,
        slot = case when u.status in ('succeeded', 'failed', 'cancelled') then null else r.slot end,
        finished_at = case when u.status in ('succeeded', 'failed', 'cancelled')
                           then coalesce($1::timestamptz, now()) end
    from unnest($2::uuid[], $3::int[], $4::text[], $5::int[], $6::timestamptz[], $7::text[])
         as u(id, epoch, status, seq, wake_at, waits)
    where r.id = u.id and r.epoch = u.epoch and r.status || '' = 'running'
    returning r.id
)
select a.id from unnest($2::uuid[]) as a(id)
where (select count(*) from gone) < cardinality($2::uuid[]) and a.id not in (select id from gone);

-- name: fence
-- $1 run[] $2 epoch[]
-- The rows of runs that go on are locked for the rest of the transaction and must still carry our epoch.
-- Returns the runs that are no longer ours.
with mine as (
    select r.id
    from unnest($1::uuid[], $2::int[]) as q(id, epoch)
    join dataflows.run r on r.id = q.id and r.epoch = q.epoch
    where r.status || '' = 'running'
    order by r.id
    for no key update of r
)
select a.id from unnest($1::uuid[]) as a(id)
where (select count(*) from mine) < cardinality($1::uuid[]) and a.id not in (select id from mine);

-- name: append_events
-- $1 now $2 run[] $3 epoch[] $4 seq[] $5 kind[] $6 key[] $7 data[]
-- After set_heads and fence of the same transaction, which hold the rows. Nothing is written of runs that are no longer
-- ours: neither at work under our epoch nor changed by this very transaction.
insert into dataflows.event (run, seq, epoch, kind, key, data, at)
select e.run, e.seq, e.epoch, e.kind, nullif(e.key, ''), e.data::json, coalesce($1::timestamptz, now())
from unnest($2::uuid[], $3::int[], $4::int[], $5::text[], $6::text[], $7::text[])
     as e(run, epoch, seq, kind, key, data)
join dataflows.run r on r.id = e.run and r.epoch = e.epoch
where r.status || '' = 'running' or r.xmin = pg_current_xact_id()::xid;

-- name: append_one
-- $1 now $2 run $3 epoch $4 seq $5 kind $6 key $7 data
-- fence and append_events for a batch that is a single event: a run that is alone pays for one statement.
-- Returns no row when the run is no longer ours.
with mine as (
    select r.id from dataflows.run r
    where r.id = $2::uuid and r.epoch = $3::int and r.status || '' = 'running'
    for no key update of r
)
insert into dataflows.event (run, seq, epoch, kind, key, data, at)
select mine.id, $4::int, $3::int, $5::text, nullif($6::text, ''), $7::json, coalesce($1::timestamptz, now())
from mine
returning 1;

-- name: consume
-- $1 run[] $2 message[] $3 seq[] $4 epoch[]
-- Taken only by an event that is there: that of an owner who was replaced was not appended, and the message is for
-- the successor.
update dataflows.message m
set consumed = u.seq
from unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[]) as u(run, id, seq, epoch)
where m.run = u.run and m.id = u.id
  and exists (select 1 from dataflows.event e where e.run = u.run and e.seq = u.seq and e.epoch = u.epoch);

-- name: send
-- $1 now $2 run[] $3 kind[] $4 name[] $5 payload[] $6 dedupe[] $7 run that sends, or null[] $8 its event[] $9 its epoch[]
-- Returns, for each message in order, the status of its run: null for an unknown run. A finished run gets nothing, and
-- what a run sends is sent only with the event that says so: an owner who was replaced sends nothing.
with u as (
    select * from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::int[], $9::int[])
        with ordinality as u(run, kind, name, payload, dedupe, sender, seq, epoch, n)
), sent as (
    insert into dataflows.message (run, kind, name, payload, dedupe, at)
    select u.run, u.kind, u.name, u.payload::json, u.dedupe, coalesce($1::timestamptz, clock_timestamp())
    from u join dataflows.run r on r.id = u.run
    where r.status not in ('succeeded', 'failed', 'cancelled')
      and (u.sender is null
        or exists (select 1 from dataflows.event e where e.run = u.sender and e.seq = u.seq and e.epoch = u.epoch))
    order by u.n
    on conflict (run, dedupe) where dedupe is not null do nothing
)
select r.status from u left join dataflows.run r on r.id = u.run order by u.n;

-- name: broadcast
-- $1 now $2 id[] $3 name[] $4 payload[] $5 run that sends, or null[] $6 its event[] $7 its epoch[]
insert into dataflows.broadcast (id, name, payload, at)
select u.id, u.name, u.payload::json, coalesce($1::timestamptz, clock_timestamp())
from unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::int[], $7::int[])
     as u(id, name, payload, sender, seq, epoch)
where u.sender is null
   or exists (select 1 from dataflows.event e where e.run = u.sender and e.seq = u.seq and e.epoch = u.epoch)
on conflict do nothing;

-- name: wake
-- $1 now $2 run[]
-- Suspended runs with a message that they wait for may be claimed at once. It runs in a transaction of its own,
-- after the one that sent or suspended: of two that race, the later one sees both rows.
update dataflows.run r
set status = 'queued', wake_at = coalesce($1::timestamptz, now()),
    rank = coalesce($1::timestamptz, now()) - interval '100 years'
where r.id = any($2::uuid[]) and r.status || '' in ('sleeping', 'waiting')
  and (exists (select 1 from dataflows.message m
               where m.run = r.id and coalesce(m.consumed, 0) = 0 and (m.kind = 'cancel' or m.name = any(r.waits)))
    or exists (select 1 from dataflows.broadcast b
               where b.name = any(r.waits) and b.at >= r.created_at
                 and not exists (select 1 from dataflows.message m
                                 where m.run = r.id and m.dedupe = 'broadcast:' || b.id)))
returning r.id;

-- name: allow_bitmaps
-- For the rest of the transaction: an index on what arrays hold is read in no other way.
select set_config('enable_bitmapscan', 'on', true);

-- name: wake_broadcast
-- $1 now $2 name[] $3 id[]
-- After allow_bitmaps of the same transaction, and after the one that made the events.
with told as (
    update dataflows.broadcast b set told = true where b.id = any($3::uuid[])
)
update dataflows.run r
set status = 'queued', wake_at = coalesce($1::timestamptz, now()),
    rank = coalesce($1::timestamptz, now()) - interval '100 years'
where r.waits && $2::text[] and r.status in ('sleeping', 'waiting')
returning r.id;

-- name: wake_untold
-- $1 now
-- After allow_bitmaps of the same transaction: the same for events whose sender died before it could.
with told as (
    update dataflows.broadcast b set told = true where not b.told returning b.name
)
update dataflows.run r
set status = 'queued', wake_at = coalesce($1::timestamptz, now()),
    rank = coalesce($1::timestamptz, now()) - interval '100 years'
where r.waits && (select array_agg(t.name) from told t) and r.status in ('sleeping', 'waiting')
returning r.id;

-- name: commit_asynchronously
-- For the rest of the transaction: its commit waits for no disk. For wake-ups, which do not outlive a crash of PostgreSQL
-- anyway as far as they are notifications; the rest of them is found again by those who look. What they tell of was
-- committed, for good, before.
select set_config('synchronous_commit', 'off', true);

-- name: notify
-- $1 payload
select pg_notify('dataflows', $1);

-- name: append_mine
-- $1 now $2 run $3 epoch $4 seq $5 key $6 data
-- The end of a step, in the transaction of what its function wrote. A run that is no longer ours is a division by zero
-- (22012), so that the commit which is already on its way behind this is none.
with mine as (
    select r.id from dataflows.run r
    where r.id = $2::uuid and r.epoch = $3::int and r.status || '' = 'running'
    for no key update
), appended as (
    insert into dataflows.event (run, seq, epoch, kind, key, data, at)
    select m.id, $4::int, $3::int, 'step.completed', $5::text, $6::json, coalesce($1::timestamptz, now()) from mine m
    returning 1
)
select 1 / count(*) from appended;

-- name: witness
-- $1 run $2 seq $3 epoch
-- Did a transaction whose connection broke arrive? One of its events tells for all.
select 1 from dataflows.event where run = $1::uuid and seq = $2::int and epoch = $3::int;

-- name: witnesses
-- $1 run[] $2 seq[] $3 epoch[]
-- The same for a batch: the runs whose event is there. When one is, the others were refused by the fence.
select e.run from unnest($1::uuid[], $2::int[], $3::int[]) as q(run, seq, epoch)
join dataflows.event e on e.run = q.run and e.seq = q.seq and e.epoch = q.epoch;

-- name: witness_runs
-- $1 run[]
-- Runs that are there; who has the first claim on them, as long as it lasts; and whether they were only queued at first.
select r.id, case when r.epoch = 1 and r.status = 'running' then r.owner end, e.epoch = 0
from dataflows.run r join dataflows.event e on e.run = r.id and e.seq = 1
where r.id = any($1::uuid[]);
