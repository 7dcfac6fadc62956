-- Embedding a collection anew. {vectors} is the table of the new embedder's vectors.

-- name: without_vector
-- $1 collection $2 after item $3 how many
select i.id, i.text, i.heading, i.part, i.around_hash
from dataflows_memory.item i join dataflows_memory.place p on p.id = i.place
where p.collection = $1 and i.id > $2 and not exists (select from {vectors} v where v.item = i.id)
order by i.id limit $3;

-- name: left
-- $1 collection: how many have no vector
select count(*)
from dataflows_memory.item i join dataflows_memory.place p on p.id = i.place
where p.collection = $1 and not exists (select from {vectors} v where v.item = i.id);

-- name: neighbours
-- $1 items $2 how many on each side: what stood beside them last
select i.id, n.part, n.heading, n.text
from dataflows_memory.item i
join dataflows_memory.item n on n.place = i.place and n.origin = i.origin and n.ref = i.ref and n.id <> i.id
     and n.part between i.part - $2::int and i.part + $2::int and n.part <> i.part
     and case when i.live then n.live
         else n.valid_from < i.valid_to and n.valid_to >= i.valid_to end
where i.id = any($1::bigint[]);

-- name: hold
-- $1 collection: whoever writes has the row, until it is written
select from dataflows_memory.collection c where c.id = $1 for update;

-- name: same_embedder
-- $1 collection: which embedder it has, and will have until the end of the transaction
select c.embedder from dataflows_memory.collection c where c.id = $1 for share;

-- name: drop_vectors
-- $1 collection
with gone as (
    delete from {vectors} v using dataflows_memory.item i join dataflows_memory.place p on p.id = i.place
    where v.item = i.id and p.collection = $1 returning 1
)
select count(*) from gone;

-- name: newest
-- $1 places $2 origin, or null $3 how many: with their vectors
select v.item, v.alone::real[]
from {vectors} v join dataflows_memory.item i on i.id = v.item
where v.place = any($1::int[]) and v.live and i.live and ($2::text is null or i.origin = $2)
order by v.item desc limit $3;
