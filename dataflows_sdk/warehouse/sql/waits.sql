-- Runs that wait for a field of a row.

-- name: touched
-- $1 table $2 snapshot
-- Waits whose row has a version that began, or ended, with a write which is not in the snapshot.
with fresh as materialized (
    select w.id from dataflows.write w
    where w.name = $1 and w.xid >= pg_snapshot_xmin($2::text::pg_snapshot)
      and not pg_visible_in_snapshot(w.xid, $2::text::pg_snapshot)
)
select q.id from dataflows.row_wait q
where q.object = $1
  and (exists (select from {table} t where {same_row} and t._write in (select f.id from fresh f))
       or exists (select from {past} t
                  where {same_row} and (t._write in (select f.id from fresh f)
                                        or t._ended_by in (select f.id from fresh f))));
