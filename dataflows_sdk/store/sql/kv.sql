-- Small values by key.

-- name: get
-- $1 key $2 now
select k.value::text from dataflows.kv k where k.key = $1 and (k.expires_at is null or k.expires_at > $2::timestamptz);

-- name: set
-- $1 key $2 value $3 expires_at $4 now
-- What expired goes with the next value that is set, a few at a time.
with old as (
    delete from dataflows.kv where key in (
        select k.key from dataflows.kv k where k.expires_at <= $4::timestamptz and k.key <> $1
        order by k.expires_at limit 10 for update skip locked)
)
insert into dataflows.kv (key, value, expires_at, updated_at) values ($1, $2::json, $3::timestamptz, $4::timestamptz)
on conflict (key) do update
set value = excluded.value, expires_at = excluded.expires_at, updated_at = excluded.updated_at;

-- name: delete
-- $1 key $2 now
with gone as (delete from dataflows.kv where key = $1 returning expires_at)
select 1 from gone where expires_at is null or expires_at > $2::timestamptz;

-- name: keys
-- $1 beginning $2 now $3 limit
select k.key from dataflows.kv k
where starts_with(k.key, $1) and (k.expires_at is null or k.expires_at > $2::timestamptz)
order by k.key limit $3;
