-- What the transactions of the workflows do.

-- name: ledger
insert into storm.ledger (run, step, n) values (%s, %s, %s);

-- name: count
update storm.counter set total = total + %s where shard = %s;

-- name: enter
insert into storm.room (run, queue, key, inside) values (%s, %s, %s, true);

-- name: leave
update storm.room set inside = false where run = %s;
