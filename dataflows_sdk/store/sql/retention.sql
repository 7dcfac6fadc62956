-- Retention: a run goes with everything that is keyed by it, in one transaction.

-- name: expired
-- $1 finished before $2 limit $3 workflow or null
-- Runs that ended long ago; a parent that is not over keeps its children.
select r.id from dataflows.run r
where r.finished_at < $1 and r.status in ('succeeded', 'failed', 'cancelled')
  and ($3::text is null or r.workflow = $3)
  and not exists (select 1 from dataflows.run p where p.id = r.parent and p.finished_at is null)
order by r.finished_at limit $2;

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
delete from dataflows.run where id = $1;

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
