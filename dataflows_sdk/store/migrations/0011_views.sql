-- Views of the warehouse that users define: what they are now, and every text that they had.
create table dataflows.warehouse_view (
    name text primary key,
    version integer not null,
    description text,
    -- when it is to be refreshed, as the config of a schedule, and when that is next
    refresh json,
    next_at timestamptz,
    -- of a materialised view: when it was filled, and which transactions that could see
    refreshed_at timestamptz,
    seen pg_snapshot,
    created_at timestamptz not null,
    changed_at timestamptz not null
);
create index warehouse_view_next on dataflows.warehouse_view (next_at) where next_at is not null;

-- A version without a text says that the view was dropped. Versions of a name are counted on after that.
create table dataflows.warehouse_view_version (
    name text not null,
    version integer not null,
    sql text,
    materialized boolean not null,
    key text[] not null,
    depends text[] not null,
    restored_from integer,
    role text not null,
    run uuid,
    step text,
    at timestamptz not null,
    primary key (name, version)
);
