-- Approvals: questions that runs ask people.

-- name: pending
-- $1 run or null
select e.run, e.key, e.data::text, e.at, r.workflow
from dataflows.event e
join dataflows.run r on r.id = e.run
where e.kind = 'approval.requested'
  and r.status in ('running', 'waiting', 'sleeping', 'queued', 'quarantined')
  and ($1::uuid is null or e.run = $1)
  and not exists (
      select 1 from dataflows.event d
      where d.run = e.run and d.key = e.key and d.seq > e.seq
        and d.kind in ('step.completed', 'step.failed', 'step.skipped'))
order by e.at, e.run, e.seq;

-- name: approval
-- $1 id
-- One approval, how its run stands, and how it ended if it did.
select e.run, e.key, e.data::text, e.at, r.workflow, r.status,
       (select d.data::text from dataflows.event d
        where d.run = e.run and d.key = e.key and d.seq > e.seq
          and d.kind in ('step.completed', 'step.failed', 'step.skipped')
        order by d.seq limit 1)
from dataflows.event e
join dataflows.run r on r.id = e.run
where e.kind = 'approval.requested' and e.data ->> 'id' = $1;

-- name: answers
-- $1 run, $2 name of the message
select m.id, m.payload::text, m.at, m.dedupe from dataflows.message m
where m.run = $1 and m.kind = 'event' and m.name = $2 order by m.id;
