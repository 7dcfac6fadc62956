-- Runs for people who look at them: nothing large travels.

-- name: page
-- $1 run, $2 after seq, $3 how many, $4 bytes from which on data is taken apart, $5 characters kept of a large member
select e.seq, e.kind, coalesce(e.key, ''), e.at,
       case when octet_length(e.data::text) <= $4 then e.data::text else (
           select json_object_agg(m.key, case
               when octet_length(m.value::text) <= $5 then m.value
               when m.key = 'error' then json_build_object(
                   'type', m.value -> 'type', 'message', json_build_object('$cut', left((m.value -> 'message')::text, $5)))
               else json_build_object('$cut', left(m.value::text, $5), 'bytes', octet_length(m.value::text)) end)::text
           from json_each(e.data) m) end
from dataflows.event e where e.run = $1 and e.seq > $2 order by e.seq limit $3;

-- name: one
-- $1 run, $2 key, $3 bytes beyond which it stays where it is
select e.seq, e.kind, case when octet_length(e.data::text) <= $3 then e.data::text end, octet_length(e.data::text), e.at
from dataflows.event e where e.run = $1 and e.key = $2 and e.kind like 'step.%' order by e.seq desc limit 20;

-- name: schema
-- $1 name: whether there is such a schema, which a plug-in makes when it is first used
select to_regnamespace($1::text) is not null;
