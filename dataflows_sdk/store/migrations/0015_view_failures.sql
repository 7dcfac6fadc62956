-- Materialised views that are refreshed in the background: what became of the attempts since the last that went well.
alter table dataflows.warehouse_view
    add column failures integer not null default 0,
    add column last_error text,
    add column failed_at timestamptz,
    -- not before this, whatever the schedule says
    add column retry_at timestamptz;
