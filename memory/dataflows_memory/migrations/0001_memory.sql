-- What agents remember: items with two times, and the words in them. Vectors have a table for each embedder, made when
-- it is first used, because their length is a part of its type.
create schema if not exists dataflows_memory;

create table dataflows_memory.collection (
    id       integer     generated always as identity primary key,
    name     text        not null unique,
    language text        not null,
    -- how many neighbours on each side an item of a group is read with
    around   smallint    not null,
    embedder integer,
    made_at  timestamptz not null default now()
);

create table dataflows_memory.embedder (
    id        integer     generated always as identity primary key,
    name      text        not null unique,
    dimension integer     not null,
    made_at   timestamptz not null default now()
);

-- What a fork remembers, and the runs that it started: it sees what was there at its point, and nobody sees it until it
-- is merged.
create table dataflows_memory.branch (
    run       uuid        primary key,
    -- the branch that the original was on; null: what everybody sees
    below     uuid        references dataflows_memory.branch,
    -- the run that it is a fork of, up to when its past is this one's, and the steps of it that are
    origin    uuid        not null,
    point     timestamptz not null,
    shared    text[]      not null,
    made_at   timestamptz not null default now(),
    merged_at timestamptz
);

-- A scope of a collection: a tenant, a user, a project. Whoever asks names it, or asks all of them. A branch has places of
-- its own.
create table dataflows_memory.place (
    id         integer generated always as identity primary key,
    collection integer not null references dataflows_memory.collection on delete cascade,
    scope      text    not null,
    branch     uuid    references dataflows_memory.branch on delete cascade
);
create unique index place_scope_idx on dataflows_memory.place (collection, scope) where branch is null;
create unique index place_branch_idx on dataflows_memory.place (branch, collection, scope) where branch is not null;

create table dataflows_memory.item (
    id          bigint      generated always as identity primary key,
    place       integer     not null references dataflows_memory.place on delete cascade,
    origin      text        not null check (origin in ('text', 'document', 'row', 'run', 'step')),
    -- what it is a part of: a document, a conversation, a row; and which part
    ref         text        not null,
    part        integer     not null,
    text        text        not null,
    heading     text        not null default '',
    meta        jsonb       not null default '{}',
    -- where the text lies in the document
    span        int4range,
    -- of the text, and of the text with its neighbours
    hash        bytea       not null,
    around_hash bytea,
    -- stems in their order, with a space before, between and after
    stems       text        not null,
    length      integer     not null,
    around      integer     not null,
    -- when it is true, and when it was known here; no end is infinity
    valid_from  timestamptz not null,
    valid_to    timestamptz not null default 'infinity',
    recorded_at timestamptz not null,
    retired_at  timestamptz not null default 'infinity',
    -- neither ended nor taken back; what was said to end at some time may have done so
    live        boolean     not null,
    run         uuid,
    step        text,
    ended_run   uuid,
    ended_step  text,
    -- since when the end is known here; what was said to end from the beginning was known then
    ended_at    timestamptz not null default '-infinity',
    check (valid_from < valid_to)
);
create unique index item_ref_idx on dataflows_memory.item (place, origin, ref, part) where live;
create index item_history_idx on dataflows_memory.item (place, ref, part, recorded_at);
create index item_place_idx on dataflows_memory.item (place, valid_from);
create index item_later_idx on dataflows_memory.item (place, valid_to)
    where not live and retired_at = 'infinity' and valid_to < 'infinity';
create index item_hash_idx on dataflows_memory.item (hash);
create index item_around_idx on dataflows_memory.item (around_hash) where around_hash is not null;
create index item_meta_idx on dataflows_memory.item using gin (meta jsonb_path_ops);
create index item_run_idx on dataflows_memory.item (run) where run is not null;
create index item_ended_idx on dataflows_memory.item (ended_run) where ended_run is not null;

-- What a branch says of items below it: that they are not true from then on, or (-infinity) never were.
create table dataflows_memory.hidden (
    place       integer     not null references dataflows_memory.place on delete cascade,
    item        bigint      not null references dataflows_memory.item on delete cascade,
    since       timestamptz not null,
    recorded_at timestamptz not null,
    run         uuid,
    step        text,
    primary key (place, item)
);
create index hidden_item_idx on dataflows_memory.hidden (item);

-- The words of an item (tf) and of the item with its neighbours (around_tf); what is needed to weigh them stands here
-- too, so that the index alone answers.
create table dataflows_memory.posting (
    place         integer  not null,
    term          text     not null collate "C",
    item          bigint   not null references dataflows_memory.item on delete cascade,
    live          boolean  not null,
    tf            smallint not null,
    around_tf     smallint not null,
    length        integer  not null,
    around_length integer  not null
);
create index posting_live_idx on dataflows_memory.posting (place, term)
    include (item, tf, around_tf, length, around_length) where live;
create index posting_item_idx on dataflows_memory.posting (item, term)
    include (tf, around_tf, length, around_length);

-- A table of the warehouse whose rows are items, how they are put into words, and how far its changes were read.
create table dataflows_memory.source (
    id       integer     generated always as identity primary key,
    place    integer     not null references dataflows_memory.place on delete cascade,
    name     text        not null,
    template text        not null,
    meta     text[]      not null,
    cursor   text,
    made_at  timestamptz not null default now(),
    unique (place, name)
);

-- Whether something is in the past that a branch shares with a run: what that run did is where the step is shared, what
-- others did is where it was known in time.
create function dataflows_memory.told(run uuid, step text, at timestamptz, origin uuid, shared jsonb, until timestamptz)
returns boolean language sql immutable parallel safe as $$
    select case when run = origin then jsonb_exists(shared, coalesce(step, '')) else at <= until end
$$;
