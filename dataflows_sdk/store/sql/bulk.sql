-- Many runs at once, a page at a time in the order of their ids. A page is a transaction of its own.

-- name: counts
-- $1 workflow or null $2 status[] $3 since or null $4 until $5 queue or null $6 type of error or null
-- $7 part of its message or null $8 run[] or null $9 leave out what was forked $10 leave out children whose parent did
-- not succeed
select r.workflow, r.status, count(*) from dataflows.run r
where ($1::text is null or r.workflow = $1)
  and r.status = any($2::text[])
  and ($3::timestamptz is null or r.created_at >= $3)
  and r.created_at < $4::timestamptz
  and ($5::text is null or r.queue = $5)
  and ($8::uuid[] is null or r.id = any($8))
  and (not $9::bool or not exists (select 1 from dataflows.run f where f.forked_from = r.id))
  and (not $10::bool or r.parent is null
       or exists (select 1 from dataflows.run p where p.id = r.parent and p.status = 'succeeded'))
  and ($6::text is null and $7::text is null or exists (
        select 1 from dataflows.event e where e.run = r.id and e.seq = r.last_seq
          -- a text with a NUL in it cannot be taken out of JSON
          and case when strpos(e.data::text, '\u0000') > 0 then false else
              ($6::text is null or $6 in (e.data -> 'error' ->> 'type', e.data -> 'reason' ->> 'code')
               or right(e.data -> 'error' ->> 'type', length($6) + 1) in (':' || $6, '.' || $6))
              and ($7::text is null or strpos(lower(coalesce(e.data -> 'error' ->> 'message',
                                                             e.data -> 'reason' ->> 'message', '')), lower($7)) > 0)
              end))
group by r.workflow, r.status;

-- name: page
-- as counts, and $11 after this id or null $12 limit
select r.id, r.workflow, r.version from dataflows.run r
where ($1::text is null or r.workflow = $1)
  and r.status = any($2::text[])
  and ($3::timestamptz is null or r.created_at >= $3)
  and r.created_at < $4::timestamptz
  and ($5::text is null or r.queue = $5)
  and ($8::uuid[] is null or r.id = any($8))
  and ($11::uuid is null or r.id > $11)
  and (not $9::bool or not exists (select 1 from dataflows.run f where f.forked_from = r.id))
  and (not $10::bool or r.parent is null
       or exists (select 1 from dataflows.run p where p.id = r.parent and p.status = 'succeeded'))
  and ($6::text is null and $7::text is null or exists (
        select 1 from dataflows.event e where e.run = r.id and e.seq = r.last_seq
          and case when strpos(e.data::text, '\u0000') > 0 then false else
              ($6::text is null or $6 in (e.data -> 'error' ->> 'type', e.data -> 'reason' ->> 'code')
               or right(e.data -> 'error' ->> 'type', length($6) + 1) in (':' || $6, '.' || $6))
              and ($7::text is null or strpos(lower(coalesce(e.data -> 'error' ->> 'message',
                                                             e.data -> 'reason' ->> 'message', '')), lower($7)) > 0)
              end))
order by r.id limit $12::int;

-- name: end_idle
-- $1 now $2 run[] $3 worker $4 reason $5 workflow[] whose code is here
-- Ends runs that nobody executes and that have nothing to undo and no child to take along, without their code. One that
-- began and whose code is here is left, so that its code sees the cancel. What is written is what a worker writes.
with idle as (
    select r.id, r.epoch + 1 as epoch, r.status as was, r.parent, r.parent_key,
           (select max(e.seq) from dataflows.event e where e.run = r.id) as seq
    from dataflows.run r
    where r.id = any($2::uuid[]) and r.status || '' in ('queued', 'sleeping', 'waiting', 'quarantined')
      and (r.started_at is null or r.workflow <> all($5::text[]))
      and not exists (
            select 1 from dataflows.event e
            where e.run = r.id and e.kind = 'step.completed' and strpos(e.data::text, '"undo":true') > 0)
      and not exists (
            select 1 from dataflows.event e
            where e.run = r.id and e.kind = 'step.waiting' and e.data::text ~ '"op": ?"child"'
              and not exists (select 1 from dataflows.event n
                              where n.run = e.run and n.key = e.key and n.seq > e.seq))
    order by r.id
    for update of r skip locked
), ended as (
    update dataflows.run r
    set status = 'cancelled', epoch = i.epoch, owner = null, wake_at = null, waits = null, last_seq = i.seq + 3,
        slot = null,
        finished_at = coalesce($1::timestamptz, now())
    from idle i where i.id = r.id
    returning r.id
), taken as (
    update dataflows.message m set consumed = i.seq + 2
    from idle i where m.run = i.id and m.kind = 'cancel' and coalesce(m.consumed, 0) = 0
), noted as (
    insert into dataflows.event (run, seq, epoch, kind, data, at)
    select i.id, i.seq + n.step, i.epoch, n.kind,
           case n.step when 1 then json_build_object('worker', $3::uuid, 'why', i.was)
                       else json_build_object('reason', $4::text) end,
           coalesce($1::timestamptz, now())
    from idle i
    cross join (values (1, 'run.claimed'), (2, 'run.cancel_requested'), (3, 'run.cancelled')) as n(step, kind)
), told as (
    insert into dataflows.message (run, kind, name, payload, dedupe, at)
    select p.id, 'child', 'child:' || i.id, 'null'::json, 'child:' || i.id, coalesce($1::timestamptz, clock_timestamp())
    from idle i join dataflows.run p on p.id = i.parent
    where i.parent_key is not null and p.status not in ('succeeded', 'failed', 'cancelled')
    on conflict (run, dedupe) where dedupe is not null do nothing
)
select i.id, case when i.parent_key is not null then i.parent end from idle i join ended e on e.id = i.id;

-- name: resume
-- $1 now $2 run[] $3 whether on the version that they began with
with head as (
    update dataflows.run r
    set status = 'queued', wake_at = coalesce($1::timestamptz, now()), owner = null, finished_at = null,
        epoch = r.epoch + 1, rank = coalesce($1::timestamptz, now()) - interval '100 years',
        pinned = case when $3::bool then r.version end
    where r.id = any($2::uuid[]) and r.status || '' = 'quarantined'
    returning r.id, r.epoch, r.version
)
insert into dataflows.event (run, seq, epoch, kind, data, at)
select h.id, (select max(e.seq) + 1 from dataflows.event e where e.run = h.id), h.epoch, 'run.resumed',
       case when $3::bool then json_build_object('version', h.version) else '{}'::json end,
       coalesce($1::timestamptz, now())
from head h
returning run;

-- name: hold_failed
-- $1 run
-- For the rest of the transaction nobody else tries this run again.
select r.id from dataflows.run r where r.id = $1::uuid and r.status || '' = 'failed' for update;

-- name: was_forked
-- $1 run
-- After hold_failed, as a statement of its own: it has to see what was committed while that one waited.
select 1 from dataflows.run f where f.forked_from = $1::uuid limit 1;

-- name: newest_version
-- $1 workflow
select v.hash, v.kind, v.spec::text from dataflows.version v where v.workflow = $1
order by v.created_at desc, v.hash limit 1;

-- name: note
-- $1 action $2 detail
insert into dataflows.audit (action, detail) values ($1, $2::json);
