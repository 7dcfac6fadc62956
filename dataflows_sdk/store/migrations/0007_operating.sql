-- What operating needs.

-- Which runs were already tried again: a fork of a million failed runs asks this of each of them.
create index run_forks on dataflows.run (forked_from) where forked_from is not null;
