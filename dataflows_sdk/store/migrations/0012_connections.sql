-- External systems and the access to them; runs and attempts of steps in the words of an audit log.

-- An external system, as this installation is known there. What is encrypted is an envelope (docs/reference/vault.md):
-- without the key, which is never in the database, it is noise.
create table dataflows.service_clients (
    id              uuid        primary key,
    name            text        not null unique,
    provider        text        not null,
    auth_type       text        not null check (auth_type in ('oauth2', 'api_key', 'basic')),
    client_id       text,
    client_secret   bytea,                              -- encrypted
    security_schema json        not null default '{}',  -- a security scheme as OpenAPI describes one
    scopes          text[]      not null default '{}',
    base_url        text,
    created_at      timestamptz not null,
    updated_at      timestamptz not null
);
comment on table dataflows.service_clients is 'External systems: how this installation is known there, and what it may do.';

-- The access of a user or an account to such a system.
create table dataflows.connections (
    id                   uuid        primary key,
    service_client_id    uuid        not null references dataflows.service_clients (id),
    user_id              text,
    account_id           text,
    access_token         bytea,                         -- encrypted; or the API key, or "username:password"
    refresh_token        bytea,                         -- encrypted
    token_type           text        not null,          -- 'Bearer', 'api_key', 'basic'
    expires_at           timestamptz,
    scopes               text[]      not null default '{}',
    status               text        not null check (status in
        ('pending', 'active', 'auth_error', 'disabled', 'revoked')),
    user_info            json,
    user_info_fetched_at timestamptz,
    last_used_at         timestamptz,
    created_at           timestamptz not null,
    updated_at           timestamptz not null,
    constraint connections_owner check (num_nonnulls(user_id, account_id) >= 1)
);
create index connections_client on dataflows.connections (service_client_id, id);
create index connections_user on dataflows.connections (user_id, id) where user_id is not null;
create index connections_account on dataflows.connections (account_id, id) where account_id is not null;
create index connections_unhappy on dataflows.connections (id) where status <> 'active';
comment on table dataflows.connections is 'The access of users and accounts to external systems; tokens are encrypted.';

-- The words of runs and steps as an audit log has them: running, success, error, cancelled; steps also skipped.
create function dataflows.execution_status(status text) returns text
language sql immutable parallel safe as $$
    select case
        when status in ('succeeded', 'completed') then 'success'
        when status in ('failed', 'quarantined', 'timed_out', 'retrying') then 'error'
        when status in ('cancelled', 'skipped') then status
        else 'running' end
$$;
comment on function dataflows.execution_status(text) is
    'A status of runs or of steps in the words of executions: running, success, error, cancelled (steps: skipped).';

-- The event that set a run off is `trigger` (id, name, time, service) and `payload`. What waits, and until when, is said by
-- wake_at and waiting_for, not by the status.
create view dataflows.executions as
select r.id,
       r.workflow                           as workflow_id,
       r.version                            as workflow_version,
       (c.data -> 'event')                  as trigger,
       (c.data -> 'input')                  as payload,
       (f.data -> 'value')                  as result,
       (f.data -> 'error')                  as error,
       dataflows.execution_status(r.status) as status,
       r.started_at,
       r.finished_at                        as completed_at,
       r.created_at,
       case when r.status in ('queued', 'sleeping', 'waiting') then r.wake_at end as wake_at,
       case when r.status in ('sleeping', 'waiting') then r.waits end as waiting_for
from dataflows.run r
left join dataflows.event c on c.run = r.id and c.seq = 1
left join dataflows.event f on f.run = r.id and f.seq = r.last_seq;
comment on view dataflows.executions is 'The audit log: one row per run, what set it off, what came of it, and when.';

create view dataflows.execution_steps as
select s.run                                   as execution_id,
       regexp_replace(s.key, '#[0-9]+$', '')   as step_id,
       coalesce(substring(s.key from '#([0-9]+)$')::int, 1) as occurrence,
       case s.op when 'sleep' then 'sleep' when 'wait' then 'wait' else 'run' end as kind,
       s.attempt,
       dataflows.execution_status(s.status)    as status,
       s.input,
       s.output                                as result,
       s.error,
       s.started_at,
       s.finished_at                           as completed_at,
       coalesce(e.data ->> 'retry_at', e.data ->> 'until')::timestamptz as wake_at
from dataflows.steps s
join dataflows.event e on e.run = s.run and e.seq = s.seq;
comment on view dataflows.execution_steps is 'One row per attempt of a step of an execution.';

-- Runs of code, of flows and of background jobs are one list, for they have one journal.
create view dataflows.all_runs as
select r.id,
       case when r.workflow = 'dataflows.job' then 'job'
            when r.workflow like 'dataflows.%' then 'system'
            else coalesce(v.kind, 'code') end  as kind,
       r.workflow,
       r.version,
       dataflows.execution_status(r.status)    as status,
       r.status                                as run_status,
       r.parent,
       r.forked_from,
       r.created_at,
       r.started_at,
       r.finished_at                           as completed_at
from dataflows.run r
left join dataflows.version v on v.workflow = r.workflow and v.hash = r.version;
comment on view dataflows.all_runs is 'Every run there is, of whatever kind: code, flow, job.';
