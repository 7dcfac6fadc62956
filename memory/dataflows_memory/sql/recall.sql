-- What is found for a question. {vectors} is the table of the embedder's vectors, {length} how long they are.

-- name: place_sizes
-- $1 places
-- How many items are in force, how long they are on average, alone and with their neighbours, and whether any has some.
select count(*), coalesce(avg(i.length), 0)::float8, coalesce(avg(i.around), 0)::float8,
       coalesce(bool_or(i.around > i.length), false)
from dataflows_memory.item i
where i.place = any($1::int[]) and i.live;

-- name: allowed
-- $1 places $2 true at $3 known at $4 begun since $5 origins $6 properties that they have $7 a path over the properties
-- $8 runs whose items are left out $9 how many at the most
select i.id from dataflows_memory.item i
where i.place = any($1::int[])
      and i.valid_from <= $2::timestamptz and i.valid_to > $2::timestamptz
      and i.recorded_at <= $3::timestamptz and i.retired_at > $3::timestamptz
      and ($4::timestamptz is null or i.valid_from >= $4::timestamptz)
      and ($5::text[] is null or i.origin = any($5::text[]))
      and ($6::jsonb is null or i.meta @> $6::jsonb)
      and ($7::jsonpath is null or i.meta @? $7::jsonpath)
      and ($8::uuid[] is null or i.run is null or i.run <> all($8::uuid[]))
limit $9;

-- name: lengths_of
-- $1 items
select count(*), coalesce(avg(i.length), 0)::float8, coalesce(avg(i.around), 0)::float8,
       coalesce(bool_or(i.around > i.length), false)
from dataflows_memory.item i where i.id = any($1::bigint[]);

-- name: words_everywhere
-- $1 places $2 terms $3 their weights $4 items in all $5 $6 their length on average, alone and with neighbours
-- $7 how many of each list
-- BM25 (Robertson and Zaragoza 2009, k1 1.2, b 0.75): of the item alone, and of the item with its neighbours.
with hit as materialized (
    select q.term, q.weight, p.item, p.tf, p.around_tf, p.length, p.around_length
    from unnest($2::text[], $3::float8[]) as q(term, weight)
    join dataflows_memory.posting p on p.place = any($1::int[]) and p.term = q.term and p.live
), {scored}

-- name: words_among
-- $1 items $2 terms $3 their weights $4 items in all $5 $6 their length on average $7 how many of each list
with hit as materialized (
    select q.term, q.weight, p.item, p.tf, p.around_tf, p.length, p.around_length
    from unnest($2::text[], $3::float8[]) as q(term, weight)
    join dataflows_memory.posting p on p.item = any($1::bigint[]) and p.term = q.term
), {scored}

-- name: words_scored
rare as (
    select h.term,
           ln(1 + (greatest($4::float8 - count(*) filter (where h.tf > 0), 0) + 0.5)
                  / (count(*) filter (where h.tf > 0) + 0.5)) as idf,
           ln(1 + (greatest($4::float8 - count(*), 0) + 0.5) / (count(*) + 0.5)) as around_idf
    from hit h group by h.term
), score as materialized (
    select h.item,
           sum(h.weight * r.idf * h.tf * 2.2 / (h.tf + 1.2 * (0.25 + 0.75 * h.length / $5::float8))) as alone,
           sum(h.weight * r.around_idf * h.around_tf * 2.2
               / (h.around_tf + 1.2 * (0.25 + 0.75 * h.around_length / $6::float8))) as around
    from hit h join rare r on r.term = h.term
    group by h.item
)
select s.item, s.alone, s.around, null::text, null::float8 from (
    (select * from score where alone > 0 order by alone desc, item limit $7)
    union
    (select * from score where around > 0 order by around desc, item limit $7)
) s
union all
select null, null, null, r.term, r.idf from rare r;

-- name: near_everywhere
-- $1 places $2 the vector $3 how many
select v.item, 1 - (v.alone <=> $2::halfvec({length}))
from {vectors} v where v.place = any($1::int[]) and v.live
order by v.alone <=> $2::halfvec({length}) limit $3;

-- name: near_around_everywhere
select v.item, 1 - (coalesce(v.around, v.alone) <=> $2::halfvec({length}))
from {vectors} v where v.place = any($1::int[]) and v.live
order by coalesce(v.around, v.alone) <=> $2::halfvec({length}) limit $3;

-- name: near_among
-- $1 items $2 the vector $3 how many
select v.item, 1 - (v.alone <=> $2::halfvec({length}))
from {vectors} v where v.item = any($1::bigint[])
order by 2 desc limit $3;

-- name: near_around_among
select v.item, 1 - (coalesce(v.around, v.alone) <=> $2::halfvec({length}))
from {vectors} v where v.item = any($1::bigint[])
order by 2 desc limit $3;

-- name: index_search
-- How far the index looks: pgvector goes on until enough rows passed the condition.
select set_config('hnsw.ef_search', '100', true), set_config('hnsw.iterative_scan', 'relaxed_order', true);

-- name: exact_search
select set_config('enable_indexscan', 'off', true);

-- name: candidates
-- $1 items $2 true at $3 known at
-- What of them holds, and what else is needed to rank them.
select i.id, i.place, i.origin, i.ref, i.part, i.stems, i.length
from dataflows_memory.item i
where i.id = any($1::bigint[])
      and i.valid_from <= $2::timestamptz and i.valid_to > $2::timestamptz
      and i.recorded_at <= $3::timestamptz and i.retired_at > $3::timestamptz;

-- name: vectors_of
-- $1 items
select v.item, v.alone::real[] from {vectors} v where v.item = any($1::bigint[]);

-- name: shown
-- $1 items
select {item}
from dataflows_memory.item i join dataflows_memory.place p on p.id = i.place
join dataflows_memory.collection c on c.id = p.collection
where i.id = any($1::bigint[]);

-- name: neighbours
-- $1 item $2 how many before $3 how many after
select {item}
from dataflows_memory.item one
join dataflows_memory.item i on (i.place, i.origin, i.ref) = (one.place, one.origin, one.ref)
     and i.part between one.part - $2::int and one.part + $3::int
     and i.valid_from <= one.valid_from and i.valid_to > one.valid_from and i.retired_at > one.recorded_at
join dataflows_memory.place p on p.id = i.place
join dataflows_memory.collection c on c.id = p.collection
where one.id = $1 order by i.part;

-- name: properties
-- $1 places: names of properties that items have
select distinct k from dataflows_memory.item i, jsonb_object_keys(i.meta) k where i.place = any($1::int[]) limit 200;
