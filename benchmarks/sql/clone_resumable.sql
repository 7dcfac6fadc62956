-- The finished run %(like)s as it would stand after %(steps)s steps, handed back by a process that shut down.
-- Its step s#2 is the pattern of all of them.
with made as (
    insert into dataflows.run (id, workflow, version, status, epoch, wake_at, last_seq, queue, priority, created_at, started_at)
    select %(id)s, r.workflow, r.version, 'queued', r.epoch, now(), 1, r.queue, r.priority, now(), now()
    from dataflows.run r where r.id = %(like)s
)
insert into dataflows.event (run, seq, epoch, kind, key, data, at)
select %(id)s, 1, e.epoch, e.kind, e.key, regexp_replace(e.data::text, '"steps":\d+', '"steps":' || %(steps)s)::json, now()
from dataflows.event e where e.run = %(like)s and e.seq = 1
union all
select %(id)s, 1 + n, e.epoch, e.kind, case n when 1 then 's' else 's#' || n end,
       regexp_replace(e.data::text, '"n":\d+', '"n":' || n)::json, now()
from dataflows.event e, generate_series(1, %(steps)s) n where e.run = %(like)s and e.key = 's#2'
