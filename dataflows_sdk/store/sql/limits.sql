-- How many runs triggers may begin in a time.

-- name: set
-- $1 workflow, '' for all $2 config
insert into dataflows.rate_limit (workflow, config) values ($1, $2::json)
on conflict (workflow) do update set config = excluded.config;

-- name: remove
-- $1 workflow
delete from dataflows.rate_limit where workflow = $1 returning workflow;

-- name: all
select r.workflow, r.config::text from dataflows.rate_limit r order by r.workflow;

-- name: of
-- $1 workflow $2 that for all
select 1 from dataflows.rate_limit r where r.workflow in ($1, $2) limit 1;

-- name: lock
-- $1 workflow $2 that for all
-- In one order everywhere, so that nobody waits for somebody who waits for him.
select r.workflow, r.config::text, r.bucket::text from dataflows.rate_limit r
where r.workflow in ($1, $2) order by r.workflow for update;

-- name: put
-- $1 workflow $2 what is left
update dataflows.rate_limit set bucket = $2::json where workflow = $1;
