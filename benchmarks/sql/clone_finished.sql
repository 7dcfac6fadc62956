-- %(count)s finished runs like the run %(like)s, each with the same events, created one a second up to %(before)s seconds ago.
with made as (
    insert into dataflows.run (id, workflow, version, status, epoch, owner, wake_at, waits, last_seq, queue, priority,
                               created_at, started_at, finished_at)
    select uuidv7(make_interval(secs => -(%(before)s + n))), r.workflow, r.version, r.status, r.epoch, r.owner, r.wake_at,
           r.waits, r.last_seq, r.queue, r.priority,
           now() - make_interval(secs => %(before)s + n), now() - make_interval(secs => %(before)s + n),
           now() - make_interval(secs => %(before)s + n) + (r.finished_at - r.created_at)
    from dataflows.run r, generate_series(%(count)s, 1, -1) n
    where r.id = %(like)s
    returning id, created_at
)
insert into dataflows.event (run, seq, epoch, kind, key, data, at)
select made.id, e.seq, e.epoch, e.kind, e.key, e.data, made.created_at
from made, dataflows.event e
where e.run = %(like)s
order by made.id, e.seq
