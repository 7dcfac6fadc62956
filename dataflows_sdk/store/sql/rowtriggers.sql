-- Triggers on rows, and runs that wait for rows. What was written is read from `dataflows.write`; who has heard what is
-- said by snapshots (decision 0019): a write is unheard that is visible now and was not in the snapshot.

-- name: unheard
-- Has somebody not heard a write of a table that concerns him? Are there writes that nobody was told of for long?
select exists (
           select 1 from dataflows.trigger t
           where t.enabled and t.object is not null
             and (t.rows_until is not null
                  or pg_snapshot_xmax(t.rows_heard) > pg_snapshot_xmax(pg_current_snapshot())
                  or exists (select 1 from dataflows.write w
                             where w.name = t.object and w.xid >= pg_snapshot_xmin(t.rows_heard)
                               and not pg_visible_in_snapshot(w.xid, t.rows_heard))))
       or exists (
           select 1 from dataflows.row_ear e
           where exists (select 1 from dataflows.row_wait q where q.object = e.object)
             and (pg_snapshot_xmax(e.heard) > pg_snapshot_xmax(pg_current_snapshot())
                  or exists (select 1 from dataflows.write w
                             where w.name = e.object and w.xid >= pg_snapshot_xmin(e.heard)
                               and not pg_visible_in_snapshot(w.xid, e.heard))));

-- name: listening
-- $1 now $2 workflow[] in code that this process knows
-- A trigger with writes that it has not heard, the one that looked least lately; what it begins waits for no room.
select t.id, t.type, t.node, t.origin, t.config::text, t.flow, coalesce(t.workflow, f.name), f.version, t.function,
       t.last_at, t.resume_at, t.object, t.rows_heard::text, t.rows_until::text, t.rows_write, t.rows_passed
from dataflows.trigger t left join dataflows.flow f on f.id = t.flow
where t.enabled and t.object is not null and (t.workflow is null or t.workflow = any($2::text[]))
  and (t.resume_at is null or t.resume_at <= $1::timestamptz)
  and (t.flow is null or (f.status = 'active' and f.deleted_at is null))
  and (t.rows_until is not null
       or exists (select 1 from dataflows.write w
                  where w.name = t.object and w.xid >= pg_snapshot_xmin(t.rows_heard)
                    and not pg_visible_in_snapshot(w.xid, t.rows_heard)))
order by t.last_at limit 1
for update of t skip locked;

-- name: writes
-- $1 table $2 heard $3 until, or null for now $4 from this write on $5 how many
-- The writes between two snapshots, in the order in which they were made: of one row that is the order of its versions,
-- because a number is given once the row is locked. There is always a row, with the later snapshot.
with s as materialized (select coalesce($3::text::pg_snapshot, pg_current_snapshot()) as until)
select s.until::text, w.id, w.at, w.run, w.step, w.source, w.inserted, w.updated, w.deleted
from s left join lateral (
    select w.* from dataflows.write w
    where w.name = $1 and w.id >= $4::bigint and w.xid >= pg_snapshot_xmin($2::text::pg_snapshot)
      and not pg_visible_in_snapshot(w.xid, $2::text::pg_snapshot) and pg_visible_in_snapshot(w.xid, s.until)
    order by w.id limit $5
) w on true
order by w.id;

-- name: place
-- $1 trigger $2 until $3 write $4 rows of it that are done $5 when to go on, or null
update dataflows.trigger
set rows_until = $2::text::pg_snapshot, rows_write = $3, rows_passed = $4, resume_at = $5::timestamptz,
    last_at = clock_timestamp()
where id = $1::uuid;

-- name: heard
-- $1 trigger $2 until $3 the last write
update dataflows.trigger
set rows_heard = $2::text::pg_snapshot, rows_until = null, rows_write = 0, rows_passed = 0, resume_at = null,
    rows_last = greatest(rows_last, $3::bigint), last_at = clock_timestamp()
where id = $1::uuid;

-- name: nothing_new
-- Those who have nothing to hear need not look over the writes of other tables again.
with idle as (
    select t.id from dataflows.trigger t
    where t.enabled and t.object is not null and t.rows_until is null
      and not exists (select 1 from dataflows.write w
                      where w.name = t.object and w.xid >= pg_snapshot_xmin(t.rows_heard)
                        and not pg_visible_in_snapshot(w.xid, t.rows_heard))
    for update skip locked
), listening as (
    update dataflows.trigger t set rows_heard = pg_current_snapshot() from idle where idle.id = t.id
), quiet as (
    select e.object from dataflows.row_ear e
    where not exists (select 1 from dataflows.write w
                      where w.name = e.object and w.xid >= pg_snapshot_xmin(e.heard)
                        and not pg_visible_in_snapshot(w.xid, e.heard))
    for update skip locked
)
update dataflows.row_ear e set heard = pg_current_snapshot() from quiet where quiet.object = e.object;

-- name: restored
-- Has somebody heard of transactions that this server has not reached? Then the database was restored from a dump, and
-- counts its transactions from anew.
select exists (select 1 from dataflows.trigger t
               where t.object is not null
                 and pg_snapshot_xmax(t.rows_heard) > pg_snapshot_xmax(pg_current_snapshot()))
       or exists (select 1 from dataflows.row_ear e
                  where pg_snapshot_xmax(e.heard) > pg_snapshot_xmax(pg_current_snapshot()))
       or exists (select 1 from dataflows.row_wait q
                  where pg_snapshot_xmax(q.seen) > pg_snapshot_xmax(pg_current_snapshot()));

-- name: rebase
-- Writes that somebody has not heard count as made now, all others of the other server as made long ago. Who has heard
-- them already begins nothing twice: the keys of his runs see to that.
with here as materialized (
    select pg_snapshot_xmin(pg_current_snapshot()) as xmin, pg_snapshot_xmax(pg_current_snapshot()) as xmax
), writes as (
    update dataflows.write w
    set xid = case when exists (select 1 from dataflows.trigger t
                                where t.enabled and t.object = w.name
                                  and (w.id > t.rows_last or not pg_visible_in_snapshot(w.xid, t.rows_heard)))
                     or exists (select 1 from dataflows.row_wait q
                                where q.object = w.name and not pg_visible_in_snapshot(w.xid, q.seen))
                   then pg_current_xact_id() else '0'::xid8 end
    from here
    where w.xid > here.xmax
       or exists (select 1 from dataflows.trigger t  -- made here, before anybody looked
                  where t.enabled and t.object = w.name and w.id > t.rows_last
                    and pg_snapshot_xmax(t.rows_heard) > here.xmax)
), waits as (
    update dataflows.row_wait q set seen = format('%s:%s:', here.xmin, here.xmin)::pg_snapshot from here
    where pg_snapshot_xmax(q.seen) > here.xmax
), ears as (
    update dataflows.row_ear e set heard = format('%s:%s:', here.xmin, here.xmin)::pg_snapshot from here
    where pg_snapshot_xmax(e.heard) > here.xmax
)
update dataflows.trigger t
set rows_heard = format('%s:%s:', here.xmin, here.xmin)::pg_snapshot, rows_until = null
from here
where pg_snapshot_xmax(t.rows_heard) > here.xmax;

-- name: wait
-- $1 id $2 run $3 table $4 key $5 field $6 wanted $7 now
-- Saying it again changes nothing: a wait begins once, whoever died in between.
with ear as (
    insert into dataflows.row_ear (object) values ($3) on conflict do nothing
)
insert into dataflows.row_wait (id, run, object, key, field, wanted, created_at)
values ($1::uuid, $2::uuid, $3, $4::json, $5, $6::json, coalesce($7::timestamptz, clock_timestamp()))
on conflict do nothing;

-- name: waiting
-- $1 id[]
select q.id, q.run, q.object, q.key::text, q.field, q.wanted::text, q.seen::text
from dataflows.row_wait q where q.id = any($1::uuid[]);

-- name: unseen
-- $1 seen $2 write[]
-- Which of these writes came later.
select w.id, w.at from dataflows.write w
where w.id = any($2::bigint[]) and not pg_visible_in_snapshot(w.xid, $1::text::pg_snapshot);

-- name: waited
-- $1 id[]
delete from dataflows.row_wait where id = any($1::uuid[]);

-- name: ears
-- Tables with rows that are waited for, and with writes that were not looked at.
select e.object, e.heard::text, pg_current_snapshot()::text from dataflows.row_ear e
where exists (select 1 from dataflows.row_wait q where q.object = e.object)
  and exists (select 1 from dataflows.write w
              where w.name = e.object and w.xid >= pg_snapshot_xmin(e.heard)
                and not pg_visible_in_snapshot(w.xid, e.heard))
for update of e skip locked;

-- name: looked
-- $1 table $2 until
update dataflows.row_ear set heard = $2::text::pg_snapshot where object = $1;

-- name: forget_waits
-- Waits of runs that are over, or are gone.
delete from dataflows.row_wait q
where not exists (select 1 from dataflows.run r
                  where r.id = q.run and r.status not in ('succeeded', 'failed', 'cancelled'));
