-- DuckDB: views of a table of the warehouse. Names and lists of columns are put in: $view, $table, $past, $writes, …

-- name: history
create or replace view $view as
select $columns
from (
    select $today, null::timestamptz as _valid_to, null::bigint as _ended_by, false as _deleted
    from $table where $began
    union all
    select $before, $ends
    from $past where $began
) v
left join $writes w on w.id = v._write
left join $writes e on e.id = v._ended_by;

-- name: ends
_valid_to, _ended_by, _deleted

-- name: ends_as_of
case when $over then _valid_to end, case when $over then _ended_by end, case when $over then _deleted else false end

-- name: as_of
create or replace view $view as
select $columns from $table where $began
union all
select $columns from $past where $began and _valid_to > getvariable('dataflows_as_of');

-- name: began
_synced_at <= getvariable('dataflows_as_of')

-- name: over
_valid_to <= getvariable('dataflows_as_of')
