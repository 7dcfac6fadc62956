-- What documents need: approvals, flows with their versions, triggers.

-- Approvals are events of their runs; few, and asked for by their id.
create unique index event_approval on dataflows.event ((data ->> 'id')) where kind = 'approval.requested';

-- A flow that was saved. Its content is in its versions; this row says how it stands.
create table dataflows.flow (
    id           uuid        primary key,
    name         text        not null,
    description  text        not null default '',
    trigger_type text,                              -- as it was given or derived
    status       text        not null default 'draft' check (status in ('draft', 'active', 'paused', 'archived')),
    version      int         not null,              -- the newest
    created_at   timestamptz not null,
    updated_at   timestamptz not null,
    deleted_at   timestamptz,
    created_by   text
);
-- The name is how runs find their code, so that it is unique among flows that are not deleted.
create unique index flow_name on dataflows.flow (name) where deleted_at is null;

-- Immutable, numbered 1, 2, 3, … per flow.
create table dataflows.flow_version (
    flow          uuid        not null,
    version       int         not null,
    hash          text        not null,             -- what it does: layout and descriptions do not count
    document      json        not null,
    name          text,                             -- a label given by hand
    tag           text,
    description   text        not null default '',
    restored_from int,
    automatic     boolean     not null default false,
    created_at    timestamptz not null,
    created_by    text,
    primary key (flow, version)
);

-- One row per trigger node of an active flow.
create table dataflows.trigger (
    id         uuid        primary key,
    flow       uuid        not null,
    node       text        not null,
    type       text        not null,
    config     json        not null,
    token      text,                                -- of a webhook's address
    enabled    boolean     not null default true,
    next_at    timestamptz,                         -- of a schedule: when it fires next
    last_at    timestamptz,                         -- up to when it has fired
    since      timestamptz not null,                -- when it was turned on: what was before does not concern it
    bucket     json,                                -- what is left of its rate limit
    created_at timestamptz not null,
    unique (flow, node)
);
create unique index trigger_token on dataflows.trigger (token) where token is not null;
create index trigger_due on dataflows.trigger (next_at) where enabled and next_at is not null;
create index trigger_event on dataflows.trigger ((config ->> 'event')) where enabled and type = 'trigger_event';

comment on table dataflows.flow is 'Flows that were saved, with their standing.';
comment on table dataflows.flow_version is 'Every content that a saved flow has had; never changed.';
comment on table dataflows.trigger is 'What starts runs of active flows.';

-- Source that was deployed under a slug; what was deployed last is what is called.
create table dataflows.function (
    slug        text        not null,
    version     text        not null,               -- hash of all that follows but the time
    engine      text        not null,
    source      text        not null,
    timeout_ms  int         not null,
    memory_mb   int         not null,
    deployed_at timestamptz not null,
    primary key (slug, version)
);

comment on table dataflows.function is 'Functions that were deployed as source, with all their versions.';
