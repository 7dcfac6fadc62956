-- Triggers that belong to no saved flow, limits, and what waits for room; messages, streams; values of functions.

-- A trigger is a node of a saved flow, is declared with code, or was made by hand.
alter table dataflows.trigger alter column flow drop not null;
alter table dataflows.trigger
    add column origin   text not null default 'flow' check (origin in ('flow', 'code', 'hand')),
    add column workflow text,                       -- whose runs it begins, where that is no saved flow
    add column function text,                       -- or which function it calls
    add column topic     text,                      -- the events that it listens for: a name, or a pattern
    add column resume_at timestamptz,               -- when what found no room is tried again
    add constraint trigger_target check (num_nonnulls(flow, workflow, function) = 1);
create unique index trigger_place on dataflows.trigger (coalesce(flow::text, workflow), node) where origin <> 'hand';
create index trigger_resume on dataflows.trigger (resume_at) where enabled and resume_at is not null;
update dataflows.trigger set topic = config ->> 'event' where type = 'trigger_event';
drop index dataflows.trigger_event;
create index trigger_topic on dataflows.trigger (topic) where enabled and topic is not null;

-- The transaction that emitted: an event may be committed after one with a later time, never before its transaction is
-- the oldest one that goes on.
alter table dataflows.broadcast add column xid xid8 not null default pg_current_xact_id();
create index broadcast_xid on dataflows.broadcast (name, xid);
create index broadcast_order on dataflows.broadcast (xid);
-- What a trigger that listens has not heard yet began in this transaction or later.
alter table dataflows.trigger add column heard xid8 not null default pg_current_xact_id();

-- How many runs may begin in a time: of a workflow, or of all ('').
create table dataflows.rate_limit (
    workflow text primary key,
    config   json not null,
    bucket   json                                   -- what is left
);

-- Firings that found no room; they begin their runs later, in order.
create table dataflows.deferred (
    trigger  uuid        not null,
    event    text        not null,                  -- the id of the firing
    name     text        not null,                  -- of the event that the run gets
    payload  json        not null,
    at       timestamptz not null,
    primary key (trigger, event)
);
create index deferred_at on dataflows.deferred (trigger, at, event);

-- A pattern of subjects as a regular expression: '*' is one word, '>' at the end is one or more.
create function dataflows.subject_regex(pattern text) returns text
language sql immutable strict parallel safe
as $$
    select '^' || regexp_replace(regexp_replace(regexp_replace(pattern,
        '([\\.+?^$(){}|\[\]-])', '\\\1', 'g'),
        '(^|\\\.)\*(?=\\\.|$)', '\1[^.]+', 'g'),
        '(^|\\\.)>$', '\1.+') || '$'
$$;

-- Whether a subject is one of a pattern's.
create function dataflows.subject_matches(pattern text, subject text) returns boolean
language sql immutable strict parallel safe
as $$ select subject ~ dataflows.subject_regex(pattern) $$;

-- Durable streams of messages.
create table dataflows.stream (
    name         text        primary key,
    subjects     text[]      not null,              -- patterns of what it keeps
    regexes      text[]      not null,              -- the same, as regular expressions
    max_age      interval,
    max_messages bigint,
    max_bytes    bigint,
    seq          bigint      not null default 0,    -- of its newest message
    bytes        bigint      not null default 0,    -- of the payloads of its messages
    created_at   timestamptz not null
);

create table dataflows.stream_message (
    stream  text        not null,
    seq     bigint      not null,                   -- 1, 2, 3, … without gaps, in the order of commits
    subject text        not null,
    payload json        not null,
    size    int         not null,                   -- bytes of the payload
    key     text,                                   -- publishing twice with one key counts once
    at      timestamptz not null,
    primary key (stream, seq)
);
create unique index stream_message_key on dataflows.stream_message (stream, key) where key is not null;

-- Who reads a stream, and how far.
create table dataflows.stream_consumer (
    stream      text        not null,
    name        text        not null,
    filter      text        not null,              -- a pattern of subjects
    regex       text        not null,              -- the same, as a regular expression
    ack_wait    interval    not null,
    max_deliver int         not null,
    seq         bigint      not null,               -- everything up to here was handed out, or does not concern it
    created_at  timestamptz not null,
    primary key (stream, name)
);

-- What was handed out and is not acknowledged.
create table dataflows.stream_delivery (
    stream   text        not null,
    consumer text        not null,
    seq      bigint      not null,
    count    int         not null,                  -- how often it was handed out
    due_at   timestamptz,                           -- when it is handed out again; null: never, it was too often
    primary key (stream, consumer, seq)
);
-- The time first, so that nobody takes it for the way to one delivery.
create index stream_delivery_due on dataflows.stream_delivery (due_at, stream, consumer);

-- Messages that are too large for a notification; for a minute.
create unlogged table dataflows.large_message (
    id      uuid        primary key,
    payload json        not null,
    at      timestamptz not null
);

-- Small values that functions keep.
create table dataflows.kv (
    key        text        primary key,
    value      json        not null,
    expires_at timestamptz,
    updated_at timestamptz not null
);
create index kv_expiry on dataflows.kv (expires_at) where expires_at is not null;

comment on table dataflows.rate_limit is 'How many runs triggers may begin in a time.';
comment on table dataflows.deferred is 'Firings that wait for room under a limit.';
comment on table dataflows.stream is 'Durable streams of messages.';
comment on table dataflows.stream_message is 'The messages of streams.';
comment on table dataflows.stream_consumer is 'Who reads streams, and how far.';
comment on table dataflows.stream_delivery is 'Messages that were handed out and not acknowledged.';
comment on table dataflows.kv is 'Small values that functions keep, by key.';

-- Start a run from SQL: a part of the transaction that calls it. Gives the run's id, or that of the run which has the
-- idempotency key. The payload is read like a stored one: an object whose only key begins with '$' is a typed value.
create function dataflows.start(workflow text, payload json default 'null', idempotency_key text default null)
returns uuid
language plpgsql
as $$
declare
    moment timestamptz := clock_timestamp();
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
    insert into dataflows.run (id, workflow, version, status, wake_at, last_seq, idempotency_key, created_at)
    values (made, start.workflow, code, 'queued', moment, 1, start.idempotency_key, moment)
    on conflict do nothing
    returning id into found;
    if found is null then
        select r.id into found from dataflows.run r
        where r.workflow = start.workflow and r.idempotency_key = start.idempotency_key;
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
        'status', 'queued', 'input', coalesce(payload, 'null'::json)), moment);
    perform pg_notify('dataflows', 'sql ');
    return made;
end
$$;

comment on function dataflows.start(text, json, text) is
    'Starts a run of a workflow as a part of this transaction; gives its id.';
