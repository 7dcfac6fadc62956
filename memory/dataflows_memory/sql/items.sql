-- Items, their words and their vectors. {vectors} is the table of an embedder's vectors, {length} how long they are.

-- name: item_columns
i.id, c.name, p.scope, i.origin, i.ref, i.part, i.text, i.heading, i.meta, lower(i.span), upper(i.span),
nullif(i.valid_from, '-infinity'), nullif(i.valid_to, 'infinity'), i.recorded_at, nullif(i.retired_at, 'infinity'), i.run, i.step

-- name: make_collection
-- $1 name $2 language $3 neighbours
insert into dataflows_memory.collection (name, language, around) values ($1, $2, $3) on conflict (name) do nothing;

-- name: collection
-- $1 name
select c.id, c.name, c.language, c.around, e.id, e.name, e.dimension
from dataflows_memory.collection c left join dataflows_memory.embedder e on e.id = c.embedder
where c.name = $1;

-- name: ground
-- $1 collection $2 scopes, null for all
-- What every question needs to know, at once: the collection, its scopes that everybody sees with their numbers, whether a
-- table is followed in them, and what time it is.
select c.id, c.name, c.language, c.around, e.id, e.name, e.dimension, p.scopes, p.ids,
       exists (select from dataflows_memory.source s where s.place = any(p.ids)), clock_timestamp()
from dataflows_memory.collection c left join dataflows_memory.embedder e on e.id = c.embedder
cross join lateral (
    select array_agg(p.scope) as scopes, array_agg(p.id) as ids from dataflows_memory.place p
    where p.collection = c.id and p.branch is null and ($2::text[] is null or p.scope = any($2::text[]))
) p
where c.name = $1;

-- name: collections
select c.name, c.language, c.around, e.name, e.dimension,
       (select array_agg(p.scope order by p.scope) from dataflows_memory.place p
        where p.collection = c.id and p.branch is null),
       (select count(*) from dataflows_memory.item i join dataflows_memory.place p on p.id = i.place
        where p.collection = c.id and p.branch is null and i.live)
from dataflows_memory.collection c left join dataflows_memory.embedder e on e.id = c.embedder
order by c.name;

-- name: make_embedder
-- $1 name $2 dimension
insert into dataflows_memory.embedder (name, dimension) values ($1, $2) on conflict (name) do nothing;

-- name: embedder
-- $1 name
select id, dimension from dataflows_memory.embedder where name = $1;

-- name: use_embedder
-- $1 collection $2 embedder
update dataflows_memory.collection set embedder = $2 where id = $1;

-- name: make_vectors
create table if not exists {vectors} (
    item   bigint  primary key references dataflows_memory.item on delete cascade,
    place  integer not null,
    live   boolean not null,
    alone  halfvec({length}) not null,
    around halfvec({length})
);
create index if not exists {index}_place on {vectors} (place) where live;

-- name: vectors_index
-- Whether there is an index of what is near, and about how many vectors there are.
select exists (select from pg_index x join pg_class i on i.oid = x.indexrelid
               where x.indrelid = c.oid and i.relname = '{index}_near' and x.indisvalid),
       c.reltuples::bigint
from pg_class c where c.oid = to_regclass('{vectors}');

-- name: analyze_vectors
analyze {vectors};

-- name: settle_words
-- An index answers alone only for pages of which it is known that everything in them is visible to all.
vacuum (analyze) dataflows_memory.posting;

-- name: not_long
-- Whoever has just written is waited for, but not for long; and there is memory for 100,000 vectors.
select set_config('lock_timeout', '2s', true),
       set_config('maintenance_work_mem',
                  greatest(pg_size_bytes(current_setting('maintenance_work_mem')) / 1024, 262144)::text || 'kB', true);

-- name: make_vectors_index
create index if not exists {index}_near on {vectors} using hnsw (alone halfvec_cosine_ops) where live;

-- name: make_places
-- $1 collection $2 scopes $3 branch, or null
insert into dataflows_memory.place (collection, scope, branch)
select $1, s, $3::uuid from unnest($2::text[]) s order by s on conflict do nothing;

-- name: places
-- $1 collection $2 scopes, null for all $3 branch, or null
select p.scope, p.id from dataflows_memory.place p
where p.collection = $1 and ($2::text[] is null or p.scope = any($2::text[])) and p.branch is not distinct from $3::uuid;

-- name: in_force
-- $1 places $2 origins $3 refs: what is there of these
select i.id, i.place, i.origin, i.ref, i.part, i.hash, i.around_hash, i.heading, i.meta, i.valid_from, i.text
from unnest($1::int[], $2::text[], $3::text[]) as w(place, origin, ref)
join dataflows_memory.item i on i.place = w.place and i.origin = w.origin and i.ref = w.ref and i.live
order by i.place, i.origin, i.ref, i.part;

-- name: now
select clock_timestamp();

-- name: add
-- Lists, one entry for each item. A part that somebody else added meanwhile is left out, and is not in the answer.
insert into dataflows_memory.item
    (place, origin, ref, part, text, heading, meta, span, hash, around_hash, stems, length, around,
     valid_from, valid_to, recorded_at, live, run, step)
select a.place, a.origin, a.ref, a.part, a.text, a.heading, a.meta,
       case when a.since is not null then int4range(a.since, a.until) end,
       a.hash, a.around_hash, a.stems, a.length, a.around,
       coalesce(a.valid_from, $17::timestamptz), coalesce(a.valid_to, 'infinity'), $17::timestamptz,
       coalesce(a.valid_to > $17::timestamptz, true), 
       case when a.run is null and a.step is null then $18::uuid else a.run end,
       case when a.run is null and a.step is null then $19::text else a.step end
from unnest($1::int[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[]::jsonb[], $8::int[], $9::int[],
            $10::bytea[], $11::bytea[], $12::text[], $13::int[], $14::int[], $15::timestamptz[], $16::timestamptz[],
            $20::uuid[], $21::text[])
     with ordinality as a(place, origin, ref, part, text, heading, meta, since, until,
                          hash, around_hash, stems, length, around, valid_from, valid_to, run, step, n)
order by a.n
on conflict (place, origin, ref, part) where live do nothing
returning id, place, origin, ref, part;

-- name: add_postings
-- Lists, one entry for each word of an item.
insert into dataflows_memory.posting (place, term, item, live, tf, around_tf, length, around_length)
select i.place, a.term, a.item, i.live, least(a.tf, 32767), least(a.around_tf, 32767), i.length, i.around
from unnest($1::bigint[], $2::text[], $3::int[], $4::int[]) as a(item, term, tf, around_tf)
join dataflows_memory.item i on i.id = a.item;

-- name: add_vectors
-- $1 items $2 vectors $3 vectors with their neighbours
insert into {vectors} (item, place, live, alone, around)
select i.id, i.place, i.live, a.alone::halfvec({length}), a.around::halfvec({length})
from unnest($1::bigint[], $2::text[], $3::text[]) as a(item, alone, around)
join dataflows_memory.item i on i.id = a.item
on conflict (item) do update set alone = excluded.alone, around = excluded.around;

-- name: vectors_of_texts
-- $1 hashes: texts that have a vector already
select distinct on (h.hash) h.hash, h.vector
from (
    select i.hash, v.alone::real[] as vector
    from dataflows_memory.item i join {vectors} v on v.item = i.id where i.hash = any($1::bytea[])
    union all
    select i.around_hash, v.around::real[]
    from dataflows_memory.item i join {vectors} v on v.item = i.id
    where i.around_hash = any($1::bytea[]) and v.around is not null
) h;

-- name: end_items
-- $1 items $2 true until, each $3 run $4 step $5 now
-- What is not true any more; what came to an end of its own before that ended then. The words and vectors stay, for whoever
-- asks as of before.
with ended as (
    update dataflows_memory.item i
    set valid_to = least(i.valid_to, greatest(a.at, i.valid_from + interval '1 microsecond')), live = false,
        ended_run = $3::uuid, ended_step = $4::text, ended_at = $5::timestamptz
    from unnest($1::bigint[], $2::timestamptz[]) as a(id, at)
    where i.id = a.id and i.live
    returning i.id
)
update dataflows_memory.posting p set live = false from ended e where p.item = e.id;

-- name: retire_items
-- $1 items $2 known until $3 run $4 step
-- What was never true.
with ended as (
    update dataflows_memory.item i
    set retired_at = greatest($2::timestamptz, i.recorded_at), live = false,
        ended_run = $3::uuid, ended_step = $4::text
    where i.id = any($1::bigint[]) and i.retired_at = 'infinity'
    returning i.id
)
update dataflows_memory.posting p set live = false from ended e where p.item = e.id;

-- name: end_vectors
-- $1 items
update {vectors} v set live = false where v.item = any($1::bigint[]) and v.live;

-- name: embedders
select id, dimension from dataflows_memory.embedder order by id;

-- name: forget
-- $1 items: for good, with words and vectors
delete from dataflows_memory.item i where i.id = any($1::bigint[]);

-- name: all_of
-- $1 collection $2 scope $3 ref $4 branch, or null: every version, also those on branches
select i.id from dataflows_memory.place p join dataflows_memory.item i on i.place = p.id and i.ref = $3
where p.collection = $1 and p.scope = $2 and ($4::uuid is null or p.branch = $4::uuid);

-- name: versions_of
-- $1 items $2 branch, or null: their versions, also those on branches
select distinct j.id
from dataflows_memory.item i
join dataflows_memory.place p on p.id = i.place
join dataflows_memory.place q on (q.collection, q.scope) = (p.collection, p.scope)
     and ($2::uuid is null or q.branch = $2::uuid)
join dataflows_memory.item j on j.place = q.id and (j.origin, j.ref, j.part) = (i.origin, i.ref, i.part)
where i.id = any($1::bigint[]);

-- name: item
-- $1 item
select {item}
from dataflows_memory.item i join dataflows_memory.place p on p.id = i.place
join dataflows_memory.collection c on c.id = p.collection
where i.id = $1;

-- name: is_in_force
-- $1 item: a row, unless another has taken its place, or it was retracted
select from dataflows_memory.item i where i.id = $1 and i.live and i.retired_at = 'infinity';

-- name: history
-- $1 places $2 ref
select {item}
from dataflows_memory.item i join dataflows_memory.place p on p.id = i.place
join dataflows_memory.collection c on c.id = p.collection
where i.place = any($1::int[]) and i.ref = $2
order by i.part, i.recorded_at, i.id;

-- name: last_part
-- $1 place $2 origin $3 ref
select max(i.part) from dataflows_memory.item i where i.place = $1 and i.origin = $2 and i.ref = $3 and i.live;

-- name: counts
-- $1 places
select count(*) filter (where i.live), count(*) from dataflows_memory.item i where i.place = any($1::int[]);

-- name: tail
-- $1 place $2 origin $3 ref $4 how many
-- The last parts of a group.
select i.id, i.place, i.origin, i.ref, i.part, i.hash, i.around_hash, i.heading, i.meta, i.valid_from, i.text
from (
    select * from dataflows_memory.item i
    where i.place = $1 and i.origin = $2 and i.ref = $3 and i.live order by i.part desc limit $4
) i order by i.part;

-- name: set_around
-- $1 items $2 hashes $3 lengths: other neighbours than before
update dataflows_memory.item i set around_hash = a.hash, around = a.length
from unnest($1::bigint[], $2::bytea[], $3::int[]) as a(item, hash, length) where i.id = a.item;

-- name: drop_postings
-- $1 items
delete from dataflows_memory.posting p where p.item = any($1::bigint[]);

-- name: make_source
-- $1 place $2 name $3 template $4 properties
insert into dataflows_memory.source (place, name, template, meta) values ($1, $2, $3, $4::text[])
on conflict (place, name) do nothing;

-- name: sources
-- $1 places
select s.id, s.place, s.name, s.template, s.meta, s.cursor from dataflows_memory.source s
where s.place = any($1::int[]) order by s.name;

-- name: move_source
-- $1 source $2 cursor
update dataflows_memory.source set cursor = $2 where id = $1;

-- name: change_source
-- $1 source $2 template $3 properties: everything is read again
update dataflows_memory.source set template = $2, meta = $3::text[], cursor = null where id = $1;

-- name: drop_source
-- $1 source
delete from dataflows_memory.source where id = $1;

-- name: own_source
-- $1 source: true where nobody else reads its changes
select pg_try_advisory_lock(724036, $1::int);

-- name: leave_source
-- $1 source
select pg_advisory_unlock(724036, $1::int);

-- name: rows_of
-- $1 place $2 table: the items of its rows
select i.id from dataflows_memory.item i
where i.place = $1 and i.origin = 'row' and starts_with(i.ref, $2::text || '/');

-- name: runs_of
-- $1 place: the items of runs and steps
select i.id from dataflows_memory.item i where i.place = $1 and i.origin in ('run', 'step');

-- name: ended_runs
-- $1 ended since $2 and, at that very moment, with a larger id $3 workflows, null for all $4 how many
-- Runs of the library's own are left out.
select r.id, r.workflow, r.version, r.status, r.finished_at, r.seconds, r.input, r.result, r.error
from dataflows.runs r
where r.finished_at is not null and not starts_with(r.workflow, 'dataflows.')
      and ($1::timestamptz is null or (r.finished_at, r.id::text) > ($1::timestamptz, $2::text))
      and ($3::text[] is null or r.workflow = any($3::text[]))
order by r.finished_at, r.id::text limit $4;

-- name: steps_of
-- $1 runs: the last attempt of each step that did something
select distinct on (s.run, s.key) s.run, s.key, s.op, s.attempt, s.status, s.output, s.error, s.finished_at
from dataflows.steps s
where s.run = any($1::uuid[]) and s.op in ('run', 'child', 'transaction', 'wait', 'send', 'undo')
      and s.status in ('completed', 'failed', 'timed_out') and s.finished_at is not null
order by s.run, s.key, s.attempt desc, s.seq desc;

-- name: there
-- Whether the memory was ever used in this database.
select to_regclass('dataflows_memory.item') is not null;

-- name: said_by
-- $1 run $2 its branch, or null $3 how many $4 letters of a text
-- What a run has said, in the order in which it was known. What a merge copied from a branch is told once.
with places as (
    select p.id, p.branch, p.scope, c.name from dataflows_memory.place p
    join dataflows_memory.collection c on c.id = p.collection
    where $2::uuid is null or p.branch is not null
          or not exists (select from dataflows_memory.branch b where b.run = $2::uuid)
), acts as (
    select i.id, i.place as at_place, 'remembered' as act, 1 as turn, i.recorded_at as at, i.step
    from dataflows_memory.item i where i.run = $1::uuid and i.origin in ('text', 'document')
    union all
    select i.id, i.place, case when i.retired_at < 'infinity' then 'retracted' else 'ended' end, 0,
           case when i.retired_at < 'infinity' then i.retired_at else i.ended_at end, i.ended_step
    from dataflows_memory.item i where i.ended_run = $1::uuid and i.origin in ('text', 'document')
    union all
    select h.item, h.place, case when h.since = '-infinity' then 'retracted' else 'ended' end, 0, h.recorded_at, h.step
    from places p join dataflows_memory.hidden h on h.place = p.id
    where p.branch = $2::uuid and h.run = $1::uuid
)
select a.act, a.at, a.step, i.id, p.name, p.scope, i.origin, i.ref, i.part, left(i.text, $4)
from acts a join places p on p.id = a.at_place join dataflows_memory.item i on i.id = a.id
order by a.at, a.turn, i.id limit $3;

-- name: speakers
-- Runs that have remembered, ended or taken back a text; newest first.
select s.run from (
    select i.run from dataflows_memory.item i where i.run is not null and i.origin in ('text', 'document')
    union
    select i.ended_run from dataflows_memory.item i where i.ended_run is not null and i.origin in ('text', 'document')
    union
    select h.run from dataflows_memory.hidden h where h.run is not null
) s order by s.run desc;
