"""What a query may say: every word that is no name in quotes, and every function, is on a list here.

The lists say what is allowed, so that what nobody thought of is refused. A function belongs here if it reads nothing
but its arguments, changes nothing, waits for nothing, and gives no more than it gets.
"""

from __future__ import annotations


def listed(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


AGGREGATES = listed("""
    count sum avg min max stddev stddev_pop stddev_samp variance var_pop var_samp corr covar_pop covar_samp
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy
    bool_and bool_or every bit_and bit_or bit_xor string_agg array_agg any_value
    json_agg jsonb_agg json_object_agg jsonb_object_agg mode percentile_cont percentile_disc grouping
""")

WINDOWS = listed("""
    row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
""")

TEXTS = listed("""
    length char_length character_length octet_length bit_length lower upper initcap left right substr substring
    position strpos split_part replace translate trim btrim ltrim rtrim lpad rpad repeat reverse concat concat_ws
    overlay ascii chr md5 to_char to_number starts_with regexp_replace regexp_match regexp_matches regexp_count
    regexp_like regexp_substr regexp_instr regexp_split_to_array regexp_split_to_table string_to_array
    string_to_table array_to_string quote_literal to_hex encode sha256
""")

TIMES = listed("""
    now age date_trunc date_part date_bin extract to_date to_timestamp make_date make_time make_timestamp
    make_timestamptz make_interval justify_days justify_hours justify_interval isfinite statement_timestamp
    transaction_timestamp clock_timestamp timezone
""")

NUMBERS = listed("""
    abs ceil ceiling floor round trunc mod power pow sqrt cbrt exp ln log log10 sign div gcd lcm degrees radians pi
    sin cos tan cot asin acos atan atan2 sinh cosh tanh greatest least width_bucket random scale min_scale
    trim_scale
""")

JSON = listed("""
    to_json to_jsonb row_to_json array_to_json json_build_object jsonb_build_object json_build_array
    jsonb_build_array json_array_length jsonb_array_length json_typeof jsonb_typeof json_extract_path
    jsonb_extract_path json_extract_path_text jsonb_extract_path_text json_strip_nulls jsonb_strip_nulls jsonb_pretty
    json_array_elements jsonb_array_elements json_array_elements_text jsonb_array_elements_text json_each jsonb_each
    json_each_text jsonb_each_text json_object_keys jsonb_object_keys jsonb_path_query jsonb_path_query_array
    jsonb_path_query_first jsonb_path_exists jsonb_path_match jsonb_set jsonb_exists jsonb_exists_any jsonb_exists_all
""")

OTHERS = listed("""
    coalesce nullif num_nulls num_nonnulls unnest generate_series generate_subscripts cardinality array_length
    array_ndims array_lower array_upper array_position array_positions array_append array_prepend array_cat
    array_remove array_replace trim_array lower_inc upper_inc isempty
""")

#: look like functions: make arrays and rows, or compare with all of them
CONSTRUCTORS = listed("array row some any all")

FUNCTIONS = AGGREGATES | WINDOWS | TEXTS | TIMES | NUMBERS | JSON | OTHERS

#: that give rows, and so may stand where a table does
TABLE_FUNCTIONS = listed("""
    unnest generate_series generate_subscripts json_array_elements jsonb_array_elements json_array_elements_text
    jsonb_array_elements_text json_each jsonb_each json_each_text jsonb_each_text json_object_keys jsonb_object_keys
    jsonb_path_query regexp_matches regexp_split_to_table string_to_table
""")

#: what PostgreSQL calls the columns of their rows
TABLE_FUNCTION_COLUMNS = {
    **dict.fromkeys(("json_each", "jsonb_each", "json_each_text", "jsonb_each_text"), ("key", "value")),
    **dict.fromkeys(TABLE_FUNCTIONS & listed("""json_array_elements jsonb_array_elements json_array_elements_text
                                             jsonb_array_elements_text"""), ("value",)),
}  # fmt: skip

#: for messages: what to say instead of what is often tried
INSTEAD = {
    "group_concat": "Use string_agg(x, ', ').",
    "listagg": "Use string_agg(x, ', ').",
    "ifnull": "Use coalesce(a, b).",
    "nvl": "Use coalesce(a, b).",
    "isnull": "Use coalesce(a, b), or `a is null`.",
    "getdate": "Use now().",
    "sysdate": "Use now().",
    "curdate": "Use current_date.",
    "len": "Use length(x).",
    "instr": "Use strpos(text, part).",
    "datediff": "Subtract the dates: `later::date - earlier::date` gives days.",
    "dateadd": "Add an interval: `due + interval '7 days'`.",
    "date_format": "Use to_char(due, 'YYYY-MM').",
    "strftime": "Use to_char(due, 'YYYY-MM').",
    "year": "Use extract(year from due).",
    "month": "Use extract(month from due).",
    "day": "Use extract(day from due).",
    "median": "Use percentile_cont(0.5) within group (order by x).",
    "if": "Use case when … then … else … end.",
    "iif": "Use case when … then … else … end.",
    "format": "Use concat(…) or ||.",
    "date": "Write x::date.",
    "string": "Write x::text.",
    "current_setting": "Settings of the database are not to be read.",
}

#: bare words with a meaning of their own in a SELECT
KEYWORDS = listed("""
    select distinct on all as from where group by having order asc desc nulls first last limit offset fetch next rows
    row only union intersect except with materialized not values join inner left right full outer cross lateral natural
    using ordinality and or is null true false unknown in any some exists between symmetric asymmetric like ilike
    similar to escape case when then else end cast extract interval filter over partition window range groups unbounded
    preceding following current exclude ties no others within grouping sets cube rollup array collate at time zone for
    both leading trailing placing overlaps current_date current_time current_timestamp localtime localtimestamp
    isnull notnull
""")

#: keywords after which a parenthesis is no call
BEFORE_PARENTHESIS = listed("""
    as in any some all exists and or not where on using from select distinct values over filter group by having when
    then else case end cast array row limit offset union intersect except materialized like ilike similar to escape
    between order sets cube rollup grouping lateral join with is within extract then symmetric at zone window partition
    current_timestamp current_time localtime localtimestamp substring position trim overlay null collate for
""")

#: what a value may be cast to, as PostgreSQL and the parser write them
TYPES = listed("""
    bool boolean smallint int2 integer int int4 bigint int8 real float4 float8 float double precision numeric decimal
    text varchar char bpchar character varying date time timetz timestamp timestamptz interval uuid json jsonb without
    with zone jsonpath
""")

DATE_PARTS = listed("""
    century day decade dow doy epoch hour isodow isoyear julian microseconds millennium milliseconds minute month
    quarter second timezone timezone_hour timezone_minute week year days hours minutes months seconds weeks years
""")

#: named arguments of make_interval()
_ARGUMENTS = listed("years months weeks days hours mins secs")

VOCABULARY = KEYWORDS | FUNCTIONS | TYPES | DATE_PARTS | _ARGUMENTS
