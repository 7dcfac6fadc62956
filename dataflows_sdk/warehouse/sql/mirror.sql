-- DuckDB: the database in which the mirrors are.

-- name: attach
attach ':memory:' as dataflows;

-- name: tidy
checkpoint dataflows;

-- name: begin
begin;

-- name: commit
commit;

-- name: rollback
rollback;
