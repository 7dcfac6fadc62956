-- Whom an event for everybody concerns is looked for after the commit that made it. One whose sender died in between
-- is found by this, and told by whoever sees it first.
alter table dataflows.broadcast add column told boolean not null default true;
alter table dataflows.broadcast alter column told set default false;
create index broadcast_untold on dataflows.broadcast (id) where not told;
