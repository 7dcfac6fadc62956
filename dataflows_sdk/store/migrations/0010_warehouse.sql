-- The warehouse: tables of users in the schema `warehouse`, what their rows were before in `warehouse_past`, and here
-- what the tables look like and every write there was. docs/decisions/0018-the-warehouse.md says why it is laid out so.
create schema if not exists warehouse;
create schema if not exists warehouse_past;

-- What a table looks like now: columns in order, key, references, options.
create table dataflows.warehouse_table (
    name text primary key,
    shape json not null,
    version integer not null,
    created_at timestamptz not null,
    changed_at timestamptz not null
);

-- What it looked like before, and which run changed it.
create table dataflows.warehouse_shape (
    name text not null,
    version integer not null,
    shape json not null,
    changes json not null,
    run uuid,
    step text,
    at timestamptz not null,
    primary key (name, version)
);

-- One row for each call that changed rows: who, when, how many. Rows and their past versions point here with _write
-- and _ended_by. The transaction gives an order in which nothing that commits late is passed over (decision 0014).
create table dataflows.write (
    id bigint generated always as identity primary key,
    xid xid8 not null default pg_current_xact_id(),
    name text not null,
    at timestamptz not null,
    run uuid,
    step text,
    source text,
    inserted integer not null default 0,
    updated integer not null default 0,
    deleted integer not null default 0
);
create index write_order on dataflows.write (xid, id);
create index write_run on dataflows.write (run) where run is not null;
-- the time of a table's last write: the next one is later, whatever the clock says
create index write_at on dataflows.write (name, at);

-- Rows that were refused and set aside, with the reason; nothing that came is lost silently.
create table dataflows.warehouse_aside (
    id bigint generated always as identity primary key,
    name text not null,
    source text,
    run uuid,
    step text,
    at timestamptz not null,
    reason text not null,
    row json not null
);
create index warehouse_aside_name on dataflows.warehouse_aside (name, id);
