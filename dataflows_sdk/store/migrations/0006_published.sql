-- Workflows that were published to workers as the text of a module.
--
-- A worker runs none of it unless the signature, by a key that is not in this database, fits the whole row.
create table dataflows.published (
    name       text        primary key,             -- of the workflow or flow
    kind       text        not null,                -- 'code' or 'flow'
    version    text        not null,                -- of the workflow, as its runs have it
    home       text        not null,                -- the module in which it was written, '__main__' for a notebook
    source     text        not null,                -- the module; empty when it was taken back
    requires   text[]      not null,                -- packages that it needs, as pip understands them
    python     text        not null,                -- versions of Python, as pip understands them
    revoked    boolean     not null,                -- taken back: no worker runs it
    created_at timestamptz not null,                -- of two signed rows of one name the later one counts
    created_by text        not null,
    key_id     text        not null,                -- which key signed it
    signature  text        not null                 -- HMAC-SHA256 over everything above, in hex
);

comment on table dataflows.published is 'Workflows that were published to workers, signed.';
