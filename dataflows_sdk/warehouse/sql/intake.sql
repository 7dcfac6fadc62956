-- DuckDB: rows from a file of CSV as PostgreSQL writes it.
-- $table, $columns and $values are put in; $1 file $2 the longest line in bytes

-- name: insert
insert into $table
select $values
from read_csv($1, header = false, auto_detect = false, delim = ',', quote = '"', escape = '"', new_line = '\n',
              nullstr = '', allow_quoted_nulls = false, null_padding = false, max_line_size = $2, columns = $columns);
