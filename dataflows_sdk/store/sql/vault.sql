-- What is encrypted: which keys were used, and putting all of it under another one.

-- name: key_ids
-- By which keys envelopes were made, in hex, and how many; what is no envelope has no key.
select case when get_byte(s.envelope, 0) = 1 and length(s.envelope) >= 37
            then encode(substring(s.envelope from 2 for 8), 'hex') end as key, count(*)
from (select client_secret as envelope from dataflows.service_clients
      union all select access_token from dataflows.connections
      union all select refresh_token from dataflows.connections) s
where length(s.envelope) > 0
group by 1 order by 2 desc, 1;

-- name: service_clients_batch
-- $1 after this id $2 head of envelopes that need nothing $3 limit
select s.id, s.client_secret from dataflows.service_clients s
where s.id > $1 and substring(s.client_secret from 1 for 9) <> $2
order by s.id limit $3 for update;

-- name: service_clients_put
-- $1 id $2 client_secret
update dataflows.service_clients set client_secret = $2 where id = $1;

-- name: connections_batch
-- $1 after this id $2 head of envelopes that need nothing $3 limit
select c.id, c.access_token, c.refresh_token from dataflows.connections c
where c.id > $1
  and (substring(c.access_token from 1 for 9) <> $2 or substring(c.refresh_token from 1 for 9) <> $2)
order by c.id limit $3 for update;

-- name: connections_put
-- $1 id $2 access_token $3 refresh_token
update dataflows.connections set access_token = $2, refresh_token = $3 where id = $1;
