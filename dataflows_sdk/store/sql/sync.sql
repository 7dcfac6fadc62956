-- Syncs: `dataflows.sync` and the pages of the pass that is under way.

-- name: lock
-- $1 name
-- Where it stands, for whoever wants to change that; one after the other.
select s.pass, s.mode, s.page, s.position::text, s.kept::text, s.state, s.run, r.status, s.spec::text, s.next_run,
    s.every, s.target
from dataflows.sync s left join dataflows.run r on r.id = s.run
where s.name = $1 for update of s;

-- name: make
-- $1 name $2 target $3 spec $4 mode $5 now
insert into dataflows.sync (name, target, spec, mode, state, at)
values ($1, $2, $3::json, $4, 'new', coalesce($5::timestamptz, now())) on conflict (name) do nothing;

-- name: begin
-- $1 name $2 target $3 spec $4 mode $5 now $6 pass $7 page $8 position $9 run $10 state $11 every, or null
-- How often stays as it is where nothing is said; a run that was to come makes way for one that is to come otherwise.
update dataflows.sync set target = $2, spec = $3::json, mode = $4, at = coalesce($5::timestamptz, now()), pass = $6,
    page = $7, position = $8::json, run = $9, state = $10,
    next_run = case when $11::float8 is null or $11::float8 = every then nullif(next_run, $9::uuid) end,
    every = coalesce($11::float8, every)
where name = $1;

-- name: forget_pages
-- $1 name $2 pass that is kept, or null
delete from dataflows.sync_page where name = $1 and pass is distinct from $2::bigint;

-- name: turn
-- $1 name $2 run $3 pass $4 page that is stored now $5 position after it $6 state $7 now
-- Nothing comes back when another run has the sync now.
update dataflows.sync set page = $4, position = $5::json, state = $6, at = coalesce($7::timestamptz, now())
where name = $1 and run = $2::uuid and pass = $3 and page = $4 - 1 returning page;

-- name: note_page
-- $1 name $2 pass $3 hash of its position $4 page $5 target $6 ids
insert into dataflows.sync_page (name, pass, given, page, target, ids) values ($1, $2, $3, $4, $5, $6::text[]);

-- name: known_page
-- $1 name $2 pass $3 hash of a position
select page from dataflows.sync_page where name = $1 and pass = $2 and given = $3;

-- name: end
-- $1 name $2 run $3 pass $4 now
update dataflows.sync set state = 'succeeded', kept = position, at = coalesce($4::timestamptz, now()),
    succeeded_at = coalesce($4::timestamptz, now())
where name = $1 and run = $2::uuid and pass = $3 returning name;

-- name: next
-- $1 name $2 run that is to come, or null
update dataflows.sync set next_run = $2::uuid where name = $1;

-- name: targets
-- $1 name $2 pass
select target, count(*), sum(cardinality(ids))::bigint from dataflows.sync_page
where name = $1 and pass = $2 and target is not null group by target order by target;

-- name: list
-- $1 name or null
select s.name, s.target, s.mode, s.state, s.page, s.position::text, s.kept::text, s.run, r.status, s.next_run, n.wake_at,
    s.at, s.succeeded_at, s.spec::text, s.every
from dataflows.sync s
left join dataflows.run r on r.id = s.run
left join dataflows.run n on n.id = s.next_run
where $1::text is null or s.name = $1 order by s.name;

-- name: stop
-- $1 name
-- The runs that are there, for the caller to cancel.
with old as (select name, run, next_run from dataflows.sync where name = $1 for update)
update dataflows.sync s set every = null, next_run = null from old where s.name = old.name
returning old.run, old.next_run;

-- name: drop
-- $1 name
delete from dataflows.sync where name = $1 returning name;

-- What follows asks tables of users: their names are put into the {braces}, quoted.

-- name: ids
-- $1 keys, as a JSON list of objects
select t.id::text from jsonb_populate_recordset(null::{table}, $1::jsonb) k join {table} t on {on};

-- name: gone
-- $1 name of the sync $2 pass $3 table
select count(*), count(*) filter (where n.id is null)
from {table} t left join (
    select distinct i.id from dataflows.sync_page p cross join unnest(p.ids) i(id)
    where p.name = $1 and p.pass = $2 and p.target = $3
) n on n.id = t.id::text
where t._source = $1;

-- name: not_named
-- $1 name of the sync $2 pass $3 table
t._source = $1::text and not exists (
    select from (
        select i.id from dataflows.sync_page p cross join unnest(p.ids) i(id)
        where p.name = $1::text and p.pass = $2::bigint and p.target = $3::text
    ) n where n.id = t.id::text
);
