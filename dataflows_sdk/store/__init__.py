"""The store: PostgreSQL, embedded or a server, its migrations and its named SQL. The only place with a driver."""
