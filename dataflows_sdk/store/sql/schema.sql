-- Migrations and what a server must be able to do.

-- name: server
select current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(), now();

-- name: lock_migrations
select pg_advisory_xact_lock(7240351927401);

-- name: have_migrations
select to_regclass('dataflows.migration') is not null;

-- name: create_migrations
create schema if not exists dataflows;
create table if not exists dataflows.migration (
    number     int         primary key,
    name       text        not null,
    checksum   text        not null,
    applied_at timestamptz not null default now()
);

-- name: list_migrations
select number, name, checksum from dataflows.migration order by number;

-- name: note_migration
insert into dataflows.migration (number, name, checksum) values ($1, $2, $3);

-- name: have_vector
select exists (select 1 from pg_extension where extname = 'vector'),
       exists (select 1 from pg_available_extensions where name = 'vector');

-- name: create_vector
create extension if not exists vector;

-- name: identity
-- What tells this database from others: when its schema was made, and its address within the server.
select d.oid::bigint, m.applied_at from dataflows.migration m, pg_database d
where d.datname = current_database() order by m.number limit 1;
