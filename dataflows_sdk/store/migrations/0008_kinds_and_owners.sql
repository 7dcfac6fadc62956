-- Said once: of what there is a run, whom runs belong to, and which workers are gone.

-- Of what there is a run: found by skipping through an index, one step for each, however many runs there are.
create view dataflows.queued_kind as
with recursive kind(queue, workflow) as (
    (select r.queue, r.workflow from dataflows.run r where r.status = 'queued' order by r.queue, r.workflow limit 1)
    union all
    select n.queue, n.workflow from kind k cross join lateral (
        select r.queue, r.workflow from dataflows.run r
        where r.status = 'queued' and (r.queue, r.workflow) > (k.queue, k.workflow)
        order by r.queue, r.workflow limit 1) n
)
select queue, workflow from kind;
comment on view dataflows.queued_kind is 'Queues and workflows that have queued runs.';

-- With the time of the first one.
create view dataflows.timed_kind as
with recursive kind(queue, workflow, wake_at) as (
    (select r.queue, r.workflow, r.wake_at from dataflows.run r
     where r.status in ('sleeping', 'waiting') and r.wake_at is not null and r.epoch > 0
     order by r.queue, r.workflow, r.wake_at limit 1)
    union all
    select n.queue, n.workflow, n.wake_at from kind k cross join lateral (
        select r.queue, r.workflow, r.wake_at from dataflows.run r
        where r.status in ('sleeping', 'waiting') and r.wake_at is not null and r.epoch > 0
          and (r.queue, r.workflow) > (k.queue, k.workflow)
        order by r.queue, r.workflow, r.wake_at limit 1) n
)
select queue, workflow, wake_at from kind;
comment on view dataflows.timed_kind is 'Queues and workflows that have runs which go on at a time, and when the first does.';

create view dataflows.owner as
with recursive owner(id) as (
    (select r.owner from dataflows.run r
     where r.status = 'running' and r.owner is not null order by r.owner limit 1)
    union all
    select (select r.owner from dataflows.run r
            where r.status = 'running' and r.owner > o.id order by r.owner limit 1)
    from owner o where o.id is not null
)
select id from owner where id is not null;
comment on view dataflows.owner is 'Workers that running runs belong to, whether they are alive or not.';

-- Workers whose lease ran out (true), and those whose session is gone, so that their lock is free (false): the latter
-- may only be reconnecting, who asks looks twice. So may owners of runs whom nobody remembers: one was taken for dead,
-- came back, and may have died before it could register again.
create view dataflows.lost_worker as
select o.id, false as expired
from dataflows.owner o
where not exists (select 1 from dataflows.worker w where w.id = o.id)
union all
select w.id, w.heartbeat_at + w.lease < now()
from dataflows.worker w
where w.heartbeat_at + w.lease < now()
   or (pg_postmaster_start_time() < now() - interval '3 seconds'
       and not exists (
           select 1 from pg_locks l
           where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
             and l.database = (select oid from pg_database where datname = current_database())
             and l.classid::bigint = ((w.lock_key >> 32) & 4294967295)
             and l.objid::bigint = (w.lock_key & 4294967295)));
comment on view dataflows.lost_worker is 'Workers that are gone, or may be.';

-- Databases of one day's library said when a trigger was turned on; what it has fired up to says the same.
do $$
begin
    if exists (select 1 from information_schema.columns
               where table_schema = 'dataflows' and table_name = 'trigger' and column_name = 'since') then
        update dataflows.trigger set last_at = coalesce(last_at, since);
        alter table dataflows.trigger alter column last_at set not null, drop column since;
    end if;
end
$$;
