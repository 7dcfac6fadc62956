-- Retention: a run goes with everything that is keyed by it, in one transaction.

-- name: expired
-- $1 finished before $2 limit $3 workflow or null $4 workflow[] that are left out $5 after this end or null $6 and this run
-- Runs that ended long ago, from the oldest on; a parent that is not over keeps its children.
select r.id, r.workflow, r.finished_at from dataflows.run r
where r.finished_at < $1 and r.status in ('succeeded', 'failed', 'cancelled')
  and ($3::text is null or r.workflow = $3)
  and r.workflow <> all($4::text[])
  and ($5::timestamptz is null or r.finished_at >= $5 and (r.finished_at, r.id) > ($5, $6::uuid))
  and not exists (select 1 from dataflows.run p where p.id = r.parent and p.finished_at is null)
order by r.finished_at, r.id limit $2;

-- name: count_expired
-- $1 finished before $2 workflow or null $3 workflow[] that are left out
select r.workflow, count(*), min(r.finished_at), max(r.finished_at) from dataflows.run r
where r.finished_at < $1 and r.status in ('succeeded', 'failed', 'cancelled')
  and ($2::text is null or r.workflow = $2)
  and r.workflow <> all($3::text[])
  and not exists (select 1 from dataflows.run p where p.id = r.parent and p.finished_at is null)
group by r.workflow;

-- name: delete_run
-- $1 run
with refs as (delete from dataflows.blob_ref where run = $1 returning sha256),
     messages as (delete from dataflows.message where run = $1),
     events as (delete from dataflows.event where run = $1),
     -- an idempotency key that has its own time goes on to refuse a second run
     spent as (insert into dataflows.spent_key (workflow, key, run, until)
               select r.workflow, r.idempotency_key, r.id, r.key_until from dataflows.run r
               where r.id = $1 and r.idempotency_key is not null and r.key_until > now()
               on conflict do nothing)
delete from dataflows.run where id = $1 returning id;

-- name: delete_content
-- Content that no run refers to any more, and that no writer can be about to refer to.
delete from dataflows.blob b
where b.created_at < now() - interval '1 hour'
  and not exists (select 1 from dataflows.blob_ref r where r.sha256 = b.sha256);

-- name: delete_spent_keys
delete from dataflows.spent_key where until < now();

-- name: delete_broadcasts
-- $1 before
with gone as (delete from dataflows.broadcast where at < $1 returning id)
delete from dataflows.blob_ref r using gone where r.run = gone.id;

-- name: note
-- $1 action $2 detail
insert into dataflows.audit (action, detail) values ($1, $2::json);

-- name: try_lock
-- Held by the session: one process of many deletes at a time.
select pg_try_advisory_lock(7240351927407);

-- name: unlock
select pg_advisory_unlock(7240351927407);

-- The size of the journal is what its living rows hold, from a sample of the tables' pages: the size of the files does not
-- fall when rows are deleted, and going by it everything would go. 150 is what a row of an event costs besides its data,
-- with its place in the index; 400 is a run with its indexes; 250 a message.

-- name: pages
select pg_relation_size('dataflows.event') / 8192, pg_relation_size('dataflows.blob') / 8192,
       pg_relation_size('dataflows.run') / 8192, pg_relation_size('dataflows.message') / 8192;

-- name: measure
-- $1 $2 $3 $4 percent of the pages of event, blob, run, message
select (select coalesce(sum(pg_column_size(e.data) + 150), 0) * 100.0 / $1::float4::numeric
        from dataflows.event e tablesample system ($1::float4))
     + (select coalesce(sum(b.size + 150), 0) * 100.0 / $2::float4::numeric
        from dataflows.blob b tablesample system ($2::float4))
     + (select count(*) * 400 * 100.0 / $3::float4::numeric from dataflows.run r tablesample system ($3::float4))
     + (select coalesce(sum(pg_column_size(m.payload) + 250), 0) * 100.0 / $4::float4::numeric
        from dataflows.message m tablesample system ($4::float4));

-- name: run_sizes
-- $1 run[]
-- What goes with each run, in the same measure; of a large value that several runs share, a part.
select r.id, 400
     + coalesce((select sum(pg_column_size(e.data) + 150) from dataflows.event e where e.run = r.id), 0)
     + coalesce((select sum(pg_column_size(m.payload) + 250) from dataflows.message m where m.run = r.id), 0)
     + coalesce((select sum((b.size + 150)
                            / (select count(*) from dataflows.blob_ref o where o.sha256 = b.sha256))
                 from dataflows.blob_ref f join dataflows.blob b on b.sha256 = f.sha256 where f.run = r.id), 0)
from unnest($1::uuid[]) as r(id);
