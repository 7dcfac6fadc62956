"""What analysts see: `ctx.sql`, DuckDB over mirrors of the journal, DataFrames and files."""
