-- Queues: their limits, and how they stand.

-- name: set
-- $1 name $2 concurrency $3 per_key $4 rate $5 period in seconds $6 key_rate $7 its period $8 fair $9 ageing in seconds
-- Whether it is paused stays as it is.
insert into dataflows.queue (name, concurrency, per_key, rate, period, key_rate, key_period, fair, ageing)
values ($1, $2::int, $3::int, $4::int, make_interval(secs => $5::float8), $6::int, make_interval(secs => $7::float8),
        $8::bool, make_interval(secs => $9::float8))
on conflict (name) do update
set concurrency = excluded.concurrency, per_key = excluded.per_key, rate = excluded.rate, period = excluded.period,
    key_rate = excluded.key_rate, key_period = excluded.key_period, fair = excluded.fair, ageing = excluded.ageing,
    updated_at = now();

-- name: pause
-- $1 name $2 whether it is paused
insert into dataflows.queue (name, paused) values ($1, $2::bool)
on conflict (name) do update set paused = excluded.paused, updated_at = now();

-- name: remove
-- $1 name
with gone as (delete from dataflows.begun where queue = $1)
delete from dataflows.queue where name = $1 returning name;

-- name: all
-- Queues that have limits or runs. Those with queued runs are found by skipping through the index.
with ready as (
    select distinct k.queue from dataflows.queued_kind k
), running as (
    select r.queue, count(*) as n from dataflows.run r where r.status = 'running' group by r.queue
), named as (
    select name from dataflows.queue union select queue from ready union select queue from running
)
select n.name, q.concurrency, q.per_key, q.rate, extract(epoch from q.period)::float8, q.key_rate,
       extract(epoch from q.key_period)::float8, coalesce(q.fair, false), coalesce(q.paused, false),
       extract(epoch from coalesce(q.ageing, interval '1 minute'))::float8,
       (select count(*) from dataflows.run r where r.status = 'queued' and (r.queue = n.name or n.name = '*')),
       coalesce((select sum(u.n) from running u where u.queue = n.name or n.name = '*'), 0)::bigint,
       (select min(r.created_at) from dataflows.run r
        where r.status = 'queued' and (r.queue = n.name or n.name = '*') and n.name <> '*')
from named n left join dataflows.queue q on q.name = n.name
order by n.name <> '*', n.name;

-- name: changed
-- Workers look at the limits anew.
select pg_notify('dataflows', 'queues ');

-- name: standing
-- $1 run $2 now
-- Everything that may keep a queued run from being claimed.
select r.queue, r.key, r.priority, r.workflow, r.created_at,
       q.name, q.concurrency, q.per_key, q.rate, extract(epoch from q.period)::float8, q.key_rate,
       extract(epoch from q.key_period)::float8, q.paused,
       g.concurrency, g.rate, extract(epoch from g.period)::float8, g.paused,
       (select count(*) from dataflows.run x where x.status = 'running' and x.queue = r.queue),
       (select count(*) from dataflows.run x where x.status = 'running' and x.queue = r.queue and x.key = r.key),
       (select count(*) from dataflows.run x where x.status = 'running'),
       (select count(*) from (select 1 from dataflows.run x where x.status = 'queued' and x.queue = r.queue
                              and x.workflow = r.workflow and x.rank < r.rank limit 1001) a),
       (select count(*) from dataflows.begun b
        where b.queue = r.queue and b.at > coalesce($2::timestamptz, now()) - q.period),
       (select b.at + q.period from dataflows.begun b where b.queue = r.queue and q.rate is not null
        order by b.at desc offset q.rate - 1 limit 1),
       (select count(*) from dataflows.begun b
        where b.queue = r.queue and b.key = r.key and b.at > coalesce($2::timestamptz, now()) - q.key_period),
       (select b.at + q.key_period from dataflows.begun b
        where b.queue = r.queue and b.key = r.key and q.key_rate is not null
        order by b.at desc offset q.key_rate - 1 limit 1),
       r.pinned
from dataflows.run r left join dataflows.queue q on q.name = r.queue left join dataflows.queue g on g.name = '*'
where r.id = $1;

-- name: workers
-- Live workers, and what they say of themselves.
select w.id, w.info from dataflows.worker w where w.heartbeat_at + w.lease >= now();
