-- Branches: what a fork sees, and what it says. $1 "lines" is a list of its places, its own (level 0) before those below it,
-- each with the moment until which it is seen, the run whose past is shared, and the steps of that which are.

-- name: topmost
-- $1 run: the outermost fork that it belongs to, also one that was purged since it has begun an agent
with recursive up as (
    select r.id, r.parent, r.forked_from is not null as fork, 0 as depth from dataflows.run r where r.id = $1::uuid
    union all
    select n.id, r.parent, b.branch is not null or r.forked_from is not null, up.depth + 1
    from up
    left join dataflows_memory.branch_run b on b.run = up.id
    cross join lateral (select coalesce(b.branch, up.parent) as id) n
    left join dataflows.run r on r.id = n.id
    where n.id is not null and up.depth < 1000
)
select up.id from up where up.fork order by up.depth desc limit 1;

-- name: bring
-- $1 run $2 fork: what the run remembers belongs to that
insert into dataflows_memory.branch_run (run, branch) values ($1::uuid, $2::uuid) on conflict (run) do nothing;

-- name: point
-- $1 fork: of which run, since when it is another one, and the steps that both have
with fork as (
    select r.id, r.forked_from, r.created_at, e.data::jsonb -> 'fork' as told
    from dataflows.run r join dataflows.event e on e.run = r.id and e.seq = 1 where r.id = $1::uuid
)
select f.forked_from, greatest(c.at, coalesce(b.at, l.at, f.created_at)), coalesce(c.steps, '{}')
from fork f
cross join lateral (
    select max(e.at) as at, array_agg(distinct e.key) filter (where e.key is not null) as steps
    from dataflows.event e where e.run = f.id and e.seq between 2 and 1 + (f.told ->> 'events')::int
) c
cross join lateral (
    -- a short step is recorded when it is over
    select min(e.at - make_interval(secs => coalesce((e.data ->> 'took')::float8, 0))) as at
    from dataflows.event e where e.run = f.forked_from and e.key = f.told ->> 'at' and starts_with(e.kind, 'step.')
) b
cross join lateral (
    select max(e.at) as at from dataflows.event e
    where e.run = f.forked_from and e.seq < case when f.told ->> 'at' ~ '^[0-9]{1,9}$' then (f.told ->> 'at')::int end
) l;

-- name: written
-- $1 run $2 steps: when they wrote the last time. What commits with the record of a step is written after the moment that
-- the record bears.
select greatest(
    (select max(i.recorded_at) from dataflows_memory.item i where i.run = $1::uuid and i.step = any($2::text[])),
    (select max(i.ended_at) from dataflows_memory.item i where i.ended_run = $1::uuid and i.ended_step = any($2::text[])));

-- name: branch
-- $1 fork: as it is written down
select b.below, b.origin, b.point, b.shared from dataflows_memory.branch b where b.run = $1::uuid;

-- name: make_branch
-- $1 fork $2 branch below $3 origin $4 point $5 steps that are shared
insert into dataflows_memory.branch (run, below, origin, point, shared) values ($1, $2, $3, $4, $5::text[])
on conflict (run) do nothing;

-- name: own_runs
-- $1 fork: it and what it started
with recursive down as (
    select $1::uuid as id
    union
    select n.id from down cross join lateral (
        select r.id from dataflows.run r where r.parent = down.id
        union all
        select b.run from dataflows_memory.branch_run b where b.branch = down.id
    ) n
)
select array_agg(id) from down;

-- name: lines
jsonb_to_recordset($1::jsonb) as l(place int, level int, until timestamptz, origin uuid, shared jsonb)

-- name: seen
-- $2 true at $3 known at $4 runs of the branch: what it has written to a table of the warehouse, it sees
(i.valid_from <= least($2::timestamptz, l.until)
 and (i.valid_to > least($2::timestamptz, l.until)
      or i.origin in ('text', 'document')
         and not dataflows_memory.told(i.ended_run, i.ended_step, i.ended_at, l.origin, l.shared, least($3::timestamptz, l.until)))
 and case when i.origin in ('text', 'document') then
          dataflows_memory.told(i.run, i.step, i.recorded_at, l.origin, l.shared, least($3::timestamptz, l.until))
          and (i.retired_at = 'infinity' or not dataflows_memory.told(
                   i.ended_run, i.ended_step, i.retired_at, l.origin, l.shared, least($3::timestamptz, l.until)))
     else (i.run is distinct from l.origin or jsonb_exists(l.shared, coalesce(i.step, '')))
          and not exists (
              select from dataflows_memory.item j
              where l.level > 0 and i.origin = 'row' and j.place = i.place and j.origin = 'row' and j.ref = i.ref
                    and j.run = any($4::uuid[]) and j.valid_from > i.valid_from and j.valid_from <= $2::timestamptz)
     end
 or i.origin = 'row' and l.level > 0 and i.run = any($4::uuid[])
    and i.valid_from <= $2::timestamptz and i.valid_to > $2::timestamptz)

-- name: hides
-- Whether a branch above says something else of the item. It is to be closed; before that, since when may be asked.
exists (
    select from dataflows_memory.hidden h
    join jsonb_to_recordset($1::jsonb) as u(place int, level int, until timestamptz, origin uuid, shared jsonb)
         on u.place = h.place and u.level < l.level
    where h.item = i.id
          and dataflows_memory.told(h.run, h.step, h.recorded_at, u.origin, u.shared, least($3::timestamptz, u.until))

-- name: allowed
-- $5 begun since $6 origins $7 properties that they have $8 a path over the properties $9 runs whose items are left out
-- $10 and the states of such runs $11 as $10 of allowed in recall.sql
with found as (
    select {found} <= $11::bigint as told
    from {lines} join dataflows_memory.item i on i.place = l.place
    where {seen} and not {hides} and h.since <= least($2::timestamptz, u.until))
          and ($5::timestamptz is null or i.valid_from >= $5::timestamptz)
          and ($6::text[] is null or i.origin = any($6::text[]))
          and ($7::jsonb is null or i.meta @> $7::jsonb)
          and ($8::jsonpath is null or i.meta @? $8::jsonpath)
          and ($9::uuid[] is null or i.run is null or i.run <> all($9::uuid[]))
          and ($10::text[] is null or i.run is null or not exists (
              select from dataflows.run r where r.id = i.run and r.status = any($10::text[])))
) {gathered};

-- name: standing
-- What is written over, or behind: what the branch says, and what it sees and has not said anything of.
select distinct on (i.origin, i.ref, i.part) i.*, l.level
from {lines} join dataflows_memory.item i on i.place = l.place
where case when l.level = 0 then i.live else {seen} and not {hides}) end

-- name: in_force
-- $5 origins $6 refs: as in_force of items.sql, as a branch sees it
select i.id, i.place, i.origin, i.ref, i.part, i.hash, i.around_hash, i.heading, i.meta, i.valid_from, i.text
from ({standing} and (i.origin, i.ref) in (select * from unnest($5::text[], $6::text[]))
      order by i.origin, i.ref, i.part, l.level) i
order by i.origin, i.ref, i.part;

-- name: tail
-- $5 origin $6 ref $7 how many: as tail of items.sql, as a branch sees it
select i.id, i.place, i.origin, i.ref, i.part, i.hash, i.around_hash, i.heading, i.meta, i.valid_from, i.text
from (
    select * from ({standing} and i.origin = $5 and i.ref = $6 order by i.origin, i.ref, i.part, l.level) i
    order by i.part desc limit $7
) i order by i.part;

-- name: around
-- $5 origin $6 ref $7 from part $8 to part
select {item}
from ({standing} and i.origin = $5 and i.ref = $6 and i.part between $7 and $8
      order by i.origin, i.ref, i.part, l.level) i
join dataflows_memory.place p on p.id = i.place
join dataflows_memory.collection c on c.id = p.collection
order by i.part;

-- name: history
-- $5 ref: every version that the branch knows of
select {item}
from {lines} join dataflows_memory.item i on i.place = l.place and i.ref = $5
join dataflows_memory.place p on p.id = i.place
join dataflows_memory.collection c on c.id = p.collection
where case when i.origin in ('text', 'document') then
           dataflows_memory.told(i.run, i.step, i.recorded_at, l.origin, l.shared, least($3::timestamptz, l.until))
      else i.valid_from <= least($2::timestamptz, l.until) or i.run = any($4::uuid[]) end
order by i.part, i.recorded_at, i.id;

-- name: hide
-- $1 place of the branch $2 items $3 since when, each $4 now $5 run $6 step
insert into dataflows_memory.hidden (place, item, since, recorded_at, run, step)
select $1, a.item, a.since, $4::timestamptz, $5::uuid, $6::text
from unnest($2::bigint[], $3::timestamptz[]) as a(item, since)
on conflict (place, item) do update set since = least(hidden.since, excluded.since);

-- name: branches
-- What forks have said: run, workflow, point, when, merged, scopes, items in force, items of others that they deny.
select b.run, r.workflow, b.origin, b.point, b.made_at, b.merged_at,
       coalesce((select array_agg(distinct p.scope order by p.scope) from dataflows_memory.place p where p.branch = b.run), '{}'),
       (select count(*) from dataflows_memory.item i join dataflows_memory.place p on p.id = i.place
        where p.branch = b.run and i.live),
       (select count(*) from dataflows_memory.hidden h join dataflows_memory.place p on p.id = h.place where p.branch = b.run)
from dataflows_memory.branch b left join dataflows.run r on r.id = b.run
order by b.made_at, b.run;

-- name: places_of
-- $1 branch: its places: number, collection, scope
select p.id, c.name, p.scope from dataflows_memory.place p join dataflows_memory.collection c on c.id = p.collection
where p.branch = $1::uuid order by p.id;

-- name: said
-- $1 place: what a branch says
select i.id, i.origin, i.ref, i.part, i.text, i.heading, i.meta, lower(i.span), upper(i.span),
       i.valid_from, nullif(i.valid_to, 'infinity'), i.run, i.step, i.hash
from dataflows_memory.item i where i.place = $1 and i.live order by i.origin, i.ref, i.part;

-- name: denied
-- $1 place: what a branch says of what is below it
select i.id, i.origin, i.ref, i.part, nullif(h.since, '-infinity')
from dataflows_memory.hidden h join dataflows_memory.item i on i.id = h.item where h.place = $1 order by i.id;

-- name: own_items
-- $1 items $2 branch: those that it has said itself
select i.id from dataflows_memory.item i join dataflows_memory.place p on p.id = i.place
where i.id = any($1::bigint[]) and p.branch = $2::uuid;

-- name: above
-- $1 branch: those that stand on it
select b.run from dataflows_memory.branch b where b.below = $1::uuid order by b.made_at limit 20;

-- name: known_run
-- $1 run
select from dataflows.run r where r.id = $1::uuid;

-- name: merged
-- $1 branch $2 now
update dataflows_memory.branch set merged_at = $2::timestamptz where run = $1::uuid;

-- name: versions
-- $1 branch: how many versions of items it has
select count(*) from dataflows_memory.item i join dataflows_memory.place p on p.id = i.place where p.branch = $1::uuid;

-- name: discard
-- $1 branch
delete from dataflows_memory.branch where run = $1::uuid;
