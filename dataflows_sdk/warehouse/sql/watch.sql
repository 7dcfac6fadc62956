-- Versions of rows that somebody else changes: triggers on a table of the warehouse which is told to watch for that.
--
-- Ours are known by what they write: a row of ours comes with a number in _write that is new. Nobody else touches that
-- column, so that nothing has to be said before, and tables that are not watched pay nothing. A deletion of ours has put
-- the version away by the end of its statement.
--
-- Rows are marked one by one before they are written; versions are put away together after the statement, by names of
-- columns as they are then, so that the table may change its shape. `dataflows.watch_<oid>` is the write of the
-- statement that is under way.

-- name: functions
create or replace function dataflows.watch_begin() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config('dataflows.watch_' || tg_relid, '', true);
    return null;
end
$$;

-- What tells rows of a table apart, as a list of columns behind a prefix.
create or replace function dataflows.watch_key(name text) returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select case when json_array_length(t.shape -> 'key') = 0 then array['id']
                else array(select json_array_elements_text(t.shape -> 'key')) end
    from dataflows.warehouse_table t where t.name = watch_key.name
$$;

-- A new write of somebody else's; later than every version that it ends.
create or replace function dataflows.watch_write(relation oid, name text, after timestamptz) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    write bigint;
    moment timestamptz;
begin
    moment := greatest(
        clock_timestamp(), after + interval '1 microsecond',
        (select max(w.at) + interval '1 microsecond' from dataflows.write w where w.name = watch_write.name)
    );
    insert into dataflows.write (name, at, source) values (watch_write.name, moment, 'foreign') returning id into write;
    perform set_config('dataflows.watch_' || relation, write || '|' || moment, true);
    return write;
end
$$;

-- Before a row of somebody else's is inserted or updated.
create or replace function dataflows.watch_row() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as $$
declare
    said text := current_setting('dataflows.watch_' || tg_relid, true);
    fresh boolean := tg_op = 'INSERT';
    key text[];
begin
    if tg_op = 'UPDATE' and new *= old then
        return new;
    end if;
    if coalesce(said, '') = '' then
        perform dataflows.watch_write(tg_relid, tg_table_name, case when tg_op = 'UPDATE' then old._synced_at end);
        said := current_setting('dataflows.watch_' || tg_relid, true);
    end if;
    new._write := split_part(said, '|', 1)::bigint;
    new._synced_at := split_part(said, '|', 2)::timestamptz;
    new._execution_id := null;
    new._source := 'foreign';
    if tg_op = 'UPDATE' then
        key := dataflows.watch_key(tg_table_name);
        fresh := exists (select from unnest(key) k where to_jsonb(old) -> k is distinct from to_jsonb(new) -> k);
        new._version := old._version + 1;
        new._synced_at := greatest(new._synced_at, old._synced_at + interval '1 microsecond');
    end if;
    if fresh then
        new._version := 1;
        key := array(select json_array_elements_text(t.shape -> 'key')
                     from dataflows.warehouse_table t where t.name = tg_table_name);
        if key <> '{}' then
            execute 'select concat_ws('','', ' || (select string_agg(format('($1).%I::text', k), ', ') from unnest(key) k)
                    || ')' into new._external_id using new;
        end if;
    end if;
    return new;
end
$$;

-- After a statement: put away what is over, and say how many rows it was.
create or replace function dataflows.watch_end() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    said text := coalesce(current_setting('dataflows.watch_' || tg_relid, true), '');
    past text := format('warehouse_past.%I', tg_table_name);
    write bigint;
    moment timestamptz;
    names text;
    same_row text;
    last timestamptz;
    n bigint;
begin
    if said = '' and tg_op in ('INSERT', 'UPDATE') then
        return null;
    end if;
    select string_agg(format('%I', a.attname), ', ') into names
    from pg_attribute a
    join pg_attribute p on p.attname = a.attname and p.attrelid = past::regclass and p.attnum > 0 and not p.attisdropped
    where a.attrelid = tg_relid and a.attnum > 0 and not a.attisdropped;
    select string_agg(format('o.%I = n.%I', k, k), ' and ') into same_row
    from unnest(dataflows.watch_key(tg_table_name)) k;
    if tg_op = 'DELETE' then
        -- what is put away already was deleted by us
        execute format('select count(*), max(o._synced_at) from gone o where not exists (
                            select from %s n where %s and n._synced_at = o._synced_at and n._write = o._write)',
                       past, same_row) into n, last;
        if n = 0 then
            return null;
        end if;
        write := dataflows.watch_write(tg_relid, tg_table_name, last);
        moment := (select w.at from dataflows.write w where w.id = write);
        execute format('insert into %s (%s, _valid_to, _ended_by, _deleted)
                        select %s, $1, $2, true from gone o where not exists (
                            select from %s n where %s and n._synced_at = o._synced_at and n._write = o._write)',
                       past, names, names, past, same_row) using moment, write;
        update dataflows.write w set deleted = n where w.id = write;
    elsif tg_op = 'TRUNCATE' then
        execute format('select count(*), max(_synced_at) from warehouse.%I', tg_table_name) into n, last;
        if n = 0 then
            return null;
        end if;
        write := dataflows.watch_write(tg_relid, tg_table_name, last);
        moment := (select w.at from dataflows.write w where w.id = write);
        execute format('insert into %s (%s, _valid_to, _ended_by, _deleted) select %s, $1, $2, true from warehouse.%I',
                       past, names, names, tg_table_name) using moment, write;
        update dataflows.write w set deleted = n where w.id = write;
    else
        write := split_part(said, '|', 1)::bigint;
        moment := split_part(said, '|', 2)::timestamptz;
        if tg_op = 'UPDATE' then
            -- a row whose key is another one now is a row that is gone and one that is new
            execute format('insert into %s (%s, _valid_to, _ended_by, _deleted)
                            select %s, greatest(coalesce(_new_at, $1), _synced_at + interval ''1 microsecond''), $2,
                                   _new_version is distinct from _version + 1
                            from (select o.*, n._version as _new_version, n._synced_at as _new_at, n._write as _new_write
                                  from gone o left join come n on %s) o
                            where _new_write is null or (_new_write = $2 and _write <> $2)',
                           past, names, names, same_row) using moment, write;
            execute 'update dataflows.write w
                     set updated = w.updated + c.changed, inserted = w.inserted + c.moved, deleted = w.deleted + c.moved
                     from (select count(*) filter (where _version > 1) as changed,
                                  count(*) filter (where _version = 1) as moved from come where _write = $1) c
                     where w.id = $1' using write;
        else
            execute 'update dataflows.write w
                     set inserted = w.inserted + (select count(*) from come where _write = $1) where w.id = $1' using write;
            -- the key may have been here before, until later than the clock shows
            execute format('update warehouse.%1$I t set _synced_at = p.until + interval ''1 microsecond''
                            from (select %2$s, max(o._valid_to) as until
                                  from come n join %3$s o on %4$s and o._valid_to > n._synced_at
                                  where n._write = $1 group by %2$s) p
                            where %5$s',
                           tg_table_name,
                           (select string_agg(format('n.%I', k), ', ') from unnest(dataflows.watch_key(tg_table_name)) k),
                           past, same_row,
                           (select string_agg(format('t.%I = p.%I', k, k), ' and ')
                            from unnest(dataflows.watch_key(tg_table_name)) k)) using write;
        end if;
        -- a statement that wrote nothing in the end leaves no trace
        delete from dataflows.write w where w.id = write and w.inserted + w.updated + w.deleted = 0
               and tg_op = 'INSERT';
    end if;
    perform pg_notify('dataflows', 'rows:' || encode(convert_to(tg_table_name, 'UTF8'), 'hex'));
    return null;
end
$$;

-- name: watch
create trigger dataflows_begin_insert before insert on {table}
    for each statement execute function dataflows.watch_begin();
create trigger dataflows_begin_update before update on {table}
    for each statement execute function dataflows.watch_begin();
create trigger dataflows_row_insert before insert on {table}
    for each row when (new._write is null) execute function dataflows.watch_row();
create trigger dataflows_row_update before update on {table}
    for each row when (new._write = old._write and new._synced_at = old._synced_at)
    execute function dataflows.watch_row();
create trigger dataflows_end_insert after insert on {table} referencing new table as come
    for each statement execute function dataflows.watch_end();
create trigger dataflows_end_update after update on {table} referencing old table as gone new table as come
    for each statement execute function dataflows.watch_end();
create trigger dataflows_end_delete after delete on {table} referencing old table as gone
    for each statement execute function dataflows.watch_end();
create trigger dataflows_truncate before truncate on {table}
    for each statement execute function dataflows.watch_end();

-- name: unwatch
drop trigger if exists dataflows_begin_insert on {table};
drop trigger if exists dataflows_begin_update on {table};
drop trigger if exists dataflows_row_insert on {table};
drop trigger if exists dataflows_row_update on {table};
drop trigger if exists dataflows_end_insert on {table};
drop trigger if exists dataflows_end_update on {table};
drop trigger if exists dataflows_end_delete on {table};
drop trigger if exists dataflows_truncate on {table};

-- name: watched
select c.relname from pg_trigger g join pg_class c on c.oid = g.tgrelid
where c.relnamespace = 'warehouse'::regnamespace and g.tgname = 'dataflows_row_update' order by 1;
