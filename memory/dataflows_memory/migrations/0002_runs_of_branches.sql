-- Runs that are on the branch of a fork although none of them is its child: those of agents that its code has begun.
create table dataflows_memory.branch_run (
    run    uuid primary key,
    -- the fork; the branch itself is made when somebody says something there
    branch uuid not null
);
create index branch_run_branch_idx on dataflows_memory.branch_run (branch);
