"""What starts runs. The pure half is here: no database, no event loop, no look at the clock.

calendar      cron expressions and time zones: which moments a wall clock means
schedule      `Schedule`, what is due, catch-up, backfill, overlap
signatures    is this delivery genuine: HMAC, tokens and the presets of providers
deliveries    headers without secrets, delivery ids, bodies
limits        a token bucket
inputs        does this input fit its JSON Schema
keys          the idempotency key of a run
"""
