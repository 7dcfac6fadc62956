-- The list of runs in a notebook, where a text is looked for.

-- name: runs
-- $1 workflow or null, $2 status[] or null, $3 since or null, $4 before id or null, $5 text, $6 runs to look at, $7 limit
-- A text has no index: of a large journal each page looks at the newest runs before the last one only.
select r.id, r.workflow, r.version, r.status, r.epoch, r.owner, r.wake_at, r.waits, r.last_seq, r.parent, r.parent_key,
       r.forked_from, r.idempotency_key, r.created_at, r.started_at, r.finished_at, null::timestamptz, null::json
from (select * from dataflows.run
      where ($1::text is null or workflow = $1)
        and ($2::text[] is null or status = any($2))
        and ($3::timestamptz is null or created_at >= $3)
        and ($4::uuid is null or id < $4)
      order by id desc limit $6) r
where position(lower($5) in lower(r.workflow)) > 0
   or position(lower($5) in lower(coalesce(r.idempotency_key, ''))) > 0
   or starts_with(r.id::text, lower($5))
order by r.id desc
limit $7;

-- name: looked
-- $1 workflow or null, $2 status[] or null, $3 since or null, $4 before id or null, $5 how many before it
-- The last of the runs that `runs` looked at, where there may be more behind it.
select id from dataflows.run
where ($1::text is null or workflow = $1)
  and ($2::text[] is null or status = any($2))
  and ($3::timestamptz is null or created_at >= $3)
  and ($4::uuid is null or id < $4)
order by id desc offset $5 limit 1;
