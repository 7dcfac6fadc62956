-- What must hold when everything is over. Each gives the rows that contradict it.

-- name: runs
select r.id::text, r.workflow, r.status, r.epoch, r.last_seq, (c.data -> 'input' ->> 'n')::int, r.idempotency_key,
       r.parent::text, coalesce(w.info ->> 'pid', '')
from dataflows.run r
left join dataflows.event c on c.run = r.id and c.seq = 1 and c.kind = 'run.created'
left join dataflows.worker w on w.id = r.owner
order by r.id;

-- name: events
select run::text, seq, epoch, kind, coalesce(key, ''), data::text, at from dataflows.event order by run, seq;

-- name: epoch_goes_back
select run::text, seq, kind, epoch, before from (
    select run, seq, kind, epoch, max(epoch) over (partition by run order by seq
                                                   rows between unbounded preceding and 1 preceding) as before
    from dataflows.event) e
where epoch < before;

-- name: same_number
select run::text, seq, count(*) from dataflows.event group by run, seq having count(*) > 1;

-- name: late_write
-- By the time of its commit: something that an owner wrote after the run had been claimed by the next one.
select e.run::text, e.seq, e.kind, e.epoch, c.epoch
from dataflows.event e
join dataflows.event c on c.run = e.run and c.kind = 'run.claimed' and c.epoch > e.epoch
where pg_xact_commit_timestamp(e.xmin) > pg_xact_commit_timestamp(c.xmin);

-- name: ledger
select run::text, step, count(*), min(n), max(n) from storm.ledger group by run, step;

-- name: total
select sum(total) from storm.counter;

-- name: messages
select run::text, kind, name, payload::text, coalesce(dedupe, ''), consumed from dataflows.message;

-- name: broadcasts
select name, payload::text from dataflows.broadcast;

-- name: room
select run::text, count(*), bool_or(inside) from storm.room group by run;
