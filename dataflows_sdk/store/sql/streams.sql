-- Messages, and durable streams of them.

-- name: tell
-- $1 channel $2 what[]; texts that are equal would be told once
select pg_notify($1, u.what) from unnest($2::text[]) with ordinality as u(what, n) order by u.n;

-- name: by_key
-- For the statements of this transaction: tables that have grown are found by their keys, whatever the statistics say.
select set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true), set_config('enable_bitmapscan', 'off', true);

-- name: put_large
-- $1 id $2 payload
-- Too large for a notification; whoever listens fetches it at once.
with old as (delete from dataflows.large_message where at < clock_timestamp() - interval '1 minute')
insert into dataflows.large_message (id, payload, at) values ($1::uuid, $2::json, clock_timestamp());

-- name: large
-- $1 id
select l.payload::text from dataflows.large_message l where l.id = $1::uuid;

-- name: define
-- $1 name $2 subjects $3 max_age in seconds $4 max_messages $5 max_bytes $6 now
insert into dataflows.stream (name, subjects, regexes, max_age, max_messages, max_bytes, created_at)
select $1, $2::text[], (select array_agg(dataflows.subject_regex(p.pattern)) from unnest($2::text[]) as p(pattern)),
       make_interval(secs => $3::double precision), $4::bigint, $5::bigint, $6::timestamptz
on conflict (name) do update
set subjects = excluded.subjects, regexes = excluded.regexes, max_age = excluded.max_age,
    max_messages = excluded.max_messages, max_bytes = excluded.max_bytes;

-- name: list
-- $1 name or null $2 beginning of the name
select s.name, s.subjects, extract(epoch from s.max_age)::double precision, s.max_messages, s.max_bytes, s.seq, s.bytes,
       (select count(*) from dataflows.stream_message m where m.stream = s.name),
       (select min(m.seq) from dataflows.stream_message m where m.stream = s.name), s.created_at
from dataflows.stream s where ($1::text is null or s.name = $1) and starts_with(s.name, $2) order by s.name;

-- name: drop
-- $1 name
with messages as (delete from dataflows.stream_message where stream = $1),
     deliveries as (delete from dataflows.stream_delivery where stream = $1),
     consumers as (delete from dataflows.stream_consumer where stream = $1)
delete from dataflows.stream where name = $1 returning name;

-- name: lock
-- $1 subject[]
-- The streams that keep these subjects. Who appends holds the row until the commit, so that the numbers are in the order
-- of the commits and have no gaps; in one order everywhere, so that two never wait for each other.
select s.name, s.max_age is not null or s.max_messages is not null or s.max_bytes is not null from dataflows.stream s
where exists (select 1 from unnest($1::text[]) as q(subject) where q.subject ~ any(s.regexes))
order by s.name for update;

-- name: append
-- $1 stream[] that are locked $2 subject[] $3 payload[] $4 key[] $5 now
-- Gives, for every message, the streams that have it now with its number there.
with given as (
    select u.subject, u.payload, u.key, u.n
    from unnest($2::text[], $3::text[], $4::text[]) with ordinality as u(subject, payload, key, n)
), fresh as (
    select s.name as stream, s.seq + row_number() over (partition by s.name order by g.n) as seq, g.*
    from given g join dataflows.stream s on s.name = any($1::text[])
    where g.subject ~ any(s.regexes)
      and not exists (select 1 from dataflows.stream_message m where m.stream = s.name and m.key = g.key)
      and (g.key is null or g.n = (select min(e.n) from given e where e.key = g.key))
), moved as (
    update dataflows.stream s set seq = f.seq, bytes = s.bytes + f.bytes
    from (select stream, max(seq) as seq, sum(octet_length(payload)) as bytes from fresh group by stream) f
    where s.name = f.stream
), written as (
    insert into dataflows.stream_message (stream, seq, subject, payload, size, key, at)
    select stream, seq, subject, payload::json, octet_length(payload), key, $5::timestamptz from fresh
)
select f.n, f.stream, f.seq, false from fresh f
union all
select g.n, m.stream, m.seq, true from given g join dataflows.stream_message m on m.key = g.key
where m.stream = any($1::text[]);

-- name: trim
-- $1 stream[] or null for all $2 now $3 limit
-- What is too old, too much, or too large, of so many messages at the beginning of each stream. Gives the streams that
-- may have more of it.
with oldest as (
    select s.name, m.seq, m.size,
           m.seq <= s.seq - s.max_messages or m.at < $2::timestamptz - s.max_age
           or sum(m.size) over (partition by s.name order by m.seq) - m.size < s.bytes - s.max_bytes as over
    from dataflows.stream s cross join lateral (
        select a.seq, a.size, a.at from dataflows.stream_message a where a.stream = s.name order by a.seq limit $3
    ) m
    where ($1::text[] is null or s.name = any($1::text[]))
      and (s.max_age is not null or s.max_messages is not null or s.max_bytes is not null)
), gone as (
    delete from dataflows.stream_message m using oldest o where o.over and m.stream = o.name and m.seq = o.seq
    returning m.stream, m.seq, m.size
), deliveries as (
    delete from dataflows.stream_delivery d using gone g where d.stream = g.stream and d.seq = g.seq
), counted as (
    select stream, sum(size) as bytes, count(*) as count from gone group by stream
), subtracted as (
    update dataflows.stream s set bytes = s.bytes - c.bytes from counted c where s.name = c.stream
)
select stream from counted where count >= $3;

-- name: read
-- $1 stream $2 after $3 pattern $4 limit
select m.seq, m.subject, m.payload::text, m.at, 0 from dataflows.stream_message m
where m.stream = $1 and m.seq > $2::bigint and m.subject ~ dataflows.subject_regex($3)
order by m.seq limit $4;

-- name: define_consumer
-- $1 stream $2 name $3 filter $4 ack_wait in seconds $5 max_deliver $6 after $7 now
insert into dataflows.stream_consumer (stream, name, filter, regex, ack_wait, max_deliver, seq, created_at)
select s.name, $2, $3, dataflows.subject_regex($3), make_interval(secs => $4::double precision), $5::int,
       coalesce($6::bigint, s.seq), $7::timestamptz
from dataflows.stream s where s.name = $1
on conflict (stream, name) do update
set filter = excluded.filter, regex = excluded.regex, ack_wait = excluded.ack_wait, max_deliver = excluded.max_deliver
returning stream;

-- name: consumers
-- $1 stream $2 name or null
select c.name, c.filter, extract(epoch from c.ack_wait)::double precision, c.max_deliver, c.seq,
       (select count(*) from dataflows.stream_message m
        where m.stream = c.stream and m.seq > c.seq and m.subject ~ c.regex),
       (select count(*) from dataflows.stream_delivery d
        where d.stream = c.stream and d.consumer = c.name and d.due_at is not null),
       (select count(*) from dataflows.stream_delivery d
        where d.stream = c.stream and d.consumer = c.name and d.due_at is null)
from dataflows.stream_consumer c where c.stream = $1 and ($2::text is null or c.name = $2) order by c.name;

-- name: drop_consumer
-- $1 stream $2 name
with deliveries as (delete from dataflows.stream_delivery where stream = $1 and consumer = $2)
delete from dataflows.stream_consumer where stream = $1 and name = $2 returning name;

-- name: lock_consumer
-- $1 stream $2 name
select c.regex, c.seq from dataflows.stream_consumer c where c.stream = $1 and c.name = $2 for update;

-- name: give_up
-- $1 stream $2 consumer $3 now
-- What was handed out too often is not handed out again.
update dataflows.stream_delivery d set due_at = null
from dataflows.stream_consumer c
where c.stream = d.stream and c.name = d.consumer and d.stream = $1 and d.consumer = $2
  and d.due_at <= $3::timestamptz and d.count >= c.max_deliver;

-- name: again
-- $1 stream $2 consumer $3 now $4 limit
-- What was handed out and not acknowledged in time.
with late as materialized (
    select e.seq from dataflows.stream_delivery e
    where e.stream = $1 and e.consumer = $2 and e.due_at <= $3::timestamptz order by e.seq limit $4
)
update dataflows.stream_delivery d set count = d.count + 1, due_at = $3::timestamptz + c.ack_wait
from late l, dataflows.stream_consumer c
where d.stream = $1 and d.consumer = $2 and d.seq = l.seq and c.stream = $1 and c.name = $2
returning d.seq;

-- name: fresh
-- $1 stream $2 consumer $3 now $4 limit $5 regular expression $6 after
-- What was never handed out; and the consumer has seen everything up to the last of it, or up to the end.
with found as (
    select m.seq from dataflows.stream_message m
    where m.stream = $1 and m.seq > $6::bigint and m.subject ~ $5
    order by m.seq limit $4
), seen as (
    update dataflows.stream_consumer c
    set seq = case when (select count(*) from found) >= $4 then (select max(seq) from found)
                   else greatest(c.seq, (select s.seq from dataflows.stream s where s.name = $1)) end
    where c.stream = $1 and c.name = $2
)
insert into dataflows.stream_delivery (stream, consumer, seq, count, due_at)
select $1, $2, f.seq, 1, $3::timestamptz + c.ack_wait
from found f, dataflows.stream_consumer c where c.stream = $1 and c.name = $2
returning seq;

-- name: delivered
-- $1 stream $2 consumer $3 seq[]
-- `offset 0` keeps the way: number by number, each by its key.
select m.seq, m.subject, m.payload::text, m.at, d.count
from unnest($3::bigint[]) as q(seq)
cross join lateral (select a.* from dataflows.stream_message a where a.stream = $1 and a.seq = q.seq offset 0) m
cross join lateral (select e.count from dataflows.stream_delivery e
                    where e.stream = $1 and e.consumer = $2 and e.seq = q.seq offset 0) d
order by m.seq;

-- name: ack
-- $1 stream $2 consumer $3 seq
delete from dataflows.stream_delivery where stream = $1 and consumer = $2 and seq = $3::bigint returning seq;

-- name: due
-- $1 stream $2 consumer $3 seq $4 how often it was handed out $5 when it is again, or null
-- Only of the one who has it: who was too late does not decide any more.
update dataflows.stream_delivery set due_at = $5::timestamptz
where stream = $1 and consumer = $2 and seq = $3::bigint and count = $4::int returning seq;

-- name: dead
-- $1 stream $2 consumer
select m.seq, m.subject, m.payload::text, m.at, d.count
from dataflows.stream_delivery d join dataflows.stream_message m on m.stream = d.stream and m.seq = d.seq
where d.stream = $1 and d.consumer = $2 and d.due_at is null order by d.seq;
