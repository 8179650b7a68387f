package parser

// reserved words can never be a name without quotes: the grammar could not
// tell where an expression or a clause ends.
var reserved = set(
	"AND", "AS", "BETWEEN", "BOTH", "CASE", "CAST", "CROSS", "DISTINCT", "ELSE", "END", "EXCEPT",
	"EXISTS", "FALSE", "FOR", "FROM", "FULL", "GROUP", "HAVING", "IN", "INNER", "INTERSECT", "INTO", "IS",
	"JOIN", "LATERAL", "LEADING", "LEFT", "LIKE", "LIMIT", "NATURAL", "NOT", "NULL", "ON", "OR", "ORDER",
	"QUALIFY", "RIGHT", "SELECT", "TABLE", "THEN", "TRAILING", "TRUE", "UNION", "USING", "WHEN", "WHERE",
	"WITH",
)

// operandWords are reserved for joins, and names where an operand has to stand.
var operandWords = set("LEFT", "RIGHT")

// notAlias are words that may be names but, without AS, start a clause.
var notAlias = set(
	"ANTI", "ASOF", "CLUSTER", "DISTRIBUTE", "EMIT", "FETCH", "MATCH_RECOGNIZE", "MATCH_CONDITION", "MINUS",
	"OFFSET", "PIVOT", "SEMI", "SORT", "TABLESAMPLE", "TIMESTAMP", "UNPIVOT", "VERSION", "WINDOW", "WITHIN",
	"SYSTEM_VERSION", "SYSTEM_TIME",
)

// niladic are functions that are called without parentheses.
var niladic = set(
	"CURRENT_CATALOG", "CURRENT_DATABASE", "CURRENT_DATE", "CURRENT_SCHEMA", "CURRENT_TIME",
	"CURRENT_TIMESTAMP", "CURRENT_USER", "LOCALTIME", "LOCALTIMESTAMP", "SESSION_USER", "CURRENT_WATERMARK",
)

// unitFunctions take a bare unit of time as their first argument.
var unitFunctions = set(
	"TIMESTAMPADD", "TIMESTAMPDIFF", "DATEADD", "DATE_ADD", "DATEDIFF", "DATE_DIFF", "TIMEDIFF",
)

// statementWords start a statement; a mistyped first word is compared with
// them.
var statementWords = []string{
	"ALTER", "BEGIN", "CREATE", "DESCRIBE", "DROP", "EXPLAIN", "INSERT", "REFRESH", "REPLAY", "RESET",
	"SAVE", "SELECT", "SET", "SHOW", "START", "STOP", "TABLE", "USE", "VALUES", "WITH",
}

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

// folded holds frequent words, so that folding their case costs nothing. A word
// that is missing here is still a keyword.
var folded = func() map[string]string {
	m := map[string]string{}
	add := func(words ...string) {
		for _, w := range words {
			m[w] = w
		}
	}
	for _, words := range []map[string]bool{reserved, notAlias, niladic, unitFunctions} {
		for w := range words {
			add(w)
		}
	}
	for w := range typeNames {
		add(w)
	}
	add(statementWords...)
	add(clauseWords...)
	add("BY", "ASC", "DESC", "NULLS", "FIRST", "LAST", "ALL", "COUNT", "SUM", "AVG", "MIN", "MAX", "OVER", "PARTITION",
		"FILTER", "SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR", "DESCRIPTOR", "TUMBLE", "HOP", "WATERMARK",
		"OUTER", "RLIKE", "ILIKE", "TO", "ROWS", "RANGE")
	return m
}()
