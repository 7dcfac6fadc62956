-- What changed in the journal since a snapshot, and its rows as CSV. Read by `store/copying.py`.
--
-- How changes are found exactly without an index of their own: a head (dataflows.run) whose row was written since
-- snapshot S carries a transaction id that S did not see as finished, and events are only appended to a run that is
-- running, or in the transaction that writes its head. So: heads by their xmin, events by the runs that these are.
-- Statements that begin with `copy` have their parameters put in by the client, because COPY takes none.

-- name: begin
begin isolation level repeatable read read only;

-- name: end
commit;

-- name: moment
-- What is visible now, the first transaction id that may still be open in it, the next one, and which server and
-- table that is true of.
select s::text, pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint,
       concat_ws('/', pg_postmaster_start_time()::text, current_database(), 'dataflows.run'::regclass::oid::text)
from pg_current_snapshot() as s;

-- name: lock
lock table $table in access share mode;

-- name: changes
-- $1 the xmin of an earlier snapshot, or null for everything
-- All runs there are, counted; and of those whose head was written since: id, when created, whether running.
select count(*),
       coalesce(array_agg(h.id::text) filter (where h.fresh), '{}'),
       coalesce(array_agg(h.created_at::text) filter (where h.fresh), '{}'),
       coalesce(array_agg(h.status = 'running') filter (where h.fresh), '{}')
from (
    select r.id, r.created_at, r.status,
           $1::text is null or age(r.xmin) <= (select age($1::text::xid8::xid)) as fresh
    from dataflows.run r
) h;

-- name: ids
select coalesce(array_agg(r.id::text), '{}') from dataflows.run r;

-- name: news
-- $1 run[] $2 events known of it[] $3 the highest seq of them[]
-- Runs with events that are not known: id, the seq after which to read, events known then, the highest seq then.
-- The seqs of a run may become visible out of order (a step's own transaction), and some never come. Where the known
-- ones have gaps they are counted again, and the run is read from its beginning when one was filled.
with asked as (
    select * from unnest($1::uuid[], $2::int[], $3::int[]) as a(run, n, top)
), looked as (
    select a.run, a.n, a.top,
           a.n = a.top or a.n = (select count(*) from dataflows.event e where e.run = a.run and e.seq <= a.top) as whole
    from asked a
), lows as (
    select l.run, case when l.whole then l.top else 0 end as low, case when l.whole then l.n else 0 end as n
    from looked l
)
select l.run::text, l.low, l.n + f.n::int, f.top
from lows l
cross join lateral (select count(*) as n, max(e.seq) as top from dataflows.event e where e.run = l.run and e.seq > l.low) f
where f.n > 0;

-- name: open_marks
-- Events known and their highest seq, after everything was read, of the runs that may get more.
select r.id::text, count(*)::int, max(e.seq)
from dataflows.run r join dataflows.event e on e.run = r.id
where r.finished_at is null
group by r.id;

-- name: all_runs
copy (
    select r.id, r.workflow, r.version, r.status, r.input, r.result, r.error, r.epoch, r.queue, r.priority, r.parent,
           r.parent_key, r.forked_from, r.idempotency_key, r.created_at, r.started_at, r.finished_at, r.wake_at,
           to_json(r.waiting_for), r.seconds
    from dataflows.runs r
) to stdout (format csv);

-- name: some_runs
-- $1 run[]
copy (
    select r.id, r.workflow, r.version, r.status, r.input, r.result, r.error, r.epoch, r.queue, r.priority, r.parent,
           r.parent_key, r.forked_from, r.idempotency_key, r.created_at, r.started_at, r.finished_at, r.wake_at,
           to_json(r.waiting_for), r.seconds
    from dataflows.runs r
    where r.id = any($1::uuid[])
) to stdout (format csv);

-- name: all_events
copy (
    select e.run, e.seq, e.kind, e.key, e.name, e.at, e.epoch, e.data from dataflows.events e
) to stdout (format csv);

-- name: some_events
-- $1 run[] $2 the seq after which to read[]
copy (
    select e.run, e.seq, e.kind, e.key, e.name, e.at, e.epoch, e.data
    from unnest($1::uuid[], $2::int[]) as w(run, low)
    join dataflows.events e on e.run = w.run and e.seq > w.low
) to stdout (format csv);

-- name: all_steps
copy (
    select s.run, s.key, s.name, s.op, s.attempt, s.status, s.output, s.error, s.input, s.started_at, s.finished_at,
           s.seconds, s.seq
    from dataflows.steps s
) to stdout (format csv);

-- name: before_some_steps
-- Runs differ in length by five orders of magnitude, which statistics do not tell: of a long one, each step would be
-- compared with each new event. (With loops forbidden, older servers believe that compiling pays.)
select set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true);

-- name: after_some_steps
select set_config('enable_nestloop', 'on', true);

-- name: some_steps
-- $1 run[] $2 the seq after which to read[]
-- A step's rows follow from the events of its key alone: those whose key has a new event are read again. The
-- `offset 0` keeps the planner from joining the keys of all runs with the events of all.
copy (
    select s.run, s.key, s.name, s.op, s.attempt, s.status, s.output, s.error, s.input, s.started_at, s.finished_at,
           s.seconds, s.seq
    from unnest($1::uuid[], $2::int[]) as w(run, low)
    cross join lateral (select * from dataflows.steps a where a.run = w.run and w.low = 0 offset 0) s
    union all
    select s.run, s.key, s.name, s.op, s.attempt, s.status, s.output, s.error, s.input, s.started_at, s.finished_at,
           s.seconds, s.seq
    from unnest($1::uuid[], $2::int[]) as w(run, low)
    cross join lateral (
        select * from dataflows.steps a
        where a.run = w.run and w.low > 0
          and a.key in (select e.key from dataflows.event e where e.run = w.run and e.seq > w.low)
        offset 0
    ) s
) to stdout (format csv);
