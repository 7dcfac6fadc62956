-- The journal as documented views, for psql, BI tools and `ctx.sql`.

-- The seq of a run's first event is 1; its last event is where its head points.
create view dataflows.runs as
select r.id,
       r.workflow,
       r.version,
       r.status,
       (c.data -> 'input')            as input,
       (f.data -> 'value')            as result,
       (f.data -> 'error')            as error,
       r.epoch,
       r.queue,
       r.priority,
       r.parent,
       r.parent_key,
       r.forked_from,
       r.idempotency_key,
       r.created_at,
       r.started_at,
       r.finished_at,
       case when r.status in ('queued', 'sleeping', 'waiting') then r.wake_at end as wake_at,
       r.waits                        as waiting_for,
       extract(epoch from r.finished_at - r.started_at)::float8 as seconds
from dataflows.run r
left join dataflows.event c on c.run = r.id and c.seq = 1
left join dataflows.event f on f.run = r.id and f.seq = r.last_seq;

comment on view dataflows.runs is 'One row per run: what was asked, how it stands, what came of it.';

-- A short step is one event; a long one has a `step.started` before it.
create view dataflows.events as
select e.run, e.seq, e.kind, e.key, e.data ->> 'name' as name, e.at, e.epoch, e.data
from dataflows.event e;

comment on view dataflows.events is 'The journal: one row per event, in the order of (run, seq).';

create view dataflows.steps as
select e.run,
       e.key,
       coalesce(e.data ->> 'name', e.key)          as name,
       coalesce(e.data ->> 'op', 'run')            as op,
       coalesce((e.data ->> 'attempt')::int, 1)    as attempt,
       case e.kind when 'step.completed' then 'completed'
                   when 'step.timed_out' then 'timed_out'
                   when 'step.failed'    then case when e.data ->> 'retry_at' is null then 'failed' else 'retrying' end
                   when 'step.skipped'   then 'skipped'
                   else 'open' end                 as status,
       e.data -> 'value'                           as output,
       e.data -> 'error'                           as error,
       coalesce(e.data -> 'input', s.data -> 'input') as input,
       coalesce(s.at, e.at - make_interval(secs => coalesce((e.data ->> 'took')::float8, 0))) as started_at,
       case when e.kind not in ('step.started', 'step.waiting') then e.at end as finished_at,
       (e.data ->> 'took')::float8                 as seconds,
       e.seq
from dataflows.event e
left join lateral (
    select s.at, s.data from dataflows.event s
    where s.run = e.run and s.key = e.key and s.kind = 'step.started' and s.seq < e.seq
      and coalesce((s.data ->> 'attempt')::int, 1) = coalesce((e.data ->> 'attempt')::int, 1)
      and e.data ->> 'long' = 'true'
    order by s.seq desc limit 1
) s on true
where e.kind in ('step.completed', 'step.failed', 'step.timed_out', 'step.skipped')
   or (e.kind in ('step.started', 'step.waiting') and not exists (
        select 1 from dataflows.event n
        where n.run = e.run and n.key = e.key and n.seq > e.seq and n.kind like 'step.%'));

comment on view dataflows.steps is 'One row per attempt of a step: input, output or error, when and how long.';
