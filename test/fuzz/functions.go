package fuzz

// function is a scalar function or operator that means the same in both
// engines. s and d are templates as in node; d is left out where both write it
// alike.
type function struct {
	out  kind
	args []kind
	s, d string
	// inexact says that a DOUBLE result has digits that rounding chose.
	inexact bool
	max     float64 // of a whole-number result
}

// functions is the mapping table. Whole-number and floating arithmetic is not
// here: arith.go makes it within bounds. Where the text differs the reason is:
//
//	division       by zero is an error in Sluice and NULL in DuckDB, so NULLIF guards it
//	dayofweek      counts from Sunday as 1, in DuckDB as 0
//	floor, ceil    of a DOUBLE are BIGINT, in DuckDB DOUBLE
//	date + days    is date_add, in DuckDB an operator
//	add_months     keeps a DATE, in DuckDB it gives a TIMESTAMP
//	casts to whole numbers cut, in DuckDB they round
//	<=>, rlike, pmod, if, nvl2   have no DuckDB spelling of that name
var functions = []function{
	// Strings.
	{out: kStr, args: []kind{kStr}, s: "upper($0)"},
	{out: kStr, args: []kind{kStr}, s: "lower($0)"},
	{out: kStr, args: []kind{kStr}, s: "trim($0)"},
	{out: kStr, args: []kind{kStr}, s: "ltrim($0)"},
	{out: kStr, args: []kind{kStr}, s: "rtrim($0)"},
	{out: kStr, args: []kind{kStr}, s: "reverse($0)"},
	{out: kStr, args: []kind{kStr}, s: "substring($0, 2, 3)"},
	{out: kStr, args: []kind{kStr}, s: "substring($0, 1, 1)"},
	{out: kStr, args: []kind{kStr}, s: "substring($0, 3)"},
	{out: kStr, args: []kind{kStr}, s: "left($0, 2)"},
	{out: kStr, args: []kind{kStr}, s: "right($0, 2)"},
	{out: kStr, args: []kind{kStr}, s: "left($0, 0)"},
	{out: kStr, args: []kind{kStr}, s: "lpad($0, 6, 'xy')"},
	{out: kStr, args: []kind{kStr}, s: "rpad($0, 4, '*')"},
	{out: kStr, args: []kind{kStr}, s: "replace($0, 'a', 'é')"},
	{out: kStr, args: []kind{kStr}, s: "translate($0, 'abc', 'xy')"},
	{out: kStr, args: []kind{kStr}, s: "split_part($0, 'a', 1)"},
	{out: kStr, args: []kind{kStr}, s: "split_part($0, ',', 2)"},
	{out: kStr, args: []kind{kStr}, s: "regexp_replace($0, '[a-c]+', '-')", d: "regexp_replace($0, '[a-c]+', '-', 'g')"},
	{out: kStr, args: []kind{kStr}, s: "regexp_extract($0, '([a-z])([0-9]*)', 2)"},
	{out: kStr, args: []kind{kStr}, s: "left(md5($0), 6)"},
	{out: kStr, args: []kind{kStr}, s: "repeat(left($0, 3), 2)"},
	{out: kStr, args: []kind{kStr, kStr}, s: "(left($0, 20) || left($1, 20))"},
	{out: kStr, args: []kind{kStr, kStr}, s: "concat_ws('-', left($0, 20), left($1, 20))"},
	{out: kI32, args: []kind{kStr}, s: "length($0)", d: "CAST(length($0) AS INTEGER)", max: 200},
	{out: kI32, args: []kind{kStr}, s: "octet_length($0)", d: "CAST(strlen($0) AS INTEGER)", max: 800},
	{out: kI32, args: []kind{kStr, kStr}, s: "instr($0, $1)", d: "CAST(instr($0, $1) AS INTEGER)", max: 200},
	{out: kI32, args: []kind{kStr}, s: "ascii($0)", d: "CAST(ascii($0) AS INTEGER)", max: 2e6},
	{out: kBool, args: []kind{kStr, kStr}, s: "startswith($0, $1)", d: "starts_with($0, $1)"},
	{out: kBool, args: []kind{kStr, kStr}, s: "endswith($0, $1)", d: "ends_with($0, $1)"},
	{out: kBool, args: []kind{kStr, kStr}, s: "contains($0, $1)"},
	{out: kBool, args: []kind{kStr}, s: "($0 LIKE 'a%')"},
	{out: kBool, args: []kind{kStr}, s: "($0 LIKE '%b_')"},
	{out: kBool, args: []kind{kStr}, s: "($0 LIKE '%a%c%')"},
	{out: kBool, args: []kind{kStr}, s: "($0 NOT LIKE '_')"},
	{out: kBool, args: []kind{kStr}, s: "($0 LIKE '')"},
	{out: kBool, args: []kind{kStr}, s: "($0 ILIKE 'A%')"},
	{out: kBool, args: []kind{kStr}, s: "($0 RLIKE '^[a-b]+')", d: "regexp_matches($0, '^[a-b]+')"},
	// Dates and times.
	{out: kI32, args: []kind{kDate}, s: "year($0)", d: "CAST(year($0) AS INTEGER)", max: 9999},
	{out: kI32, args: []kind{kDate}, s: "month($0)", d: "CAST(month($0) AS INTEGER)", max: 12},
	{out: kI32, args: []kind{kDate}, s: "day($0)", d: "CAST(day($0) AS INTEGER)", max: 31},
	{out: kI32, args: []kind{kDate}, s: "quarter($0)", d: "CAST(quarter($0) AS INTEGER)", max: 4},
	{out: kI32, args: []kind{kDate}, s: "dayofweek($0)", d: "CAST(dayofweek($0) + 1 AS INTEGER)", max: 7},
	{out: kI32, args: []kind{kDate}, s: "dayofyear($0)", d: "CAST(dayofyear($0) AS INTEGER)", max: 366},
	{out: kI32, args: []kind{kDate}, s: "weekofyear($0)", d: "CAST(weekofyear($0) AS INTEGER)", max: 53},
	{out: kI32, args: []kind{kDate, kDate}, s: "datediff($0, $1)", d: "CAST($0 - $1 AS INTEGER)", max: 4e6},
	{out: kI32, args: []kind{kDate}, s: "unix_date($0)", d: "CAST($0 - DATE '1970-01-01' AS INTEGER)", max: 4e6},
	{out: kI32, args: []kind{kTs}, s: "hour($0)", d: "CAST(hour($0) AS INTEGER)", max: 23},
	{out: kI32, args: []kind{kTs}, s: "minute($0)", d: "CAST(minute($0) AS INTEGER)", max: 59},
	{out: kI32, args: []kind{kTs}, s: "second($0)", d: "CAST(second($0) AS INTEGER)", max: 59},
	{out: kI32, args: []kind{kTs}, s: "year($0)", d: "CAST(year($0) AS INTEGER)", max: 9999},
	{out: kI32, args: []kind{kTs}, s: "extract(DAY FROM $0)", d: "CAST(extract(DAY FROM $0) AS INTEGER)", max: 31},
	{out: kDate, args: []kind{kDate}, s: "last_day($0)"},
	{out: kDate, args: []kind{kDate}, s: "date_add($0, 17)", d: "($0 + 17)"},
	{out: kDate, args: []kind{kDate}, s: "date_sub($0, 3)", d: "($0 - 3)"},
	{out: kDate, args: []kind{kDate}, s: "add_months($0, 1)", d: "CAST($0 + INTERVAL 1 MONTH AS DATE)"},
	{out: kDate, args: []kind{kDate}, s: "add_months($0, -13)", d: "CAST($0 - INTERVAL 13 MONTH AS DATE)"},
	{out: kDate, args: []kind{kDate}, s: "trunc($0, 'MONTH')", d: "CAST(date_trunc('month', $0) AS DATE)"},
	{out: kDate, args: []kind{kDate}, s: "trunc($0, 'YEAR')", d: "CAST(date_trunc('year', $0) AS DATE)"},
	{out: kDate, args: []kind{kDate}, s: "trunc($0, 'WEEK')", d: "CAST(date_trunc('week', $0) AS DATE)"},
	{out: kDate, args: []kind{kDate}, s: "trunc($0, 'QUARTER')", d: "CAST(date_trunc('quarter', $0) AS DATE)"},
	{out: kDate, args: []kind{kTs}, s: "CAST($0 AS DATE)"},
	{out: kTs, args: []kind{kDate}, s: "CAST($0 AS TIMESTAMP_NTZ)", d: "CAST($0 AS TIMESTAMP)"},
	{out: kTs, args: []kind{kTs}, s: "date_trunc('HOUR', $0)", d: "date_trunc('hour', $0)"},
	{out: kTs, args: []kind{kTs}, s: "date_trunc('DAY', $0)", d: "CAST(date_trunc('day', $0) AS TIMESTAMP)"},
	{out: kTs, args: []kind{kTs}, s: "date_trunc('WEEK', $0)", d: "CAST(date_trunc('week', $0) AS TIMESTAMP)"},
	{out: kTs, args: []kind{kTs}, s: "date_trunc('MILLISECOND', $0)", d: "date_trunc('millisecond', $0)"},
	{out: kTs, args: []kind{kTs}, s: "($0 + INTERVAL '90' MINUTE)"},
	{out: kTs, args: []kind{kTs}, s: "($0 - INTERVAL '3' DAY)"},
	{out: kTs, args: []kind{kTs}, s: "($0 + INTERVAL '1' MONTH)"},
	{out: kStr, args: []kind{kDate}, s: "CAST($0 AS STRING)", d: "CAST($0 AS VARCHAR)"},
	{out: kStr, args: []kind{kTs}, s: "CAST($0 AS STRING)", d: "CAST($0 AS VARCHAR)"},
	{out: kStr, args: []kind{kDate}, s: "date_format($0, 'yyyy/MM')", d: "strftime($0, '%Y/%m')"},
	{out: kDate, args: []kind{kDate}, s: "CAST(CAST($0 AS STRING) AS DATE)", d: "CAST(CAST($0 AS VARCHAR) AS DATE)"},
	{out: kTs, args: []kind{kTs}, s: "CAST(CAST($0 AS STRING) AS TIMESTAMP_NTZ)", d: "CAST(CAST($0 AS VARCHAR) AS TIMESTAMP)"},
	// Numbers.
	{out: kI64, args: []kind{kF64}, s: "floor($0)", d: "CAST(floor($0) AS BIGINT)", max: 1e13},
	{out: kI64, args: []kind{kF64}, s: "ceil($0)", d: "CAST(ceil($0) AS BIGINT)", max: 1e13},
	{out: kI64, args: []kind{kF64}, s: "CAST($0 AS BIGINT)", d: "CAST(trunc($0) AS BIGINT)", max: 1e13},
	{out: kI64, args: []kind{kDec}, s: "CAST($0 AS BIGINT)", d: "CAST(trunc($0) AS BIGINT)", max: 1e15},
	{out: kF64, args: []kind{kDec}, s: "CAST($0 AS DOUBLE)", inexact: true},
	{out: kF64, args: []kind{kF64}, s: "sqrt(abs($0))", inexact: true},
	{out: kF64, args: []kind{kF64}, s: "abs($0)"},
	{out: kF64, args: []kind{kF64, kF64}, s: "($0 / nullif($1, CAST(0 AS DOUBLE)))", inexact: true},
	{out: kF64, args: []kind{kI64, kI64}, s: "($0 / nullif($1, 0))", inexact: true},
	{out: kStr, args: []kind{kI64}, s: "CAST($0 AS STRING)", d: "CAST($0 AS VARCHAR)"},
	{out: kStr, args: []kind{kI8}, s: "CAST($0 AS STRING)", d: "CAST($0 AS VARCHAR)"},
	{out: kStr, args: []kind{kDec}, s: "CAST($0 AS STRING)", d: "CAST($0 AS VARCHAR)"},
	{out: kStr, args: []kind{kBool}, s: "CAST($0 AS STRING)", d: "CAST($0 AS VARCHAR)"},
	{out: kI64, args: []kind{kI64}, s: "CAST(CAST($0 AS STRING) AS BIGINT)", d: "CAST(CAST($0 AS VARCHAR) AS BIGINT)", max: 9.3e18},
	{out: kI32, args: []kind{kBool}, s: "CAST($0 AS INT)", max: 1},
	{out: kBool, args: []kind{kI32}, s: "CAST($0 AS BOOLEAN)"},
	{out: kI64, args: []kind{kI64, kI64}, s: "($0 & $1)", max: 9.3e18},
	{out: kI64, args: []kind{kI64, kI64}, s: "($0 | $1)", max: 9.3e18},
	{out: kI64, args: []kind{kI64, kI64}, s: "($0 ^ $1)", d: "xor($0, $1)", max: 9.3e18},
	{out: kI64, args: []kind{kI64, kI64}, s: "($0 % nullif($1, 0))", max: 9.3e18},
	{out: kI64, args: []kind{kI32, kI32}, s: "($0 div nullif($1, 0))", d: "(CAST($0 AS BIGINT) // nullif($1, 0))", max: 2147483648},
	{out: kI64, args: []kind{kI64}, s: "pmod($0, CAST(7 AS BIGINT))", d: "((($0 % 7) + 7) % 7)", max: 7},
	{out: kI32, args: []kind{kI64}, s: "CAST(sign($0) AS INT)", d: "CAST(sign($0) AS INTEGER)", max: 1},
	{out: kI32, args: []kind{kI32, kI32}, s: "try_add($0, $1)", d: "TRY_CAST(CAST($0 AS HUGEINT) + $1 AS INTEGER)", max: 2147483648},
	{out: kI8, args: []kind{kI8, kI8}, s: "try_multiply($0, $1)", d: "TRY_CAST(CAST($0 AS HUGEINT) * $1 AS TINYINT)", max: 128},
	{out: kI64, args: []kind{kI64, kI64}, s: "try_subtract($0, $1)", d: "TRY_CAST(CAST($0 AS HUGEINT) - $1 AS BIGINT)", max: 9.3e18},
	{out: kI64, args: []kind{kI64, kI64}, s: "try_multiply($0, $1)", d: "TRY_CAST(CAST($0 AS HUGEINT) * $1 AS BIGINT)", max: 9.3e18},
	{out: kI8, args: []kind{kI64}, s: "TRY_CAST($0 AS TINYINT)", max: 128},
	{out: kI16, args: []kind{kI32}, s: "TRY_CAST($0 AS SMALLINT)", max: 32768},
	{out: kI32, args: []kind{kI64}, s: "TRY_CAST($0 AS INT)", max: 2147483648},
	{out: kF64, args: []kind{kF64}, s: "round($0)"},
	{out: kI8, args: []kind{kI8}, s: "nullifzero($0)", d: "nullif($0, 0)", max: 128},
	{out: kI64, args: []kind{kI64}, s: "zeroifnull($0)", d: "coalesce($0, 0)", max: 9.3e18},
	{out: kStr, args: []kind{kI64}, s: "hex($0)"},
	{out: kStr, args: []kind{kI64}, s: "bin($0)"},
	{out: kStr, args: []kind{kStr}, s: "hex(left($0, 4))"},
	{out: kStr, args: []kind{kDate}, s: "dayname($0)", d: "left(dayname($0), 3)"},
	{out: kStr, args: []kind{kDate}, s: "monthname($0)", d: "left(monthname($0), 3)"},
	{out: kI32, args: []kind{kDate}, s: "weekday($0)", d: "CAST(isodow($0) - 1 AS INTEGER)", max: 6},
	{out: kDate, args: []kind{kDate}, s: "make_date(2024, month($0), 1)", d: "make_date(2024, month($0), 1)"},
	{out: kDate, args: []kind{kDate, kI8}, s: "date_add($0, $1)", d: "($0 + $1)"},
	{out: kTs, args: []kind{kTs}, s: "date_trunc('MONTH', $0)", d: "CAST(date_trunc('month', $0) AS TIMESTAMP)"},
	{out: kTs, args: []kind{kTs}, s: "date_trunc('QUARTER', $0)", d: "CAST(date_trunc('quarter', $0) AS TIMESTAMP)"},
	{out: kTs, args: []kind{kTs}, s: "date_trunc('MINUTE', $0)", d: "date_trunc('minute', $0)"},
	{out: kStr, args: []kind{kTs}, s: "date_format($0, 'yyyy-MM-dd HH:mm:ss')", d: "strftime($0, '%Y-%m-%d %H:%M:%S')"},
	// Conditions.
	{out: kBool, args: []kind{kBool, kBool}, s: "($0 AND $1)"},
	{out: kBool, args: []kind{kBool, kBool}, s: "($0 OR $1)"},
	{out: kBool, args: []kind{kBool, kBool, kBool}, s: "($0 OR ($1 AND $2))"},
	{out: kBool, args: []kind{kBool}, s: "(NOT $0)"},
	{out: kBool, args: []kind{kBool}, s: "($0 IS TRUE)"},
	{out: kBool, args: []kind{kBool}, s: "($0 IS NOT FALSE)"},
}

// generic are functions of one type, whatever it is: T are arguments of the
// type asked for, B conditions.
var generic = []struct{ s, d, args string }{
	{"coalesce($0, $1)", "", "TT"},
	{"coalesce($0, $1, $2)", "", "TTT"},
	{"nullif($0, $1)", "", "TT"},
	{"CASE WHEN $0 THEN $1 ELSE $2 END", "", "BTT"},
	{"CASE WHEN $0 THEN $1 WHEN $2 THEN $3 END", "", "BTBT"},
	{"CASE $0 WHEN $1 THEN $2 ELSE $3 END", "", "TTTT"},
	{"if($0, $1, $2)", "CASE WHEN $0 THEN $1 ELSE $2 END", "BTT"},
	{"nvl2($0, $1, $2)", "CASE WHEN $0 IS NOT NULL THEN $1 ELSE $2 END", "TTT"},
	{"greatest($0, $1)", "", "TT"},
	{"least($0, $1, $2)", "", "TTT"},
	{"ifnull($0, $1)", "", "TT"},
}

// predicates compare two or three values of one type.
var predicates = []struct {
	s, d string
	n    int
}{
	{"($0 = $1)", "", 2}, {"($0 <> $1)", "", 2}, {"($0 < $1)", "", 2}, {"($0 <= $1)", "", 2}, {"($0 > $1)", "", 2},
	{"($0 >= $1)", "", 2}, {"($0 <=> $1)", "($0 IS NOT DISTINCT FROM $1)", 2}, {"($0 BETWEEN $1 AND $2)", "", 3},
	{"($0 NOT BETWEEN $1 AND $2)", "", 3}, {"($0 IN ($1, $2))", "", 3}, {"($0 NOT IN ($1, $2))", "", 3},
	{"($0 IN ($1, NULL))", "", 2}, {"($0 IS NULL)", "", 1}, {"($0 IS NOT NULL)", "", 1},
	{"($0 IS DISTINCT FROM $1)", "", 2},
}
