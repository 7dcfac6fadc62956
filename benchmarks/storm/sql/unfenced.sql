-- Statements of the engine's journal.sql with every check of the epoch taken out, and nothing else.

-- name: fence
select null where cardinality($1::uuid[]) + cardinality($2::int[]) < 0;

-- name: append_events
insert into dataflows.event (run, seq, epoch, kind, key, data, at)
select e.run, e.seq, e.epoch, e.kind, nullif(e.key, ''), e.data::json, coalesce($1::timestamptz, now())
from unnest($2::uuid[], $3::int[], $4::int[], $5::text[], $6::text[], $7::text[])
     as e(run, epoch, seq, kind, key, data);

-- name: append_one
insert into dataflows.event (run, seq, epoch, kind, key, data, at)
values ($2::uuid, $4::int, $3::int, $5::text, nullif($6::text, ''), $7::json, coalesce($1::timestamptz, now()))
returning 1;

-- name: set_heads
update dataflows.run r
set status = u.status,
    last_seq = u.seq,
    owner = null,
    wake_at = u.wake_at,
    waits = string_to_array(nullif(u.waits, ''), e'\n'),
    finished_at = case when u.status in ('succeeded', 'failed', 'cancelled') then coalesce($1::timestamptz, now()) end
from unnest($2::uuid[], $3::int[], $4::text[], $5::int[], $6::timestamptz[], $7::text[])
     as u(id, epoch, status, seq, wake_at, waits)
where r.id = u.id
returning null;
