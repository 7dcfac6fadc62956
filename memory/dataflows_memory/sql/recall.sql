-- What is found for a question. {vectors} is the table of the embedder's vectors, {length} how long they are.

-- name: place_sizes
-- $1 places $2 now
-- How many items are in force, how long they are on average, alone and with their neighbours, and whether any has some;
-- and whether there are some of which it is known that they will be over, or will be true: what is in force by the books is
-- not what is true then.
select count(*), coalesce(avg(i.length), 0)::float8, coalesce(avg(i.around), 0)::float8,
       coalesce(bool_or(i.around > i.length), false),
       exists (select from dataflows_memory.item l
               where l.place = any($1::int[]) and not l.live and l.retired_at = 'infinity' and l.valid_to < 'infinity'
                     and l.valid_to > $2::timestamptz)
       or exists (select from dataflows_memory.item l
                  where l.place = any($1::int[]) and l.valid_from > $2::timestamptz and l.live)
from dataflows_memory.item i
where i.place = any($1::int[]) and i.live;

-- name: allowed
-- $1 places $2 true at $3 known at $4 begun since $5 origins $6 properties that they have $7 a path over the properties
-- $8 runs whose items are left out $9 and the states of such runs $10 words up to which what is needed to rank them is
-- given as well
with found as (
    select {found} <= $10::bigint as told
    from dataflows_memory.item i
    where i.place = any($1::int[])
          and i.valid_from <= $2::timestamptz and (i.valid_to > $2::timestamptz or i.ended_at > $3::timestamptz)
          and i.recorded_at <= $3::timestamptz and i.retired_at > $3::timestamptz
          and ($4::timestamptz is null or i.valid_from >= $4::timestamptz)
          and ($5::text[] is null or i.origin = any($5::text[]))
          and ($6::jsonb is null or i.meta @> $6::jsonb)
          and ($7::jsonpath is null or i.meta @? $7::jsonpath)
          and ($8::uuid[] is null or i.run is null or i.run <> all($8::uuid[]))
          and ($9::text[] is null or i.run is null or not exists (
              select from dataflows.run r where r.id = i.run and r.status = any($9::text[])))
) {gathered};

-- name: found
i.id, i.length, i.around, i.place, i.origin, i.ref, i.stems, sum(i.length) over (rows unbounded preceding)

-- name: gathered
-- In lists, which are read faster than rows, and in texts, which are read faster than lists: the numbers of the items as the
-- statements after it want them, and a line of stems for each; only for the first items where there are too many words. What
-- an item is a part of is wanted where there are parts.
select g.alone, g.around, g.has_around, g.ids, g.stems,
       case when g.has_around then g.places end, case when g.has_around then g.origins end,
       case when g.has_around then g.refs end
from (
    select coalesce(avg(f.length), 0)::float8 as alone, coalesce(avg(f.around), 0)::float8 as around,
           coalesce(bool_or(f.around > f.length), false) as has_around, coalesce(array_agg(f.id)::text, '{}') as ids,
           string_agg(f.stems, chr(10)) filter (where f.told) as stems, array_agg(f.place) filter (where f.told) as places,
           array_agg(f.origin) filter (where f.told) as origins, array_agg(f.ref) filter (where f.told) as refs
    from found f
) g

-- name: frequencies
-- $1 places $2 terms: in how many items each stands
select p.term, count(*) from dataflows_memory.posting p
where p.place = any($1::int[]) and p.term = any($2::text[]) and p.live and p.tf > 0
group by p.term;

-- name: words_everywhere
-- $1 places $2 terms $3 their weights $4 $5 words of an item on average, alone and with neighbours $6 how many of each list
-- BM25 (Robertson and Zaragoza 2009, k1 1.2, b 0.75): of the item alone, and of the item with its neighbours.
with hit as (
    select q.weight, p.item, p.tf, p.around_tf, p.length, p.around_length
    from unnest($2::text[], $3::float8[]) as q(term, weight)
    join dataflows_memory.posting p on p.place = any($1::int[]) and p.term = q.term and p.live
), score as materialized ({scored}), {best}

-- name: words_rare_first
-- The same, with $7 terms and $8 weights that are looked up only where the others lead: in the $9 best by those.
with hit as (
    select q.weight, p.item, p.tf, p.around_tf, p.length, p.around_length
    from unnest($2::text[], $3::float8[]) as q(term, weight)
    join dataflows_memory.posting p on p.place = any($1::int[]) and p.term = q.term and p.live
), rare as materialized ({scored}), foremost as materialized (
    (select * from rare order by alone desc limit $9)
    union
    (select * from rare order by around desc limit $9)
), score as materialized (
    select l.item, l.alone + coalesce(m.alone, 0) as alone, l.around + coalesce(m.around, 0) as around
    from foremost l left join (
        select h.item, {bm25}
        from (
            select q.weight, p.item, p.tf, p.around_tf, p.length, p.around_length
            from foremost l cross join unnest($7::text[], $8::float8[]) as q(term, weight)
            join dataflows_memory.posting p on p.item = l.item and p.term = q.term
        ) h group by h.item
    ) m on m.item = l.item
), {best}

-- name: words_among
-- $1 items $2 terms $3 how often they are asked for, otherwise as words_everywhere; $7 how many items
-- $8 other terms $9 how often $10 places: which are rarer than the items, and are looked up by themselves
-- The answer has the weights of the words as well.
with found as materialized (
    select q.term, q.weight, p.item, p.tf, p.around_tf, p.length, p.around_length
    from unnest($2::text[], $3::float8[]) as q(term, weight)
    join dataflows_memory.posting p on p.item = any($1::bigint[]) and p.term = q.term
    union all
    select q.term, q.weight, p.item, p.tf, p.around_tf, p.length, p.around_length
    from unnest($8::text[], $9::float8[]) as q(term, weight)
    join dataflows_memory.posting p on p.place = any($10::int[]) and p.term = q.term and p.live
    where p.item = any($1::bigint[])
), rare as materialized (
    select f.term, ln(1 + (greatest($7::float8 - f.n, 0) + 0.5) / (f.n + 0.5)) as idf
    from (select f.term, count(*) filter (where f.tf > 0) as n from found f group by f.term) f
), hit as (
    select f.weight * r.idf as weight, f.item, f.tf, f.around_tf, f.length, f.around_length
    from found f join rare r on r.term = f.term
), score as materialized ({scored}), {best}
union all
select null, r.idf, null, r.term from rare r

-- name: scored
select h.item, {bm25} from hit h group by h.item

-- name: bm25
sum(h.weight * h.tf * 2.2 / (h.tf + 1.2 * (0.25 + 0.75 * h.length / $4::float8))) as alone,
sum(h.weight * h.around_tf * 2.2 / (h.around_tf + 1.2 * (0.25 + 0.75 * h.around_length / $5::float8))) as around

-- name: best
best as (
    (select * from score where alone > 0 order by alone desc, item limit $6)
    union
    (select * from score where around > 0 order by around desc, item limit $6)
)
select b.item, b.alone, b.around, null::text from best b

-- name: near_everywhere
-- $1 places $2 the vector $3 how many. Each is compared: the sum keeps the index out of it.
select v.item, 0 + (v.alone <=> $2::halfvec({length}))
from {vectors} v where v.place = any($1::int[]) and v.live
order by 2 limit $3;

-- name: near_around_everywhere
select v.item, 0 + (coalesce(v.around, v.alone) <=> $2::halfvec({length}))
from {vectors} v where v.place = any($1::int[]) and v.live
order by 2 limit $3;

-- name: near_by_index
-- The same where there are too many.
select v.item, v.alone <=> $2::halfvec({length})
from {vectors} v where v.place = any($1::int[]) and v.live
order by 2 limit $3;

-- name: near_among
-- $1 items $2 the vector $3 how many
select v.item, 0 + (v.alone <=> $2::halfvec({length}))
from {vectors} v where v.item = any($1::bigint[])
order by 2 limit $3;

-- name: near_around_among
select v.item, 0 + (coalesce(v.around, v.alone) <=> $2::halfvec({length}))
from {vectors} v where v.item = any($1::bigint[])
order by 2 limit $3;

-- name: near_to_both
-- $1 items $2 the vector $3 items that were found for it
-- How near each is to the question, and the sum of how near it is to those; the same with its neighbours.
select v.item,
       1 - min(v.alone <=> $2::halfvec({length})),
       sum(1 - (v.alone <=> f.alone)),
       1 - min(v.around <=> $2::halfvec({length})),
       sum(1 - (v.around <=> f.alone))
from {vectors} v cross join {vectors} f
where v.item = any($1::bigint[]) and f.item = any($3::bigint[])
group by v.item;

-- name: index_search
-- How far the index looks: pgvector goes on until enough rows passed the condition.
select set_config('hnsw.ef_search', '100', true), set_config('hnsw.iterative_scan', 'relaxed_order', true);

-- name: candidates
-- $1 items $2 true at, null where that was asked before $3 known at
-- What of them holds, and what else is needed to rank them.
select i.id, i.place, i.origin, i.ref, i.stems
from dataflows_memory.item i
where i.id = any($1::bigint[])
      and ($2::timestamptz is null
           or i.valid_from <= $2::timestamptz and (i.valid_to > $2::timestamptz or i.ended_at > $3::timestamptz)
              and i.recorded_at <= $3::timestamptz and i.retired_at > $3::timestamptz);

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
-- $1 item $2 how many before $3 how many after $4 the moment; at the end of the item, if that was before
select {item}
from dataflows_memory.item one
join dataflows_memory.item i on (i.place, i.origin, i.ref) = (one.place, one.origin, one.ref)
     and i.part between one.part - $2::int and one.part + $3::int
     and i.valid_from <= least(coalesce($4::timestamptz, clock_timestamp()), one.valid_to - interval '1 microsecond')
     and i.valid_to > least(coalesce($4::timestamptz, clock_timestamp()), one.valid_to - interval '1 microsecond')
     and i.retired_at > one.recorded_at
join dataflows_memory.place p on p.id = i.place
join dataflows_memory.collection c on c.id = p.collection
where one.id = $1 order by i.part;

-- name: properties
-- $1 places: names of properties that items have
select distinct k from dataflows_memory.item i, jsonb_object_keys(i.meta) k where i.place = any($1::int[]) limit 200;
