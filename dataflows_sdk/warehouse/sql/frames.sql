-- DuckDB: rows on their way from a DataFrame, an Arrow stream or a file into PostgreSQL.
--
-- Sources go into the table `staged` as they are, with the columns c0, c1, …; a row's position is its rowid.
-- The macros read text strictly and give null for what is none: DuckDB's own casts take '1.5' for the integer 2
-- and forget the time of day of a date.

-- name: session
set timezone = 'UTC';
-- `source` goes by position, so that every name a user may think of is only a name.
create macro as_int(x) as case
    when cast(try_cast(x as bigint) as varchar) = x then try_cast(x as bigint)
    when regexp_full_match(x, '\s*[-+]?[0-9]+(\.0*)?\s*') then try_cast(regexp_extract(x, '[-+]?[0-9]+') as bigint)
end;
create macro is_number(x) as
    regexp_full_match(x, '\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?\s*') and length(x) < 10000;
create macro as_decimal(x) as case when is_number(x) then trim(x) end;
create macro as_float(x) as case
    when is_number(x) then (case when isfinite(try_cast(x as double)) then try_cast(x as double) end)
    when regexp_full_match(x, '(?i)\s*[-+]?(nan|inf|infinity)\s*') then try_cast(trim(x) as double)
end;
create macro as_bool(x) as case
    when lower(trim(x)) in ('true', 't', 'yes', 'y', 'on', '1') then true
    when lower(trim(x)) in ('false', 'f', 'no', 'n', 'off', '0') then false
end;
create macro as_date(x) as
    case when regexp_full_match(x, '\s*[0-9]{4}-[0-9]{2}-[0-9]{2}\s*') then try_cast(trim(x) as date) end;
create macro as_time(x) as
    case when regexp_full_match(x, '\s*[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?\s*')
    then try_cast((case when length(trim(x)) = 5 then trim(x) || ':00' else trim(x) end) as time) end;
create macro as_timestamp(x) as case
    when regexp_full_match(x, '\s*[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6}0*)?)?)?\s*')
    then try_cast(trim(x) as timestamp)
end;
create macro as_moment(x) as case
    when regexp_full_match(
        x, '\s*[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6}0*)?)?(Z|[-+][0-9]{2}(:?[0-9]{2})?)\s*'
    ) then try_cast(trim(x) as timestamptz)
end;
create macro as_interval(x) as case when regexp_matches(x, '[A-Za-z:]') then try_cast(trim(x) as interval) end;
create macro as_uuid(x) as case
    when regexp_full_match(x, '\s*[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}\s*') then try_cast(trim(x) as uuid)
end;
-- What jsonb takes: JSON, without NaN and Infinity, which DuckDB writes and reads, and without U+0000.
create macro is_json(x) as
    json_valid(x)
    and (case when contains(x, 'NaN') or contains(x, 'Infinity') or regexp_matches(x, '(?i)\b(nan|inf)')
        then not regexp_matches(regexp_replace(x, '"(\\.|[^"\\])*"', '""', 'g'), '(?i)nan|inf') else true end)
    and (case when contains(x, '\u0000') then not regexp_matches(replace(x, '\\', ''), '\\u0000') else true end)
    and (case when contains(x, 'e') or contains(x, 'E')
        then not regexp_matches(regexp_replace(x, '"(\\.|[^"\\])*"', '""', 'g'), '(?i)[0-9]e[-+]?[0-9]{5}') else true end);
create macro as_json(x) as case when is_json(x) then x end;
create macro json_kind(x) as case when json_valid(x) then json_type(x) end;
create macro json_text(x) as case when json_kind(x) = 'VARCHAR' then json_extract_string(x, '$') end;
create macro json_number(x) as
    case when json_kind(x) not in ('VARCHAR', 'BOOLEAN', 'OBJECT', 'ARRAY', 'NULL') then cast(x as varchar) end;
create macro json_int(x) as case
    when as_int(json_number(x)) is not null then as_int(json_number(x))
    when floor(try_cast(json_number(x) as double)) = try_cast(json_number(x) as double)
        and abs(try_cast(json_number(x) as double)) <= 9007199254740992
    then cast(try_cast(json_number(x) as double) as bigint)
end;
create macro json_bool(x) as case when json_kind(x) = 'BOOLEAN' then cast(x as varchar) = 'true' end;
create macro quoted(x) as '"' || replace(x, '"', '""') || '"'

-- name: stage
-- $columns and $source are put in
create table staged as select $columns from $source

-- name: rows
-- $values is put in
select $values from staged

-- name: first_rows
-- $values and $count are put in
select $values from (from staged limit $count)

-- name: lines
-- $line and $good are put in
select encode($line) from $good

-- name: keys
-- $keys is put in: how many different ones there are
select count(distinct hash($keys)) from staged

-- name: any
-- $source is put in
select 1 from $source limit 1

-- name: keep
-- $values is put in
create table kept as select *, $values from staged;
drop table staged;
alter table kept rename to staged

-- name: describe
-- $source is put in
describe select * from $source

-- name: json_lines
-- $files is put in. Each column is JSON as it stands in the file: what it means is seen when all of it is there.
read_json($files, maximum_depth = 1, sample_size = -1, union_by_name = true, auto_detect = true)

-- name: parquet
-- $files is put in
read_parquet($files, union_by_name = true, hive_partitioning = false)

-- name: csv
-- $files, $delimiter and $columns are put in. Nothing is guessed: what DuckDB guesses it may also skip.
read_csv($files, auto_detect = false, header = true, skip = 0, delim = $delimiter, quote = '"', escape = '"', nullstr = '',
    allow_quoted_nulls = false, columns = $columns, strict_mode = true, null_padding = false, ignore_errors = false)

-- name: bad
-- Of one check, as all that follow: $bad and $repeated are put in. `other`: the row that has the same key.
create table $bad (position bigint, issue integer, other bigint)

-- name: repeated
create table $repeated (position bigint)

-- name: note_bad
-- $issue and $condition are put in
insert into $bad select rowid, $issue, null from staged where $condition

-- name: note_same_keys
-- $issue, $keys and $all are put in. Rows that say the same in every column are one row; others contradict each other.
create table same as
    select list(rowid order by rowid) as positions, count(distinct row($all)) as versions
    from staged where rowid not in (select position from $bad)
    group by $keys having count(*) > 1;
insert into $repeated select unnest(positions[2:]) from same where versions = 1;
insert into $bad
    select unnest(positions), $issue, unnest(list_transform(positions, lambda p, i: positions[if(i = 1, 2, 1)]))
    from same where versions > 1;
drop table same

-- name: good
staged where rowid not in (select position from $bad) and rowid not in (select position from $repeated)

-- name: bad_count
select count(distinct position) from $bad

-- name: repeated_count
select count(*) from $repeated

-- name: bad_rows
-- $values is put in; limit: -1 for all
select b.position, b.issues, b.others, $values
from (
    select position, list(issue order by issue) as issues, list(other order by issue) as others
    from $bad group by position order by position limit (case when $limit < 0 then 9223372036854775807 else $limit end)
) b join staged on staged.rowid = b.position
order by b.position
