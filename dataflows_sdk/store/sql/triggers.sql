-- Triggers of saved flows: when they fire, and by which address.

-- name: of_flow
-- $1 flow
select t.id, t.flow, t.node, t.type, t.config::text, t.token, t.enabled, t.next_at, t.last_at, t.bucket::text
from dataflows.trigger t where t.flow = $1::uuid order by t.node;

-- name: put
-- $1 id $2 flow $3 node $4 type $5 config $6 token $7 next_at $8 now
-- A node keeps its id, its address and what it fired last; a schedule that changed begins anew.
insert into dataflows.trigger (id, flow, node, type, config, token, enabled, next_at, last_at, since, created_at)
values ($1::uuid, $2::uuid, $3, $4, $5::json, $6, true, $7::timestamptz, $8::timestamptz, $8::timestamptz, $8::timestamptz)
on conflict (flow, node) do update
set type = excluded.type, config = excluded.config, token = coalesce(trigger.token, excluded.token), enabled = true,
    next_at = case when trigger.enabled and trigger.config::text = excluded.config::text then trigger.next_at
                   else excluded.next_at end,
    last_at = case when trigger.enabled and trigger.config::text = excluded.config::text then trigger.last_at
                   else excluded.last_at end,
    since = case when trigger.enabled then trigger.since else excluded.since end;

-- name: turn_off
-- $1 flow $2 node[] that stay
update dataflows.trigger set enabled = false, next_at = null where flow = $1::uuid and node <> all($2::text[]);

-- name: by_token
-- $1 token
select t.id, t.flow, t.node, t.type, t.config::text, f.name, f.status, f.version
from dataflows.trigger t join dataflows.flow f on f.id = t.flow
where t.token = $1 and t.enabled and f.deleted_at is null;

-- name: due
-- $1 now $2 limit
-- Locked, so that of any number of processes one computes a firing; the run's key makes it happen once in any case.
select t.id, t.flow, t.node, t.config::text, t.last_at, f.name, f.version
from dataflows.trigger t join dataflows.flow f on f.id = t.flow
where t.enabled and t.next_at <= $1::timestamptz and f.status = 'active' and f.deleted_at is null
order by t.next_at limit $2
for update of t skip locked;

-- name: fired
-- $1 id $2 last_at $3 next_at
update dataflows.trigger set last_at = $2::timestamptz, next_at = $3::timestamptz where id = $1::uuid;

-- name: bucket
-- $1 id
select t.bucket::text from dataflows.trigger t where t.id = $1::uuid for update;

-- name: set_bucket
-- $1 id $2 bucket
update dataflows.trigger set bucket = $2::json where id = $1::uuid;

-- name: unfinished
-- $1 workflow $2 trigger node
-- Runs that this trigger began and that are not over, the oldest first.
select r.id from dataflows.run r join dataflows.event c on c.run = r.id and c.seq = 1
where r.workflow = $1 and r.status not in ('succeeded', 'failed', 'cancelled')
  and c.data -> 'event' ->> 'trigger' = $2
order by r.id;

-- name: pulse
-- Is there anything to look after?
select (select max(f.updated_at) from dataflows.flow f),
       (select min(t.next_at) from dataflows.trigger t where t.enabled and t.next_at is not null),
       exists (select 1 from dataflows.trigger t join dataflows.broadcast b on b.name = t.config ->> 'event'
               where t.enabled and t.type = 'trigger_event' and b.at > t.last_at);

-- name: listening
-- $1 limit
-- Triggers whose event was emitted since they fired last; locked like `due`.
select t.id, t.flow, t.node, t.config::text, t.last_at, t.since, f.name, f.version
from dataflows.trigger t join dataflows.flow f on f.id = t.flow
where t.enabled and t.type = 'trigger_event' and f.status = 'active' and f.deleted_at is null
  and exists (select 1 from dataflows.broadcast b where b.name = t.config ->> 'event' and b.at > t.last_at)
order by t.last_at limit $1
for update of t skip locked;

-- name: emitted
-- $1 name $2 after this instant $3 and this id $4 limit
select b.id, b.payload::text, b.at from dataflows.broadcast b
where b.name = $1 and b.at >= $2::timestamptz and (b.at, b.id) > ($2::timestamptz, $3::uuid)
order by b.at, b.id limit $4;
