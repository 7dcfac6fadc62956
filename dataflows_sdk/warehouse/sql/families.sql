-- Lists of rows that are tables of their own. What stands in {braces} is put in by `family_statements.py`.

-- name: now
select clock_timestamp();

-- name: moment
-- $1 a write: its time, if it is one of this transaction
select w.at from dataflows.write w where w.id = $1 and w.xid = pg_current_xact_id();

-- name: lock
-- Those who write lists of the same rows come one after the other.
select count(*) from (
    select from {table} t where ({key}) in ({given}) order by {key} for no key update of t
) l;

-- name: listed
select {casts} from unnest({parameters}) as g({names})

-- name: staged
select {names} from given g

-- name: stage_owners
create temporary table given ({definitions}) on commit drop;

-- name: copy_owners
copy given from stdin (format csv);

-- name: know_owners
analyze given;

-- name: unstage_owners
drop table given;

-- name: doom
-- The rows that a condition is about stay the same ones, whatever others do.
create temporary table doomed on commit drop as
select {key} from (select {key_t} from {table} t where {condition} order by {key_t} for update of t) d;

-- name: doomed
({key_t}) in (select {key} from doomed)

-- name: undoom
drop table doomed;

-- name: belonging
-- The rows of a child table whose parents are those of a condition.
({parent}) in (select {key_t} from {table} t where {condition})

-- name: gone
-- The rows of lists that are given, which are in none of them any more.
({parent}) in ({given}) and not exists (select from {kept} i where {on})

-- name: replace
-- $1 table $2 now, or null for the database's $3 run $4 step $5 source; then the rows, then whose lists they are
-- One write: what is new or different in the lists that are given, and what is in none of them any more.
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
), gone as materialized (
    select t.* from {table} t where {gone} order by {order} for update of t
), moment as materialized (
    select {at} as at, l.n as changed, g.n as gone,
           (select count(*) from matched m where m.fresh)::int as fresh
    from (select max(l._synced_at) as last, count(*)::int as n from locked l) l,
         (select max(g._synced_at) as last, count(*)::int as n from gone g) g
), written as (
    insert into dataflows.write (name, at, run, step, source, inserted, updated, deleted)
    select $1, m.at, $3::uuid, $4::text, $5::text, m.fresh, m.changed, m.gone
    from moment m
    where m.fresh + m.changed + m.gone > 0
    returning id, at
), {archived}, buried as (
    insert into {past} ({all}, _valid_to, _ended_by, _deleted)
    select {all_gone}, w.at, w.id, true
    from gone g cross join written w
), updated as (
    update {table} t
    set {sets} {stamps}
    from written w, locked l join incoming i on i._row = l._row
    where {on}
    returning 1
), inserted as (
    insert into {table} as t ({columns}, {provenance})
    select {values}, {provenance_new}
    from written w, matched m join incoming i on i._row = m._row
    where m.fresh
    order by {order_incoming}
    on conflict ({key}) do nothing
    returning 1
), deleted as (
    delete from {table} t using gone g where {same_row}
    returning 1
)
select m.fresh, (select count(*) from matched x where not x.fresh), m.gone,
       (select count(*) from inserted), (select count(*) from updated), (select count(*) from deleted),
       (select w.id from written w)
from moment m;
