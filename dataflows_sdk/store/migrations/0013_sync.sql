-- Syncs: where each one stands, written in the transaction of the page that brought it there.
create table dataflows.sync (
    name text primary key,
    -- the table, or null where the source names one for each page
    target text,
    -- what the last run was started with: the source, without its secrets, and the options
    spec json not null,
    -- each time through the source is a pass; one that failed is continued by the next run
    pass bigint not null default 0,
    mode text not null,
    page integer not null default 0,
    -- where the next page begins, and where the next incremental pass begins
    position json,
    kept json,
    state text not null,
    run uuid,
    -- seconds from the beginning of one run to that of the next, and the run that waits for that
    every double precision,
    next_run uuid,
    at timestamptz not null,
    succeeded_at timestamptz
);

-- The pages of the pass that is under way: a position that comes again goes in a circle, and rows of this source that no
-- page of a full pass named are deleted at its end.
create table dataflows.sync_page (
    name text not null references dataflows.sync on delete cascade,
    pass bigint not null,
    given text not null,
    page integer not null,
    target text,
    ids text[],
    primary key (name, pass, given)
);
