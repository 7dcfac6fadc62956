-- Forks: a new run that begins with a part of another one's journal.

-- name: create
-- It lines up where the original did.
-- $1 id $2 workflow $3 version $4 forked from $5 parent $6 parent key $7 data $8 now
with made as (
    insert into dataflows.run (id, workflow, version, status, wake_at, last_seq, parent, parent_key, forked_from, queue,
                               priority, key, rank, created_at)
    select $1, $2, $3, 'queued', coalesce($8::timestamptz, now()), 1, $5, $6, $4, r.queue, r.priority, r.key,
           dataflows.rank_of(r.queue, r.priority, coalesce($8::timestamptz, now())), coalesce($8::timestamptz, now())
    from dataflows.run r where r.id = $4
), refs as (
    insert into dataflows.blob_ref (run, sha256) select $1, b.sha256 from dataflows.blob_ref b where b.run = $4
)
insert into dataflows.event (run, seq, epoch, kind, data, at)
values ($1, 1, 0, 'run.created', $7::json, coalesce($8::timestamptz, now()));

-- name: copy
-- $1 fork $2 original $3 seqs
insert into dataflows.event (run, seq, epoch, kind, key, data, at)
select $1, 1 + row_number() over (order by e.seq)::int, 0, e.kind, e.key, e.data, e.at
from dataflows.event e where e.run = $2 and e.seq = any($3::int[]);

-- name: append
-- $1 run $2 seq $3 kind $4 key $5 data $6 now
insert into dataflows.event (run, seq, epoch, kind, key, data, at)
values ($1, $2, 0, $3, $4, $5::json, coalesce($6::timestamptz, now()));
