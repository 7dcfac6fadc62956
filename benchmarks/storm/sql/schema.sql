-- name: make
create schema storm;
-- What transactions of steps did. No key: if one did its work twice, it must show.
create table storm.ledger (run uuid not null, step text not null, n int not null, at timestamptz not null default now());
create table storm.counter (shard int primary key, total bigint not null);
insert into storm.counter select shard, 0 from generate_series(0, 63) as g(shard);
-- Who is inside of a room whose places are limited.
create table storm.room (run uuid not null, queue text not null, key text not null, inside boolean not null,
                         at timestamptz not null default clock_timestamp());

-- name: without_fence
-- Two owners who write under one number would be told apart by the primary key even without a fence.
alter table dataflows.event drop constraint event_pkey;
create index event_run on dataflows.event (run, seq);
