-- Triggers on rows of the warehouse, and runs that wait for a row to change. The writes and the versions of rows are
-- what both of them read; here is how far they have come.

-- A trigger has heard every write that was committed in the snapshot rows_heard, and none that was not. While it is at
-- those of the next snapshot, rows_until, it stands at a write and a row of it.
alter table dataflows.trigger
    add column object      text,                    -- the table whose rows it listens to
    add column rows_heard  pg_snapshot not null default pg_current_snapshot(),
    add column rows_until  pg_snapshot,
    add column rows_write  bigint      not null default 0,
    add column rows_passed int         not null default 0,
    -- no write after this one was heard: what is left of the order when a dump is restored into another server
    add column rows_last   bigint      not null default 0;
create index trigger_object on dataflows.trigger (object) where enabled and object is not null;
update dataflows.trigger set object = config ->> 'object' where type = 'trigger_record';

-- Runs that wait for a field of a row.
create table dataflows.row_wait (
    id         uuid        primary key,             -- made of the run and the step
    run        uuid        not null,
    object     text        not null,
    key        json        not null,                -- the values of the row's key, as texts
    field      text        not null,
    wanted     json,                                -- {op, value}; null: any change
    seen       pg_snapshot not null default pg_current_snapshot(),  -- what was written before is none of its business
    created_at timestamptz not null
);
create index row_wait_object on dataflows.row_wait (object);
create index row_wait_run on dataflows.row_wait (run);

-- Tables with rows that are waited for, and how far that was looked at.
create table dataflows.row_ear (
    object text        primary key,
    heard  pg_snapshot not null default pg_current_snapshot()
);

comment on table dataflows.row_wait is 'Runs that wait for a field of a row to change.';
comment on table dataflows.row_ear is 'How far the writes of a table were looked at for those who wait.';
