-- Triggers: of saved flows, of workflows in code, made by hand; when they fire, and by which address.

-- name: list
-- $1 flow $2 workflow $3 id; null for any
select t.id, t.flow, t.node, t.type, t.config::text, t.token, t.enabled, t.next_at, t.last_at, t.resume_at, t.origin,
       coalesce(t.workflow, f.name), t.function
from dataflows.trigger t left join dataflows.flow f on f.id = t.flow
where ($1::uuid is null or t.flow = $1::uuid) and ($2::text is null or coalesce(t.workflow, f.name) = $2::text)
  and ($3::uuid is null or t.id = $3::uuid)
order by t.created_at, t.node, t.id;

-- name: put
-- $1 id $2 flow, or null $3 workflow in code, or null $4 node $5 type $6 config $7 token $8 next_at $9 now $10 topic
-- $11 table whose rows it listens to
-- A node keeps its id, its address and what it fired last; a schedule that changed begins anew.
insert into dataflows.trigger (id, flow, workflow, origin, node, type, config, token, enabled, next_at, last_at,
                               created_at, topic, object, rows_last)
values ($1::uuid, $2::uuid, $3, case when $2::uuid is null then 'code' else 'flow' end, $4, $5, $6::json, $7, true,
        $8::timestamptz, $9::timestamptz, $9::timestamptz, $10, $11,
        (select coalesce(max(w.id), 0) from dataflows.write w))
on conflict (coalesce(flow::text, workflow), node) where origin <> 'hand' do update
set type = excluded.type, config = excluded.config, token = coalesce(trigger.token, excluded.token), enabled = true,
    topic = excluded.topic,
    next_at = case when trigger.enabled and trigger.config::text = excluded.config::text then trigger.next_at
                   else excluded.next_at end,
    last_at = case when trigger.enabled and trigger.config::text = excluded.config::text then trigger.last_at
                   else excluded.last_at end,
    heard = case when trigger.enabled and trigger.topic is not distinct from excluded.topic then trigger.heard
                 else excluded.heard end,
    object = excluded.object,
    rows_heard = case when trigger.enabled and trigger.object is not distinct from excluded.object
                      then trigger.rows_heard else excluded.rows_heard end,
    rows_until = case when trigger.enabled and trigger.object is not distinct from excluded.object
                      then trigger.rows_until end,
    rows_last = case when trigger.enabled and trigger.object is not distinct from excluded.object
                     then trigger.rows_last else excluded.rows_last end;

-- name: create
-- $1 id $2 flow $3 workflow $4 function $5 type $6 config $7 token $8 next_at $9 now $10 topic
-- $11 table whose rows it listens to $12 enabled
insert into dataflows.trigger (id, flow, workflow, function, node, type, config, token, enabled, next_at, last_at,
                               created_at, topic, object, origin, rows_last)
values ($1::uuid, $2::uuid, $3, $4, $1::text, $5, $6::json, $7, $12::boolean, $8::timestamptz, $9::timestamptz,
        $9::timestamptz, $10, $11, 'hand', (select coalesce(max(w.id), 0) from dataflows.write w));

-- name: turn_off
-- $1 flow, or null $2 workflow in code, or null $3 node[] that stay
update dataflows.trigger set enabled = false, next_at = null
where (flow = $1::uuid or workflow = $2) and origin <> 'hand' and enabled and node <> all($3::text[]);

-- name: switch
-- $1 id $2 enabled $3 next_at $4 now
-- What was missed while it was off is not caught up.
update dataflows.trigger
set enabled = $2::boolean, next_at = $3::timestamptz,
    last_at = case when $2::boolean and not enabled then $4::timestamptz else last_at end,
    heard = case when $2::boolean and not enabled then pg_current_xact_id() else heard end,
    rows_heard = case when $2::boolean and not enabled then pg_current_snapshot() else rows_heard end,
    rows_until = case when $2::boolean and not enabled then null else rows_until end,
    rows_last = case when $2::boolean and not enabled then (select coalesce(max(w.id), 0) from dataflows.write w)
                     else rows_last end
where id = $1::uuid and origin = 'hand' returning id;

-- name: delete
-- $1 id
with gone as (delete from dataflows.trigger where id = $1::uuid and origin = 'hand' returning id),
     rest as (delete from dataflows.deferred d using gone g where d.trigger = g.id)
select id from gone;

-- name: forget_deferred
-- $1 flow
-- A flow that is deleted begins nothing any more.
delete from dataflows.deferred d using dataflows.trigger t where t.id = d.trigger and t.flow = $1::uuid;

-- name: by_token
-- $1 token
select t.id, t.type, t.node, t.origin, t.config::text, t.flow, coalesce(t.workflow, f.name), f.version, t.function,
       t.last_at, t.resume_at
from dataflows.trigger t left join dataflows.flow f on f.id = t.flow
where t.token = $1 and t.enabled and (t.flow is null or (f.status = 'active' and f.deleted_at is null));

-- name: due
-- $1 now $2 limit $3 workflow[] in code that this process knows
-- Locked, so that of any number of processes one computes a firing; the run's key makes it happen once in any case.
select t.id, t.type, t.node, t.origin, t.config::text, t.flow, coalesce(t.workflow, f.name), f.version, t.function,
       t.last_at, t.resume_at
from dataflows.trigger t left join dataflows.flow f on f.id = t.flow
where t.enabled and t.next_at <= $1::timestamptz and (t.workflow is null or t.workflow = any($3::text[]))
  and (t.flow is null or (f.status = 'active' and f.deleted_at is null))
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
       exists (select 1 from dataflows.trigger t join dataflows.broadcast b on b.name = t.topic and b.xid >= t.heard
               where t.enabled and t.topic is not null)
       or exists (select 1 from dataflows.trigger t join dataflows.broadcast b on b.xid >= t.heard
                  where t.enabled and t.topic ~ '(^|\.)(\*(\.|$)|>$)' and dataflows.subject_matches(t.topic, b.name))
       or exists (select 1 from dataflows.trigger t
                  where t.enabled and t.topic is not null and t.heard > pg_snapshot_xmax(pg_current_snapshot())),
       (select min(t.resume_at) from dataflows.trigger t where t.enabled and t.resume_at is not null),
       -- the tables whose rows somebody listens to or waits for
       array(select t.object from dataflows.trigger t where t.enabled and t.object is not null
             union select q.object from dataflows.row_wait q);

-- name: horizon
-- Every transaction before the first of these is over; is there a trigger that heard of one which has not begun yet?
-- Then this database was restored into a server that counts from anew.
select pg_snapshot_xmin(pg_current_snapshot())::text,
       exists (select 1 from dataflows.trigger t
               where t.topic is not null and t.heard > pg_snapshot_xmax(pg_current_snapshot()));

-- name: rebase
-- What some trigger has not heard counts as emitted now, everything else as emitted long ago.
with events as (
    update dataflows.broadcast b
    set xid = case when exists (select 1 from dataflows.trigger t where t.topic is not null and t.heard <= b.xid)
              then pg_current_xact_id() else '0'::xid8 end
    where b.xid > pg_snapshot_xmax(pg_current_snapshot())
)
update dataflows.trigger t set heard = pg_current_xact_id()
where t.heard > pg_snapshot_xmax(pg_current_snapshot());

-- name: listening
-- $1 limit $2 workflow[] in code that this process knows
-- Triggers with events that they may not have heard, those first that looked least lately; locked like `due`.
select t.id, t.type, t.node, t.origin, t.config::text, t.flow, coalesce(t.workflow, f.name), f.version, t.function,
       t.last_at, t.resume_at, t.topic, t.heard::text
from dataflows.trigger t left join dataflows.flow f on f.id = t.flow
where t.enabled and t.topic is not null and (t.workflow is null or t.workflow = any($2::text[]))
  and (t.flow is null or (f.status = 'active' and f.deleted_at is null))
  and (exists (select 1 from dataflows.broadcast b where b.name = t.topic and b.xid >= t.heard)
       or (t.topic ~ '(^|\.)(\*(\.|$)|>$)'
           and exists (select 1 from dataflows.broadcast b
                       where b.xid >= t.heard and dataflows.subject_matches(t.topic, b.name))))
order by t.last_at limit $1
for update of t skip locked;

-- name: concerned
-- $1 name of an event $2 workflow[] in code that this process knows
-- Triggers that listen for it.
select t.id, t.type, t.node, t.origin, t.config::text, t.flow, coalesce(t.workflow, f.name), f.version, t.function,
       t.last_at, t.resume_at, t.topic
from dataflows.trigger t left join dataflows.flow f on f.id = t.flow
where t.enabled and (t.topic = $1 or (t.topic ~ '(^|\.)(\*(\.|$)|>$)' and dataflows.subject_matches(t.topic, $1)))
  and (t.workflow is null or t.workflow = any($2::text[]))
  and (t.flow is null or (f.status = 'active' and f.deleted_at is null))
order by t.created_at, t.id;

-- name: emitted
-- $1 name $2 transaction $3 after this id of it $4 limit
select b.id, b.name, b.payload::text, b.xid::text from dataflows.broadcast b
where b.name = $1 and b.xid >= $2::text::xid8 and (b.xid, b.id) > ($2::text::xid8, $3::uuid)
order by b.xid, b.id limit $4;

-- name: emitted_like
-- $1 pattern $2 transaction $3 after this id of it $4 limit
select b.id, b.name, b.payload::text, b.xid::text from dataflows.broadcast b
where b.xid >= $2::text::xid8 and (b.xid, b.id) > ($2::text::xid8, $3::uuid) and dataflows.subject_matches($1, b.name)
order by b.xid, b.id limit $4;

-- name: heard
-- $1 trigger $2 horizon
-- Never back: a transaction that is older than the trigger may still be under way.
update dataflows.trigger set heard = greatest(heard, $2::text::xid8), last_at = clock_timestamp() where id = $1::uuid;

-- name: defer
-- $1 trigger $2 id of the firing $3 name of its event $4 payload $5 now
insert into dataflows.deferred (trigger, event, name, payload, at) values ($1::uuid, $2, $3, $4::json, $5::timestamptz)
on conflict (trigger, event) do nothing;

-- name: resume_at
-- $1 trigger $2 when
update dataflows.trigger set resume_at = coalesce(resume_at, $2::timestamptz) where id = $1::uuid;

-- name: resume_at_last
-- $1 trigger $2 when, or null
update dataflows.trigger set resume_at = $2::timestamptz where id = $1::uuid;

-- name: resuming
-- $1 now $2 limit $3 workflow[] in code that this process knows
select t.id, t.type, t.node, t.origin, t.config::text, t.flow, coalesce(t.workflow, f.name), f.version, t.function,
       t.last_at, t.resume_at
from dataflows.trigger t left join dataflows.flow f on f.id = t.flow
where t.enabled and t.resume_at <= $1::timestamptz and t.object is null and (t.workflow is null or t.workflow = any($3::text[]))
  and (t.flow is null or (f.status = 'active' and f.deleted_at is null))
order by t.resume_at limit $2
for update of t skip locked;

-- name: deferred
-- $1 trigger $2 limit
select d.event, d.name, d.payload::text from dataflows.deferred d where d.trigger = $1::uuid
order by d.at, d.event limit $2;

-- name: resumed
-- $1 trigger $2 id of the firing
delete from dataflows.deferred where trigger = $1::uuid and event = $2;

-- name: all_deferred
-- $1 limit
select d.trigger, coalesce(t.workflow, f.name), t.function, d.event, d.at
from dataflows.deferred d join dataflows.trigger t on t.id = d.trigger left join dataflows.flow f on f.id = t.flow
order by d.at, d.event limit $1;

-- name: code
-- Workflows in code whose triggers are on.
select distinct t.workflow from dataflows.trigger t where t.origin = 'code' and t.enabled;
