-- The statements of a table. What stands in {braces} is put in by `statements.py`: names of users, quoted, and lists of
-- them; values are parameters, always.

-- Parts that several statements are made of. A write begins no earlier than any before it on the same table, and later
-- than every version that it ends, whatever the clocks say.

-- name: part_at
greatest(
    coalesce($2::timestamptz, clock_timestamp()),
    {last} + interval '1 microsecond',
    (select max(w.at) + interval '1 microsecond' from dataflows.write w where w.name = $1)
)

-- name: part_written
written as (
    insert into dataflows.write (name, at, run, step, source, inserted, updated)
    select $1, m.at, $3::uuid, $4::text, $5::text, m.fresh, m.changed
    from moment m
    where m.fresh + m.changed > 0
    returning id, at
)

-- name: part_archived
archived as (
    insert into {past} ({all}, _valid_to, _ended_by, _deleted)
    select {all_locked}, w.at, w.id, {deleted}
    from locked l cross join written w
)

-- name: part_stamps
_source = coalesce($5::text, t._source), _synced_at = w.at, _execution_id = $3::uuid,
_version = t._version + 1, _write = w.id

-- name: part_provenance
_source, _external_id, _synced_at, _execution_id, _version, _write

-- name: part_provenance_new
$5::text, {external}, w.at, $3::uuid, 1, w.id

-- name: upsert
-- $1 table $2 now, or null for the database's $3 run $4 step $5 source; then the rows
-- One statement: what is new or different, the locks in the order of the keys, the write, the versions that are over.
-- A row that was changed by another transaction since the snapshot is compared again once it is locked.
with incoming as materialized (
    {incoming}
), matched as materialized (
    select i._row, t._version is null as fresh
    from incoming i left join {table} t on {on}
    where t._version is null {or_differs}
), locked as materialized (
    select i._row, t.*
    from matched m join incoming i on i._row = m._row join {table} t on {on}
    where not m.fresh and ({differs})
    order by {order}
    for update of t
), moment as materialized (
    select {at} as at,
           l.n as changed,
           (select count(*) from matched m where m.fresh)::int as fresh
    from (select max(l._synced_at) as last, count(*)::int as n from locked l) l
), {written}, {archived}, updated as (
    update {table} t
    set {sets} {stamps}
    from written w, locked l join incoming i on i._row = l._row
    where {on}
    returning {returning}
), inserted as (
    insert into {table} as t ({columns}, {provenance})
    select {values}, {provenance_new}
    from written w, matched m join incoming i on i._row = m._row
    where m.fresh
    order by {order_incoming}
    on conflict ({key}) do nothing
    returning {returning}
)
select (select count(*) from incoming), m.fresh, (select count(*) from matched x where not x.fresh),
       (select count(*) from inserted), (select count(*) from updated), (select w.id from written w)
from moment m;

-- name: in_order
-- $1 the number of a write: the rows that it inserted, and that were there until later by writes that committed
-- meanwhile, begin where those ended. The statement that inserted could not see them; now the rows are locked.
update {table} t set _synced_at = p.until + interval '1 microsecond'
from (
    select {key_t}, max(p._valid_to) as until
    from {table} t join {past} p on {same_row} and p._valid_to > t._synced_at
    where t._write = $1
    group by {key_t}
) p
where {same_row}
returning t._synced_at;

-- name: really
-- $1 the number of a write $2 rows that it inserted $3 and updated: others were quicker with the rest
with gone as (delete from dataflows.write where id = $1 and $2 + $3 = 0)
update dataflows.write set inserted = $2, updated = $3 where id = $1 and $2 + $3 > 0;

-- name: upsert_one
-- $1 table $2 now, or null for the database's $3 run $4 step $5 source; then the columns of the row
-- The same for a single row, which it gives as it is then. None where somebody else inserted or deleted it at the same
-- moment.
with locked as materialized (
    select t.* from {table} t where {on} and ({differs}) for update of t
), moment as materialized (
    select {at} as at,
           (l._version is not null)::int as changed,
           (l._version is null and not exists (select from {table} t where {on}))::int as fresh
    from (values (0)) as always(one) left join locked l on true
), {written}, {archived}, updated as (
    update {table} t
    set {sets} {stamps}
    from written w, moment m
    where m.changed = 1 and {on}
    returning {returning}
), inserted as (
    insert into {table} as t ({columns}, {provenance})
    select {values}, {provenance_new}
    from written w, moment m
    where m.fresh = 1
    on conflict ({key}) do nothing
    returning {returning}
)
select false, {row} from updated u
union all
select true, {row} from inserted u
union all
select false, {row_same} from {table} t where {on} and exists (select from moment m where m.fresh + m.changed = 0);

-- name: insert
-- $1 table $2 now $3 run $4 step $5 source; then the rows
-- Rows without a key, or whose key must not be there yet.
with incoming as materialized (
    {incoming}
), moment as materialized (
    select {at} as at,
           (select count(*) from incoming)::int as fresh
), written as (
    insert into dataflows.write (name, at, run, step, source, inserted)
    select $1, m.at, $3::uuid, $4::text, $5::text, m.fresh from moment m where m.fresh > 0
    returning id, at
), inserted as (
    insert into {table} as t ({columns}, {provenance})
    select {values}, {provenance_new}
    from written w cross join incoming i
    order by i._row
    returning {returning}
)
{answer}

-- name: answer_inserted
select (select count(*) from inserted), (select w.id from written w);

-- name: answer_inserted_row
select true, {row} from inserted u;

-- name: delete
-- $1 table $2 now $3 run $4 step $5 source; then what the condition asks
with locked as materialized (
    select t.* from {table} t where {condition} order by {order} for update of t
), moment as materialized (
    select {at} as at,
           l.n as gone
    from (select max(l._synced_at) as last, count(*)::int as n from locked l) l
), written as (
    insert into dataflows.write (name, at, run, step, source, deleted)
    select $1, m.at, $3::uuid, $4::text, $5::text, m.gone from moment m where m.gone > 0
    returning id, at
), {archived}, deleted as (
    delete from {table} t using locked l where {same_row}
    returning 1
)
select (select count(*) from deleted), (select w.id from written w);

-- name: select
select {columns} from {table} t where {condition} {order} {limit};

-- name: count
select count(*) from {table} t where {condition};

-- name: rows_one
select 1::bigint as _row, {parameters}

-- name: rows_lists
select i._row, {casts}
from unnest({parameters}) with ordinality as i({names}, _row)

-- name: rows_staged
select s._row, {names} from staged s

-- name: rows_changed
select s._row, {names} from changed s

-- name: stage
create temporary table staged (_row bigint generated always as identity, {definitions}) on commit drop;

-- name: stage_copy
copy staged ({names}) from stdin (format csv);

-- name: stage_room
-- A hash of so many rows in parts on disk takes twice as long.
select set_config('work_mem', greatest(pg_size_bytes(current_setting('work_mem')) / 1024, 131072)::text || 'kB', true);

-- name: stage_new
-- Those that are new or different: after a first load that is a small part, and the statement that locks, archives and
-- writes joins as often as there are parts of it.
create temporary table changed on commit drop as
select i._row, {values}
from staged i left join {table} t on {on}
where t._version is null {or_differs};

-- name: stage_known
analyze changed;

-- name: unstage
drop table staged, changed;

-- name: unstage_rows
drop table staged;

-- name: load_write
-- $1 table $2 now $3 run $4 step $5 source
insert into dataflows.write (name, at, run, step, source)
select $1, {at}, $3::uuid, $4::text, $5::text
returning id, at;

-- name: load_count
update dataflows.write set inserted = $2 where id = $1;

-- name: load_lock
lock table {table} in access exclusive mode nowait;

-- name: load_empty
select not exists (select from {table}) and not exists (select from {past})
       and not exists (select from pg_constraint c where c.confrelid = $1::regclass);

-- name: load_indexes
-- $1 table
-- Constraints first, whose indexes go with them.
select 'alter table ' || $1::regclass || ' drop constraint ' || quote_ident(c.conname),
       'alter table ' || $1::regclass || ' add constraint ' || quote_ident(c.conname) || ' ' || pg_get_constraintdef(c.oid)
from pg_constraint c
where c.conrelid = $1::regclass and c.contype in ('p', 'u')
union all
select 'drop index ' || x.indexrelid::regclass, pg_get_indexdef(x.indexrelid)
from pg_index x
where x.indrelid = $1::regclass
      and not exists (select from pg_constraint c where c.conindid = x.indexrelid and c.contype in ('p', 'u', 'x'));

-- name: load_defaults
alter table {table}
    alter column _source set default {source}, alter column _synced_at set default {at},
    alter column _execution_id set default {run}, alter column _version set default 1,
    alter column _write set default {write};

-- name: load_copy
copy {table} ({names}) from stdin (format csv);

-- name: load_done
alter table {table}
    alter column _source drop default, alter column _synced_at drop default, alter column _execution_id drop default,
    alter column _version drop default, alter column _write drop default;

-- name: aside
-- $1 table $2 now $3 run $4 step $5 source $6 reason[] $7 row[]
insert into dataflows.warehouse_aside (name, source, run, step, at, reason, row)
select $1, $5::text, $3::uuid, $4::text, coalesce($2::timestamptz, clock_timestamp()), a.reason, a.row::json
from unnest($6::text[], $7::text[]) as a(reason, row);

-- name: history
create view {history} as
select {columns}, t._source, t._synced_at as {valid_from}, null::timestamptz as {valid_to},
       case t._version when 1 then 'insert' else 'update' end as {operation}, null::text as {ended_by},
       t._execution_id as {run}, w.step as {step}, null::uuid as {ended_run}, null::text as {ended_step}
from {table} t left join dataflows.write w on w.id = t._write
union all
select {columns_past}, p._source, p._synced_at, p._valid_to,
       case p._version when 1 then 'insert' else 'update' end, case when p._deleted then 'delete' else 'update' end,
       p._execution_id, w.step, e.run, e.step
from {past} p left join dataflows.write w on w.id = p._write left join dataflows.write e on e.id = p._ended_by;

-- name: beyond
select exists (select from {table} where abs({column}) > {largest});

-- name: as_of
-- The rows as they were at $1, under a condition over `t`.
select {columns} from (
    select {columns} from {table} t where t._synced_at <= $1::timestamptz
    union all
    select {columns} from {past} t where t._synced_at <= $1::timestamptz and t._valid_to > $1::timestamptz
) t
where {condition} {order} {limit};

-- name: versions
-- The versions of one row, oldest first: the row, until when, whether it was deleted then, the writes at both ends.
select {columns}, v._valid_to, v._deleted, v._ended_by, w.run, w.step, w.source, e.run, e.step
from (
    select {columns_t}, null::timestamptz as _valid_to, null::boolean as _deleted, null::bigint as _ended_by
    from {table} t where {condition}
    union all
    select {columns_t}, t._valid_to, t._deleted, t._ended_by from {past} t where {condition}
) v
left join dataflows.write w on w.id = v._write
left join dataflows.write e on e.id = v._ended_by
order by v._synced_at, v._valid_to;

-- name: changed
-- $1 the number of a write $2 rows to pass over $3 rows at the most
-- What a write did: the kind, the row after it and the row before it.
select c.kind, {both}
from (
    select case t._version when 1 then 'insert' else 'update' end as kind, {after}, {before}
    from (
        select {columns_t} from {table} t where t._write = $1
        union all
        select {columns_t} from {past} t where t._write = $1
    ) t
    left join {past} p on p._ended_by = $1 and not p._deleted and {same_row}
    union all
    select 'delete', {nothing}, {before} from {past} p where p._ended_by = $1 and p._deleted
) c
order by {order}, c.kind offset $2 limit $3;

-- name: differences
-- $1 the earlier moment $2 the later one $3 rows at the most
with one as (
    select {columns} from {table} t where t._synced_at <= $1::timestamptz
    union all
    select {columns} from {past} t where t._synced_at <= $1::timestamptz and t._valid_to > $1::timestamptz
), other as (
    select {columns} from {table} t where t._synced_at <= $2::timestamptz
    union all
    select {columns} from {past} t where t._synced_at <= $2::timestamptz and t._valid_to > $2::timestamptz
)
select {columns_one}, {columns_other}
from one a full join other b on {same_rows}
where a._write is null or b._write is null or ({mine_one}) is distinct from ({mine_other})
order by {order} limit $3;
