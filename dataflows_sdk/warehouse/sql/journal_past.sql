-- DuckDB: the journal's tables as they were at the moment `dataflows_as_of`, over those of today.
--
-- A run is the fold of its events, as in engine/state.py: what it was then is the fold of those that were there. They
-- are a beginning of its journal: all before the first that is later than the moment. Not simply those that are not
-- later, because a fork begins with copies that have the times of the original, and a transaction the time at which it
-- began.

-- name: create
create or replace view dataflows_past.main.events as
select e.*
from dataflows.main.events e
left join (
    select run, min(seq) as seq from dataflows.main.events where "at" > getvariable('dataflows_as_of') group by run
) later on later.run = e.run
where e."at" <= getvariable('dataflows_as_of') and (later.seq is null or e.seq < later.seq);

-- What does not change, or is not told by any event, is as it is today. A result is that of the last event of all.
create or replace view dataflows_past.main.runs as
with told as (
    from dataflows_past.main.events where starts_with(kind, 'run.')
), stood as (
    select run,
           max(seq) filter (kind not in ('run.input', 'run.cancel_requested')) as seq,
           max(epoch) as epoch,
           arg_max(data ->> 'version', seq) filter (kind in ('run.created', 'run.claimed')) as version,
           bool_or(kind = 'run.claimed' or (kind = 'run.created' and coalesce(data ->> 'status', 'running') = 'running'))
               as begun
    from told group by run
), state as (
    select s.run, s.epoch, s.version, s.begun, t."at",
           case t.kind
               when 'run.created' then coalesce(t.data ->> 'status', 'running')
               when 'run.claimed' then 'running'
               when 'run.suspended' then t.data ->> 'status'
               when 'run.completed' then 'succeeded'
               when 'run.failed' then 'failed'
               when 'run.cancelled' then 'cancelled'
               when 'run.quarantined' then 'quarantined'
               else 'queued' end as status,
           case when t.kind = 'run.suspended' then (t.data ->> 'until')::timestamptz end as until,
           case when t.kind = 'run.suspended'
                then list_sort(list_distinct(json_extract_string(t.data, '$.waiting[*].message'))) end as waits
    from stood s join told t on t.run = s.run and t.seq = s.seq
)
select r.id, r.workflow, coalesce(s.version, r.version) as version, s.status, r.input,
       case when s.status = 'succeeded' then r.result end as result,
       case when s.status = 'failed' then r.error end as error,
       s.epoch, r.queue, r.priority, r.parent, r.parent_key, r.forked_from, r.idempotency_key, r.created_at,
       case when s.begun then r.started_at end as started_at,
       case when s.status in ('succeeded', 'failed', 'cancelled') then s."at" end as finished_at,
       case when s.status = 'queued' then s."at"
            when s.status in ('sleeping', 'waiting') then s.until end as wake_at,
       case when s.waits <> [] then s.waits end as waiting_for,
       case when s.begun and s.status in ('succeeded', 'failed', 'cancelled')
            then (epoch_us(s."at") - epoch_us(r.started_at)) / 1e6 end as seconds
from state s join dataflows.main.runs r on r.id = s.run;

-- The end of an attempt is a row as it is today, if it was there. What was open then may be over since, and is made of
-- the last event that its step had. A beginning that a transaction overtook says nothing.
create or replace view dataflows_past.main.steps as
with told as (
    from dataflows_past.main.events where starts_with(kind, 'step.')
), last as (
    select run, key, max(seq) as seq, arg_max(kind, seq) as kind from told group by run, key
    having arg_max(kind, seq) in ('step.started', 'step.waiting')
), attempts as (
    select t.*, coalesce((t.data ->> 'attempt')::integer, 1) as attempt
    from told t semi join last l on l.run = t.run and l.key = t.key
), tried as (
    select run, key,
           max(seq) filter (kind <> 'step.started') as seq,
           max(attempt) filter (kind <> 'step.started') as attempt
    from attempts group by run, key
), open as (
    select l.run, case when l.kind = 'step.started' and t.attempt >= a.attempt then t.seq else l.seq end as seq
    from last l
    join attempts a on a.run = l.run and a.seq = l.seq
    join tried t on t.run = l.run and t.key = l.key
)
select s.*
from dataflows.main.steps s
where s.finished_at is not null
  and exists (select 1 from dataflows_past.main.events e where e.run = s.run and e.seq = s.seq)
union all
select a.run, a.key, coalesce(a.name, a.key), coalesce(a.data ->> 'op', 'run'), a.attempt, 'open', null, null,
       a.data -> 'input', a."at", null, null, a.seq
from open o join attempts a on a.run = o.run and a.seq = o.seq and a.kind in ('step.started', 'step.waiting');
