-- Queues: order, limits and fairness among the runs that wait for a worker; lifetimes of idempotency keys.

alter table dataflows.run
    add column key  text,                           -- whose run it is, for limits and fairness within its queue
    -- Its place among those queued: the time, moved back by its priority. As time passes all of them move up by the
    -- same, so that a run of low priority overtakes younger ones of high priority: ageing that costs no update.
    add column rank timestamptz not null default now(),
    add column slot text,                           -- what only one run of its workflow may hold at a time
    add column pinned text,                         -- the only version of the code that may go on with it
    add column key_until timestamptz;               -- when its idempotency key may be used again; null: never

-- Runs whose time comes by itself and runs that only need a worker are looked for in different ways.
drop index dataflows.run_due;
create index run_queued on dataflows.run (queue, workflow, rank) where status = 'queued';
create index run_lane on dataflows.run (queue, key, rank, workflow) where status = 'queued' and key is not null;
create index run_timer on dataflows.run (queue, workflow, wake_at)
    where status in ('sleeping', 'waiting') and wake_at is not null and epoch > 0;
create index run_delayed on dataflows.run (wake_at) where status = 'sleeping' and epoch = 0;
create unique index run_slot on dataflows.run (workflow, slot) where slot is not null;

comment on column dataflows.run.key is 'Whose run it is: limits and fairness within its queue are by it.';
comment on column dataflows.run.rank is 'Its place among the queued runs of its queue, the smallest first.';

-- How the runs of a queue are let go. A queue without a row has no limits.
create table dataflows.queue (
    name           text primary key,                -- '*': all queues together
    concurrency    int check (concurrency >= 0),    -- runs at work at once
    per_key        int check (per_key >= 0),        -- those of one key
    rate           int check (rate > 0),            -- runs that begin in a period
    period         interval,
    key_rate       int check (key_rate > 0),        -- those of one key
    key_period     interval,
    fair           boolean     not null default false,  -- keys take turns
    paused         boolean     not null default false,
    ageing         interval    not null default '1 minute',  -- what one step of priority is worth in waiting time
    updated_at     timestamptz not null default now(),
    check ((rate is null) = (period is null) and (key_rate is null) = (key_period is null))
);
comment on table dataflows.queue is 'Limits of queues: how many of their runs work at once and begin in a time.';

-- When runs of queues with a rate began, for the length of the period.
create table dataflows.begun (
    queue text        not null,
    key   text        not null,
    at    timestamptz not null,
    run   uuid        not null
);
create index begun_queue on dataflows.begun (queue, at);
create index begun_key on dataflows.begun (queue, key, at);
comment on table dataflows.begun is 'When runs of queues with a rate limit began.';

-- Idempotency keys that outlive their runs.
create table dataflows.spent_key (
    workflow text        not null,
    key      text        not null,
    run      uuid        not null,
    until    timestamptz not null,
    primary key (workflow, key)
);
create index spent_key_until on dataflows.spent_key (until);
comment on table dataflows.spent_key is 'Idempotency keys of runs that retention deleted, until their time is over.';

-- Where a queued run stands among the others of its queue.
create function dataflows.rank_of(queue text, priority int, at timestamptz) returns timestamptz
language sql stable parallel safe
as $$
    select rank_of.at - rank_of.priority * coalesce(
        (select q.ageing from dataflows.queue q where q.name = rank_of.queue), interval '1 minute')
$$;

drop function dataflows.start(text, json, text);
-- Start a run from SQL: a part of the transaction that calls it. Gives the run's id, or that of the run which has the
-- idempotency key. The payload is read like a stored one: an object whose only key begins with '$' is a typed value.
create function dataflows.start(
    workflow text, payload json default 'null', idempotency_key text default null,
    queue text default 'default', priority int default 0, key text default null, delay interval default '0'
) returns uuid
language plpgsql
as $$
declare
    moment timestamptz := clock_timestamp();
    later  boolean := delay > interval '0';
    -- a UUID of version 7: 48 bits of milliseconds before random ones
    made   uuid := encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing
                       substring(int8send(floor(extract(epoch from moment) * 1000)::bigint) from 3) from 1 for 6),
                       52, 1), 53, 1), 'hex')::uuid;
    code   text;
    found  uuid;
begin
    select v.hash into code from dataflows.version v where v.workflow = start.workflow
    order by v.created_at desc, v.hash limit 1;
    if code is null then
        raise exception 'no process has ever run the workflow %', quote_literal(start.workflow)
        using hint = 'Start it once from Python, or save the flow; then its name is known here.';
    end if;
    update dataflows.run r set idempotency_key = null, key_until = null
    where r.workflow = start.workflow and r.idempotency_key = start.idempotency_key and r.key_until < moment;
    insert into dataflows.run (id, workflow, version, status, wake_at, last_seq, idempotency_key, queue, priority, key,
                               rank, created_at)
    select made, start.workflow, code, case when later then 'sleeping' else 'queued' end, moment + start.delay, 1,
           start.idempotency_key, start.queue, start.priority,
           coalesce(start.key, case when start.queue <> 'default' then '' end),
           dataflows.rank_of(start.queue, start.priority, moment + start.delay), moment
    where not exists (select 1 from dataflows.spent_key s where s.workflow = start.workflow
                      and s.key = start.idempotency_key and s.until >= moment)
    on conflict do nothing
    returning id into found;
    if found is null then
        select r.id into found from dataflows.run r
        where r.workflow = start.workflow and r.idempotency_key = start.idempotency_key
        union all
        select s.run from dataflows.spent_key s
        where s.workflow = start.workflow and s.key = start.idempotency_key;
        if found is null then
            raise exception 'the idempotency key % belongs to a run that this transaction cannot see',
                quote_literal(start.idempotency_key) using errcode = 'serialization_failure';
        end if;
        return found;
    end if;
    insert into dataflows.event (run, seq, epoch, kind, data, at)
    values (made, 1, 0, 'run.created', json_build_object(
        'workflow', start.workflow, 'version', code,
        'event', json_build_object('id', made, 'received_at', moment, 'name', 'sql'),
        'status', case when later then 'sleeping' else 'queued' end, 'input', coalesce(payload, 'null'::json)), moment);
    perform pg_notify('dataflows', 'sql ');
    return made;
end
$$;

comment on function dataflows.start(text, json, text, text, int, text, interval) is
    'Starts a run of a workflow as a part of this transaction; gives its id.';
