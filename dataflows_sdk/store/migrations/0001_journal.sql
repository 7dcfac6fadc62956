-- The journal: what runs did, in the order in which it happened.
--
-- Every key begins with or contains the run's id and no foreign key crosses runs, so that the tables can later
-- be partitioned or distributed by run. `event` is append-only and is the truth; the other tables exist to
-- claim, wake and search, and can be rebuilt from it.

create schema if not exists dataflows;
create schema if not exists warehouse;

comment on schema dataflows is 'The journal of dataflows: runs, steps, events.';
comment on schema warehouse is 'Business data that dataflows keep: tables with history, and views.';

-- One row per version of a workflow: the code that ran.
create table dataflows.version (
    workflow    text        not null,
    hash        text        not null,               -- sha256 of the definition, first 16 hex digits
    kind        text        not null,               -- 'code' or 'flow'
    source      text,                               -- the source, where it could be read
    spec        json,                               -- the FlowSpec of a DAG
    info        json        not null default '{}',  -- module, qualified name, versions of packages
    created_at  timestamptz not null default now(),
    primary key (workflow, hash)
);

-- One narrow row per process that executes runs; its heartbeat is the lease of all of them.
create table dataflows.worker (
    id           uuid        primary key,
    lock_key     bigint      not null,              -- advisory lock held by the heartbeat's session
    started_at   timestamptz not null,
    heartbeat_at timestamptz not null,
    lease        interval    not null,
    info         json        not null default '{}'  -- host, pid, version
) with (fillfactor = 50);

-- The head of a run: who may work on it, and when. Everything here follows from its events.
create table dataflows.run (
    id              uuid        primary key,        -- UUIDv7: sorted by time of creation
    workflow        text        not null,
    version         text        not null,
    status          text        not null check (status in
        ('queued', 'running', 'sleeping', 'waiting', 'succeeded', 'failed', 'cancelled', 'quarantined')),
    epoch           int         not null default 0, -- goes up with every claim: the fencing token
    owner           uuid,                           -- dataflows.worker, while running
    wake_at         timestamptz,                    -- when it may be claimed; null: only a message wakes it
    waits           text[],                         -- names of the messages that wake it
    last_seq        int         not null default 0, -- seq of the event that set this status
    queue           text        not null default 'default',
    priority        smallint    not null default 0,
    parent          uuid,
    parent_key      text,
    forked_from     uuid,
    idempotency_key text,
    created_at      timestamptz not null,
    started_at      timestamptz,
    finished_at     timestamptz
) with (fillfactor = 80);

create index run_due on dataflows.run (wake_at, workflow)
    where status in ('queued', 'sleeping', 'waiting') and wake_at is not null;
create index run_owned on dataflows.run (owner) where status = 'running';
create index run_waits on dataflows.run using gin (waits) where waits is not null;
create index run_workflow on dataflows.run (workflow, id);
create index run_unhappy on dataflows.run (id) where status in ('failed', 'cancelled', 'quarantined');
create index run_finished on dataflows.run (finished_at) where finished_at is not null;
create index run_parent on dataflows.run (parent) where parent is not null;
create unique index run_idempotency on dataflows.run (workflow, idempotency_key) where idempotency_key is not null;

-- The journal itself. `json`, not `jsonb`: the order of keys and the text of numbers come back as written.
create table dataflows.event (
    run   uuid        not null,
    seq   int         not null,
    epoch int         not null,
    kind  text        not null,
    key   text,                                     -- the step: scope path, name, occurrence
    data  json        not null,
    at    timestamptz not null,
    primary key (run, seq)
);

-- The inbox of a run: named events, cancel requests, finished children. Each is consumed once.
create table dataflows.message (
    run      uuid        not null,
    id       bigint      generated always as identity,
    kind     text        not null,                  -- 'event', 'cancel', 'child'
    name     text        not null,
    payload  json        not null,
    dedupe   text,
    at       timestamptz not null,
    consumed int,                                   -- seq of the event that took it
    primary key (run, id)
);
create unique index message_dedupe on dataflows.message (run, dedupe) where dedupe is not null;
create index message_pending on dataflows.message (at) where consumed is null;

-- Events for every run that waits for them, now or (since its start) later.
create table dataflows.broadcast (
    id      uuid        primary key,
    name    text        not null,
    payload json        not null,
    at      timestamptz not null
);
create index broadcast_name on dataflows.broadcast (name, at);

-- Large values by content: written once, shared by every run that has them.
create table dataflows.blob (
    sha256     text        primary key,
    media      text        not null,
    size       bigint      not null,
    data       bytea       not null,
    meta       json        not null default '{}',
    created_at timestamptz not null default now()
);
alter table dataflows.blob alter column data set storage external;

-- Which run (or broadcast) a large value belongs to: the last one that is deleted takes the content along.
create table dataflows.blob_ref (
    run    uuid not null,
    sha256 text not null,
    primary key (run, sha256)
);
create index blob_ref_content on dataflows.blob_ref (sha256);

-- What the library did to the journal itself: retention, for example.
create table dataflows.audit (
    id     bigint      generated always as identity primary key,
    at     timestamptz not null default now(),
    action text        not null,
    detail json        not null
);
