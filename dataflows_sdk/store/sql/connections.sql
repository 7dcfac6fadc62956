-- Service clients and connections.

-- name: insert_client
-- $1 id $2 name $3 provider $4 auth_type $5 client_id $6 client_secret $7 security_schema $8 scopes $9 base_url $10 now
insert into dataflows.service_clients
    (id, name, provider, auth_type, client_id, client_secret, security_schema, scopes, base_url, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7::json, $8::text[], $9, $10::timestamptz, $10::timestamptz)
on conflict (name) do nothing
returning id;

-- name: lock_client
-- $1 name
select s.id, s.name, s.provider, s.auth_type, s.client_id, s.security_schema::text, s.scopes, s.base_url, s.created_at,
       s.updated_at, s.client_secret is not null, s.client_secret
from dataflows.service_clients s where s.name = $1 for update;

-- name: update_client
-- $1 id $2 provider $3 auth_type $4 client_id $5 client_secret $6 security_schema $7 scopes $8 base_url $9 now
update dataflows.service_clients
set provider = $2, auth_type = $3, client_id = $4, client_secret = $5, security_schema = $6::json, scopes = $7::text[],
    base_url = $8, updated_at = $9::timestamptz
where id = $1;

-- name: clients
-- $1 name or null
select s.id, s.name, s.provider, s.auth_type, s.client_id, s.security_schema::text, s.scopes, s.base_url, s.created_at,
       s.updated_at, s.client_secret is not null
from dataflows.service_clients s where $1::text is null or s.name = $1 order by s.name;

-- name: count_of_client
-- $1 client
select count(*) from dataflows.connections where service_client_id = $1;

-- name: delete_connections_of
-- $1 client
delete from dataflows.connections where service_client_id = $1;

-- name: delete_client
-- $1 client
delete from dataflows.service_clients where id = $1 returning id;

-- name: insert
-- $1 id $2 client $3 user $4 account $5 access_token $6 refresh_token $7 token_type $8 expires_at $9 scopes
-- $10 user_info $11 now
insert into dataflows.connections
    (id, service_client_id, user_id, account_id, access_token, refresh_token, token_type, expires_at, scopes, status,
     user_info, user_info_fetched_at, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8::timestamptz, $9::text[], 'active', $10::json,
        case when $10::text is not null then $11::timestamptz end, $11::timestamptz, $11::timestamptz);

-- name: find
-- $1 id or null $2 client or null $3 user or null $4 account or null $5 status or null $6 before this id or null $7 limit
select c.id, s.name, c.user_id, c.account_id, c.token_type, c.expires_at, c.scopes, c.status, c.user_info_fetched_at,
       c.last_used_at, c.created_at, c.updated_at
from dataflows.connections c join dataflows.service_clients s on s.id = c.service_client_id
where ($1::uuid is null or c.id = $1) and ($2::uuid is null or c.service_client_id = $2)
  and ($3::text is null or c.user_id = $3) and ($4::text is null or c.account_id = $4)
  and ($5::text is null or c.status = $5) and ($6::uuid is null or c.id < $6)
order by c.id desc limit $7;

-- name: access
-- $1 id
select c.status, c.access_token, c.refresh_token, c.expires_at, c.scopes, c.last_used_at, s.name, s.auth_type,
       s.security_schema::text, s.base_url, s.id, s.client_id, s.client_secret, c.token_type, c.updated_at
from dataflows.connections c join dataflows.service_clients s on s.id = c.service_client_id
where c.id = $1;

-- name: lock
-- $1 id, as text
-- One refresh of a connection at a time, in however many processes; freed with the transaction.
select pg_advisory_xact_lock(hashtextextended('dataflows.connections ' || $1, 0));

-- name: refreshed
-- $1 id $2 access_token $3 refresh_token $4 token_type $5 expires_at $6 scopes $7 now $8 updated_at as it was
-- Where the lock was lost meanwhile, somebody may have spoilt the connection with the old token, or renewed it.
update dataflows.connections
set access_token = $2, refresh_token = $3, token_type = $4, expires_at = $5::timestamptz, scopes = $6::text[],
    status = 'active', updated_at = $7::timestamptz
where id = $1 and (updated_at = $8::timestamptz or status = 'auth_error')
returning id;

-- name: renew
-- $1 id $2 access_token $3 refresh_token $4 expires_at $5 scopes or null $6 now
update dataflows.connections
set access_token = $2, refresh_token = $3, expires_at = $4::timestamptz, scopes = coalesce($5::text[], scopes),
    status = 'active', updated_at = $6::timestamptz
where id = $1
returning id;

-- name: set_status
-- $1 id $2 status $3 now
update dataflows.connections set status = $2, updated_at = $3::timestamptz where id = $1 and status <> $2 returning id;

-- name: used
-- $1 id $2 now
update dataflows.connections set last_used_at = greatest(last_used_at, $2::timestamptz) where id = $1;

-- name: user_info
-- $1 id
select user_info::text, user_info_fetched_at from dataflows.connections where id = $1;

-- name: set_user_info
-- $1 id $2 user_info $3 now
update dataflows.connections set user_info = $2::json, user_info_fetched_at = $3::timestamptz where id = $1;

-- name: delete
-- $1 id
delete from dataflows.connections where id = $1 returning id;
