select * from tasks order by id
SELECT Status, COUNT(*) AS N FROM Tasks GROUP BY Status ORDER BY N DESC, 1;
select count(*), sum(hours), avg(hours), min(due), max(due), stddev(hours) from tasks
select p.name, sum(t.hours) total from tasks t join projects p on p.id = t.project_id group by p.name having sum(t.hours) > 3 order by total desc
select p.id, p.name, count(t.id) filter (where t.done) from projects p left join tasks t on t.project_id = p.id group by p.id order by p.id
select p.name, t.name from projects p full outer join tasks t using (id) order by 1 nulls first, 2 nulls last limit 20
select date_trunc('week', due)::date as week, count(*) from tasks group by 1 order by week
select extract(dow from due) d, date_part('month', made_at), to_char(due, 'YYYY-MM'), age(due, date '2026-01-01') from tasks order by id
select id, due + 7, due + interval '1 month', due - date '2026-09-01', made_at at time zone 'Europe/Berlin' from tasks order by id
with late as (select * from tasks where due > '2026-09-20'), n(c) as (select count(*) from late) select c from n
with tasks as (select id, hours from tasks where hours is not null) select sum(hours) from tasks
with a as materialized (select 1 as x), b as not materialized (select x + 1 as y from a) select x, y from a, b
select id, row_number() over (partition by status order by hours desc nulls last, id), rank() over w, lag(hours, 1, 0.0) over w from tasks window w as (order by id) order by id
select id, sum(hours) over (order by id rows between 2 preceding and current row), avg(hours) over (partition by status), first_value(name) over (order by id range between unbounded preceding and unbounded following) from tasks order by id
select id, count(*) over (order by due range between interval '3 days' preceding and current row) from tasks order by id
select status, project_id, sum(hours), grouping(status, project_id) from tasks group by grouping sets ((status), (project_id), ()) order by 1, 2
select status, project_id, count(*) from tasks group by rollup (status, project_id) order by 1, 2
select status, project_id, count(*) from tasks group by cube (status, project_id) order by 1, 2
select data->>'n', data->'a'->'b'->>0, data #>> '{a,b,1}', data->>'a.b', (data->>'n')::int + 1 from tasks order by id
select id from tasks where data @> '{"n": 3}'::jsonb or data ? 'nothing' or data->'a' is null order by id
select t.id, x.tag, x.n from tasks t cross join lateral jsonb_array_elements_text(t.data->'tags') with ordinality as x(tag, n) order by 1, 3
select t.id, k.key from tasks t, jsonb_each(t.data) k where k.key <> 'n' order by 1, 2
select id, u from tasks, unnest(array[id, id * 2]) as u where id < 5 order by 1, 2
select jsonb_array_elements_text(data->'tags') as tag, count(*) from tasks group by 1 order by 1
select case when hours > 10 then 'big' when hours is null then 'none' else 'small' end as size, count(*) from tasks group by 1 order by 1
select case status when 'open' then 1 else 0 end, coalesce(hours, -1), nullif(status, 'open'), greatest(id, 10), least(id, 10) from tasks order by id
select distinct on (project_id) project_id, name, due from tasks order by project_id, due desc
select distinct status from tasks order by status
select status from tasks union select name from projects order by 1
(select id from tasks order by id limit 3) union all (select id from projects order by id) order by 1
select id from tasks except select id from projects intersect select id from tasks order by 1
select "Quoted Name", t."n" from "My Table" t order by n
select warehouse.tasks.id, tasks.name from warehouse.tasks where warehouse.tasks.id in (1, 3, 5) order by 1
select * from open_hours order by project_id
select name, valid_from, valid_to, operation from tasks_history where id = 1 order by valid_from
select name from projects p where exists (select 1 from tasks t where t.project_id = p.id and t.status = 'late') order by 1
select name, (select max(hours) from tasks t where t.project_id = p.id) from projects p order by 1
select id from tasks where (project_id, status) in (select project_id, 'open' from tasks) and hours between 1 and 9 and name not like '%7%' and name ilike 'task%' order by id
select id from tasks where name ~ '^Task [0-9]$' and name !~* 'x' and status = any(array['open', 'done']) and id <> all(array[1, 2]) order by id
select string_agg(name, ', ' order by id desc), array_agg(distinct status order by status), jsonb_object_agg(id, status), bool_or(done) from tasks where id < 6
select percentile_cont(0.5) within group (order by hours), mode() within group (order by status), percentile_disc(array[0.25, 0.75]) within group (order by id) from tasks
select round(avg(hours)::numeric, 2), ceil(1.2), floor(-1.5), mod(7, 3), 7 % 3, 7 / 2, 7.0 / 2, 2 ^ 3, power(2, 0.5), abs(-3), sign(-2), trunc(1.239, 2), width_bucket(5, 0, 10, 4) from tasks
select upper(name), lower(name), initcap(status), length(name), left(name, 3), right(name, 2), substring(name from 1 for 4), substr(name, 2), split_part(name, ' ', 2), replace(name, 'Task', 'Job'), position('k' in name), strpos(name, 'k'), trim(both 'T' from name), concat(id, '-', name), id || ':' || name, lpad(id::text, 5, '0'), reverse(name), regexp_replace(name, '[0-9]+', '#', 'g') from tasks order by id
select d::date, count(t.id) from generate_series(date '2026-09-01', date '2026-09-10', interval '1 day') as d left join tasks t on t.due = d::date group by 1 order by 1
select n, n * n from generate_series(1, 5) as g(n)
select * from (values (1, 'one'), (2, 'two')) as v(n, word) join tasks on tasks.id = v.n order by n
values (1, 'a'), (2, null)
select 'it''s', E'tab\there \'q\' \u00e9', $$dollar's$$, $tag$a $$ b$tag$, 'back\slash', 'semi;colon -- no comment /* either */'
select id /* a /* nested */ comment */ from tasks -- and; one more\rwhere id = 1;
select hours::text, id::numeric(10,2) as n, done::int, due::timestamp, '2026-01-01'::date, cast(id as double precision), array[1, 2]::text[], '{1,2}'::int[] from tasks order by tasks.id
select null is null, true and not false, 1 is distinct from null, (1, 2) < (1, 3), row(1, 'a') = row(1, 'a'), 3 between symmetric 5 and 1, not (1 = 2), -(-1), 5 - -3, ~1, 6 & 3, 6 | 1, 6 # 3, 1 << 4
select to_jsonb(p) - 'x' is not null, row_to_json(p)->>'name', json_build_object('id', id, 'k', jsonb_build_array(1, name)) from projects p where p.id = 1
select array(select id from tasks where id < 5 order by id), (array[10, 20, 30])[2], (array[1, 2, 3])[2:3], array_length(array[1, 2], 1), array[1, 2] && array[2], cardinality(array[1])
select sum from (select project_id, sum(hours) from tasks group by 1) q order by 1
select t.id, n.c from tasks t left join lateral (select count(*) as c from tasks u where u.due < t.due) n on true order by t.id
select a.id, b.id from tasks a cross join projects b where a.id < 3 order by 1, 2
select id from tasks order by hours desc nulls last, id offset 3 rows fetch first 4 rows only
select id from tasks where made_at > timestamptz '2026-09-30 00:00:00+00' and due > current_date - 100000 and made_at < now() + interval '100 years' order by id
select id as "select", name as "Weird "" name", 1 as "user" from tasks order by "select" desc limit 3
select corr(id, hours), regr_slope(hours, id), covar_pop(id, hours), count(distinct (status, done)), every(id > 0) from tasks
select count(*) * 100.0 / sum(count(*)) over () as share, status from tasks group by status order by status
select date_bin('15 minutes', made_at, timestamptz '2026-01-01'), make_interval(days => 3), justify_hours(interval '30 hours'), extract(epoch from interval '1 hour')/60 from tasks where id = 5
select max(due)::date - min(due)::date as days, max(made_at) - min(made_at) from tasks
select id from tasks where status in ('open') and not (done or hours > 3) is true order by 1
select naïve from (select 1 as naïve) q
select d from generate_series(date_trunc('day', now()) - interval '1 day', now(), '1 hour') as d
select g from generate_series(-3, 3) g order by g desc
select g from generate_series(10, 1, -3) as g
select d::date from generate_series(current_date - 6, current_date, interval '1 day') d
select g.g, u.x, v.value, w.key, s.s from generate_series(1, 2) g, unnest(array[1, 2]) u(x), jsonb_array_elements('[1]') v, jsonb_each('{"a": 1}') w, string_to_table('a,b', ',') s order by 1, 2
select u.u, u.ordinality from unnest(array['a', 'b']) with ordinality u order by 2
select a, t.c from (values (1, 2)) as t(a, c)
