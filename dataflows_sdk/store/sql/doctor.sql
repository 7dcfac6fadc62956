-- What `dataflows doctor` and `ctx.doctor()` ask. Nothing here may cost more with a million runs than with a thousand:
-- every statement goes by an index and looks at a bounded number of rows, reads the catalogs, or reads a sample.

-- name: ping
select 1;

-- name: connections
select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
       (select count(*) from pg_stat_activity where backend_type = 'client backend'),
       (select count(*) from pg_stat_activity where backend_type = 'client backend' and datname = current_database());

-- name: sessions
-- $1 seconds of a transaction $2 seconds of doing nothing in one
-- Sessions whose open transactions keep VACUUM from removing what is dead; the oldest first.
select a.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, ''), coalesce(a.state, ''),
       extract(epoch from now() - a.xact_start)::float8,
       extract(epoch from now() - a.state_change)::float8
from pg_stat_activity a
where a.datname = current_database() and a.pid <> pg_backend_pid() and a.xact_start is not null
  and (a.xact_start < now() - make_interval(secs => $1::float8)
    or (a.state like 'idle in transaction%' and a.state_change < now() - make_interval(secs => $2::float8)))
order by a.xact_start limit 20;

-- name: prepared
-- $1 seconds
select p.gid, p.owner::text, extract(epoch from now() - p.prepared)::float8 from pg_prepared_xacts p
where p.database = current_database() and p.prepared < now() - make_interval(secs => $1::float8)
order by p.prepared limit 20;

-- name: slots
-- Replication slots, and how much WAL each keeps.
select s.slot_name::text, s.active,
       pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
                       s.restart_lsn)::bigint
from pg_replication_slots s where s.restart_lsn is not null order by 3 desc nulls last limit 20;

-- name: tables
-- Size, living and dead rows, and what VACUUM did, by table.
select c.relname::text, pg_total_relation_size(c.oid), greatest(c.reltuples, 0)::bigint,
       coalesce(s.n_live_tup, 0), coalesce(s.n_dead_tup, 0),
       greatest(s.last_vacuum, s.last_autovacuum), age(c.relfrozenxid)::bigint
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join pg_stat_user_tables s on s.relid = c.oid
where n.nspname = 'dataflows' and c.relkind in ('r', 'p') order by 2 desc;

-- name: workers
-- With whether the session that holds the worker's lock is there.
select w.id, w.started_at, w.heartbeat_at, extract(epoch from w.lease)::float8, w.info::text,
       w.heartbeat_at + w.lease >= now(),
       exists (select 1 from pg_locks l
               where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
                 and l.database = (select oid from pg_database where datname = current_database())
                 and l.classid::bigint = ((w.lock_key >> 32) & 4294967295)
                 and l.objid::bigint = (w.lock_key & 4294967295)),
       now()
from dataflows.worker w order by w.started_at limit 1000;

-- name: running
-- Who runs what; by the index of runs that are owned.
select r.owner, r.workflow, count(*), min(r.id::text) from dataflows.run r
where r.status = 'running' group by r.owner, r.workflow;

-- name: overdue
-- $1 seconds $2 rows
-- Runs that should have been claimed and were not, at most so many of each workflow. What a queue with limits holds back
-- is not late.
with ready as materialized (
    select queue, workflow from dataflows.queued_kind
), timer as materialized (
    select queue, workflow, wake_at from dataflows.timed_kind
), late as (
    select d.* from ready p cross join lateral (
        select r.id, r.workflow, r.status, r.wake_at from dataflows.run r
        where r.status = 'queued' and r.queue = p.queue and r.workflow = p.workflow
        order by r.rank limit $2::int) d
    where not exists (select 1 from dataflows.queue q where q.name in ('*', p.queue))
    union all
    select d.* from timer t cross join lateral (
        select r.id, r.workflow, r.status, r.wake_at from dataflows.run r
        where r.status in ('sleeping', 'waiting') and r.wake_at is not null and r.epoch > 0
          and r.queue = t.queue and r.workflow = t.workflow and r.wake_at < now() - make_interval(secs => $1::float8)
        order by r.wake_at limit $2::int) d
    union all
    select d.* from (
        select r.id, r.workflow, r.status, r.wake_at from dataflows.run r
        where r.status = 'sleeping' and r.epoch = 0 and r.wake_at < now() - make_interval(secs => $1::float8)
        order by r.wake_at limit $2::int) d
)
select d.workflow, d.status, count(*), min(d.wake_at), min(d.id::text) from late d
where d.wake_at < now() - make_interval(secs => $1::float8)
group by d.workflow, d.status order by 4;

-- name: unheard
-- $1 seconds $2 rows
-- Suspended runs with a message that they wait for, among so many of the newest that nobody took.
select r.workflow, count(distinct r.id), min(m.at), min(r.id::text) from (
    select m.run, m.kind, m.name, m.at from dataflows.message m
    where m.consumed is null and m.at < now() - make_interval(secs => $1::float8)
    order by m.at desc limit $2::int
) m
-- one by one: a join would read all runs
cross join lateral (select n.id, n.workflow, n.status, n.waits from dataflows.run n where n.id = m.run limit 1) r
where r.status in ('sleeping', 'waiting') and (m.kind = 'cancel' or m.name = any(r.waits))
group by r.workflow;

-- name: unhappy
-- $1 rows
-- Failed and quarantined runs, among so many of the newest.
select u.workflow, u.status, count(*), min(u.created_at), max(u.id::text) from (
    select r.id, r.workflow, r.status, r.created_at from dataflows.run r
    where r.status in ('failed', 'cancelled', 'quarantined') order by r.id desc limit $1::int
) u where u.status <> 'cancelled' group by u.workflow, u.status order by u.workflow, u.status;

-- name: workflows
-- The names of all workflows that have runs, from one to the next by the index.
with recursive names as (
    (select r.workflow from dataflows.run r order by r.workflow limit 1)
    union all
    select (select r.workflow from dataflows.run r where r.workflow > n.workflow order by r.workflow limit 1)
    from names n where n.workflow is not null
)
select workflow from names where workflow is not null limit 5000;

-- name: open_of
-- $1 workflow[] $2 rows
-- Open runs of these workflows, among so many of the newest of each.
select w.name, count(*), min(o.created_at), min(o.id::text)
from unnest($1::text[]) as w(name)
cross join lateral (
    select n.id, n.created_at from (
        select r.id, r.status, r.created_at from dataflows.run r where r.workflow = w.name
        order by r.id desc limit $2::int
    ) n where n.status in ('queued', 'running', 'sleeping', 'waiting')
) o
group by w.name order by w.name;

-- name: oldest_end
select min(r.finished_at) from dataflows.run r where r.finished_at is not null;

-- name: census
-- $1 percent of the pages $2 events per run
-- A sample of runs with what they hold, by workflow: runs, events, bytes of some events and how many these were, bytes of
-- large values, runs of the last day.
select s.workflow, count(*), sum(s.last_seq), coalesce(sum(e.bytes), 0)::bigint, coalesce(sum(e.events), 0)::bigint,
       coalesce(sum(b.bytes), 0)::bigint, count(*) filter (where s.created_at > now() - interval '1 day')
from dataflows.run s tablesample system ($1::float4)
left join lateral (
    select sum(pg_column_size(v.data) + 150) as bytes, count(*) as events
    from (select e.data from dataflows.event e where e.run = s.id order by e.seq limit $2::int) v
) e on true
left join lateral (
    select sum(b.size) as bytes from dataflows.blob_ref f join dataflows.blob b on b.sha256 = f.sha256 where f.run = s.id
) b on true
group by s.workflow;

-- name: statuses
-- $1 percent of the pages
select r.status, count(*) from dataflows.run r tablesample system ($1::float4) group by r.status;

-- name: orphaned_blobs
-- $1 percent of the pages
-- In a sample of the large values: how many, how many without anybody who refers to them, and the bytes of these.
select count(*), count(*) filter (where not s.held), coalesce(sum(s.size) filter (where not s.held), 0)::bigint
from (
    select b.size, exists (select 1 from dataflows.blob_ref f where f.sha256 = b.sha256) as held
    from dataflows.blob b tablesample system ($1::float4)
    where b.created_at < now() - interval '1 day'
) s;

-- name: pages
-- $1 table
-- Pages of a table's own file, as they are now.
select pg_relation_size(to_regclass($1)) / 8192;

-- name: patience
-- $1 how long a statement of this transaction may take
select set_config('statement_timeout', $1, true);

-- name: connections_in_error
-- Connections that give no access any more, by service client.
select s.name, count(*), min(c.updated_at), min(c.id::text)
from dataflows.connections c join dataflows.service_clients s on s.id = c.service_client_id
where c.status = 'auth_error' group by s.name order by 2 desc, 1;

-- name: views
-- Materialised views with a schedule: failures, why, seconds until the next attempt, seconds since one is due, and whether
-- somebody refreshes it just now: `try_hold` of the warehouse's views.sql.
select w.name, w.failures, coalesce(w.last_error, ''), coalesce(extract(epoch from w.retry_at - now()), 0)::float8,
       extract(epoch from now() - greatest(w.next_at, w.retry_at))::float8,
       exists (select 1 from pg_locks l
               where l.locktype = 'advisory' and l.classid::bigint = 724035193 and l.granted
                 and l.objid::bigint = hashtext(w.name)::bigint & 4294967295
                 and l.database = (select d.oid from pg_database d where d.datname = current_database()))
from dataflows.warehouse_view w
join pg_class c on c.relname = w.name and c.relnamespace = 'warehouse'::regnamespace and c.relkind = 'm'
where w.next_at is not null
order by w.name limit 1000;
