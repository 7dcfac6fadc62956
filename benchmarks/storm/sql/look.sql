-- What the driver and the watcher look at while it rages.

-- name: unfinished
select r.id::text, r.workflow, (c.data -> 'input' ->> 'n')::int
from dataflows.run r join dataflows.event c on c.run = r.id and c.seq = 1 and c.kind = 'run.created'
where r.workflow = any(%s) and r.status not in ('succeeded', 'failed', 'cancelled')
order by r.id;

-- name: busy
-- Runs under way whose owner's lease holds, by queue and key of their payload.
select c.data -> 'input' ->> 'queue', c.data -> 'input' ->> 'key', count(*)
from dataflows.run r
join dataflows.worker w on w.id = r.owner and w.heartbeat_at + w.lease >= clock_timestamp()
join dataflows.event c on c.run = r.id and c.seq = 1 and c.kind = 'run.created'
where r.status = 'running' and r.workflow = 'chaos-capped'
group by 1, 2;

-- name: inside
-- Runs that came in and did not leave, and are under way by an owner whose lease holds.
select m.queue, m.key, count(*)
from storm.room m
join dataflows.run r on r.id = m.run and r.status = 'running'
join dataflows.worker w on w.id = r.owner and w.heartbeat_at + w.lease >= clock_timestamp()
where m.inside
group by 1, 2;

-- name: backends
select pid from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and application_name not like 'chaos-%'
order by pid;

-- name: terminate
select pg_terminate_backend(%s);

-- name: progress
select count(*), count(*) filter (where status in ('succeeded', 'failed', 'cancelled')) from dataflows.run;

-- name: takeovers
select count(*), count(*) filter (where data ->> 'why' = 'lost') from dataflows.event where kind = 'run.claimed';

-- name: histories
select r.id, r.workflow, r.status, r.epoch, r.wake_at, r.waits, r.owner, w.info ->> 'pid', w.heartbeat_at, 'event', e.seq, e.epoch, e.at, e.kind, e.key,
       left(e.data::text, 400)
from dataflows.run r join dataflows.event e on e.run = r.id left join dataflows.worker w on w.id = r.owner
where r.status not in ('succeeded', 'failed', 'cancelled')
order by r.id, e.seq;
