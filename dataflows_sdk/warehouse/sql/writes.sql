-- The list of writes, and what came before them.

-- name: after
-- $1 seen, or null $2 until, or null for now $3 table, or null for all $4 behind this write $5 not older than this, or null
-- $6 floor $7 beyond: writes up to the one, of transactions from the other on, were told $8 null; or, where what was seen
-- was seen on another server, the last write that was told $9 how many
-- The writes between two snapshots by their number, which is given once the rows are locked: of one row that is the order
-- of its versions. There is always a row, with the later snapshot, and with whether this server counts other transactions.
with s as materialized (
    select coalesce($2::text::pg_snapshot, pg_current_snapshot()) as until,
           coalesce(pg_snapshot_xmax($1::text::pg_snapshot) > pg_snapshot_xmax(pg_current_snapshot()), false) as strange
)
select s.until::text, s.strange, w.id, w.name, w.at, w.run, w.step, w.source, w.inserted + w.updated + w.deleted
from s left join lateral (
    select w.* from dataflows.write w
    where w.id > $4::bigint and ($3::text is null or w.name = $3) and ($5::text is null or w.at >= $5::text::timestamptz)
      and w.xid >= case when $1::text is null or $8::bigint is not null then '0'::xid8
                   else pg_snapshot_xmin($1::text::pg_snapshot) end
      and case when $8::bigint is null
          then ($1::text is null or not pg_visible_in_snapshot(w.xid, $1::text::pg_snapshot))
               and pg_visible_in_snapshot(w.xid, s.until) and not (w.id <= $6::bigint and w.xid >= $7::text::xid8)
          else (w.id > $8::bigint
                or (w.xid >= $7::text::xid8 and not pg_visible_in_snapshot(w.xid, $1::text::pg_snapshot)))
               and (pg_visible_in_snapshot(w.xid, s.until) or (w.xid >= $7::text::xid8 and w.id <= $6::bigint)) end
    order by w.id limit $9
) w on true
order by w.id;

-- name: restored
-- Where a feed goes on after this database was restored from a dump, into a server that counts transactions from anew: now,
-- the last write, and the transactions that this server has not reached.
select s::text, (select coalesce(max(w.id), 0) from dataflows.write w), pg_snapshot_xmax(s)::text
from pg_current_snapshot() s;

-- name: from_here
-- What is heard from now on.
select pg_current_snapshot()::text, (select coalesce(max(w.id), 0) from dataflows.write w);

-- name: by_run
-- $1 run
select w.name, w.step, w.at, w.source, w.inserted, w.updated, w.deleted, w.id
from dataflows.write w where w.run = $1::uuid order by w.id;

-- name: why
-- $1 run $2 step
-- The run that wrote: its workflow and version, the event of its step, and how it began.
select r.workflow, r.version, e.seq, c.data
from dataflows.run r
left join dataflows.event c on c.run = r.id and c.seq = 1
left join lateral (
    select e.seq from dataflows.event e
    where e.run = r.id and e.key = $2 and e.kind = 'step.completed'
    order by e.seq desc limit 1
) e on true
where r.id = $1::uuid;

-- name: aside
-- $1 table $2 how many
select a.id, a.at, a.reason, a.row, a.source, a.run, a.step
from dataflows.warehouse_aside a where a.name = $1 order by a.id desc limit $2;

-- name: forget_aside
-- $1 table $2 id[], or null for all
delete from dataflows.warehouse_aside a where a.name = $1 and ($2::bigint[] is null or a.id = any($2));

-- name: count_aside
select count(*) from dataflows.warehouse_aside a where a.name = $1;
