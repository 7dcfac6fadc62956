-- How the versions of a workflow have fared, from the journal.

-- name: contents
-- $1 workflow: the versions that ran, and their content; with the code of its steps one content is several versions
select v.hash, v.spec::text from dataflows.version v
where v.workflow = $1 and v.kind = 'flow' and v.spec is not null order by v.created_at desc limit 1000;

-- name: runs
-- $1 workflow $2 hashes $3 the content that each has: of each content how many runs there are, how many of them succeeded, failed and were cancelled, and
-- the median of the seconds from the start to the end of those that succeeded or failed
select v.content, count(*),
       count(*) filter (where r.status = 'succeeded'),
       count(*) filter (where r.status = 'failed'),
       count(*) filter (where r.status = 'cancelled'),
       percentile_cont(0.5) within group (order by extract(epoch from r.finished_at - r.started_at)::float8)
           filter (where r.status in ('succeeded', 'failed'))
from unnest($2::text[], $3::text[]) as v(hash, content)
join dataflows.run r on r.workflow = $1 and r.version = v.hash
group by v.content;

-- name: versions
-- $1 workflow: what ran under its name, with its runs; the newest first
select v.hash, v.kind, v.source, v.spec::text, v.created_at, r.runs, r.failed, r.last
from dataflows.version v
cross join lateral (
    select count(*) as runs, count(*) filter (where r.status = 'failed') as failed, max(r.created_at) as last
    from dataflows.run r where r.workflow = v.workflow and r.version = v.hash
) r
where v.workflow = $1 order by v.created_at desc, v.hash;

-- name: steps
-- $1 workflow $2 hashes $3 the content that each has $4 how many of the newest runs of each content are looked at $5 whether they
-- are steps of code, whose whole key counts, and branches and calls of one name together, without what holds the branches; or nodes of a flow
-- Of each content and node how often it ended, how often it failed for good, how many tries there were, and the median of its
-- seconds: what the last try took, or of a wait, or a question to people, how long it was. A node stands in the last part of a key; branches of it, and
-- questions to people, are parts of it and are not counted. What a fork took over from its original counts there.
with newest as (
    select r.id, r.forked_from, c.content
    from (select distinct content from unnest($3::text[]) as content) c
    cross join lateral (
        select r.id, r.forked_from from dataflows.run r
        where r.workflow = $1 and r.version in (
            select v.hash from unnest($2::text[], $3::text[]) as v(hash, content) where v.content = c.content)
        order by r.id desc limit $4
    ) r
), ended as (
    select distinct on (e.run, e.key)
           n.content,
           case when $5::boolean then regexp_replace(e.key, '\[[^]]*\]|#[0-9]+', '', 'g')
                else regexp_replace(e.key, '^.*/', '') end as node,
           e.kind, e.data, e.at,
           min(e.at) over (partition by e.run, e.key) as began
    from newest n
    left join dataflows.event c on n.forked_from is not null and c.run = n.id and c.seq = 1
    join dataflows.event e on e.run = n.id and (e.kind like 'step.%' or e.kind = 'approval.requested')
         and e.seq > 1 + coalesce((c.data -> 'fork' ->> 'events')::int, 0)
    order by e.run, e.key, e.seq desc
)
select e.content, e.node, count(*),
       count(*) filter (where e.kind = 'step.failed'),
       sum(coalesce((e.data ->> 'attempt')::int, 1))::bigint,
       percentile_cont(0.5) within group (
           order by coalesce((e.data ->> 'took')::float8, extract(epoch from e.at - e.began)::float8))
from ended e
where e.node !~ '[[?#]' and not ($5::boolean and e.data ->> 'op' in ('map', 'parallel', 'gather'))
      and (e.kind in ('step.completed', 'step.timed_out') or e.kind = 'step.failed' and e.data ->> 'retry_at' is null)
group by e.content, e.node;
