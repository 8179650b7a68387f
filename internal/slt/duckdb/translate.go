package duckdb

import "regexp"

var (
	createTable = regexp.MustCompile(`(?i)^\s*CREATE\s+TABLE\b`)
	withClause  = regexp.MustCompile(`(?is)\)\s*WITH\s*\(.*\)\s*;?\s*$`)
	watermark   = regexp.MustCompile(`(?is),\s*WATERMARK\s+FOR\b`)
	primaryKey  = regexp.MustCompile(`(?i)\s+NOT\s+ENFORCED\b`)
	ntz         = regexp.MustCompile(`(?i)\bTIMESTAMP_NTZ\b|\bTIMESTAMP\s*\(\d\)`)
	ltz         = regexp.MustCompile(`(?i)\bTIMESTAMP_LTZ(\s*\(\d\))?`)
	binary      = regexp.MustCompile(`(?i)\bBINARY\b`)
)

// Translate turns a CREATE TABLE of Sluice's dialect into one of DuckDB's: the
// connector's options and the watermark go, and the types get their names.
// Anything else comes back as it is.
func Translate(sql string) string {
	if !createTable.MatchString(sql) {
		return sql
	}
	sql = withClause.ReplaceAllString(sql, ")")
	if at := watermark.FindStringIndex(sql); at != nil {
		sql = sql[:at[0]] + sql[at[1]+endOfItem(sql[at[1]:]):]
	}
	sql = primaryKey.ReplaceAllString(sql, "")
	sql = ltz.ReplaceAllString(sql, "TIMESTAMPTZ")
	sql = ntz.ReplaceAllString(sql, "TIMESTAMP")
	return binary.ReplaceAllString(sql, "BLOB")
}

// endOfItem returns where an item of a list in parentheses ends: at the next
// comma or closing parenthesis that is not inside parentheses or quotes.
func endOfItem(s string) int {
	depth, quoted := 0, false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case depth == 0 && (c == ',' || c == ')'):
			return i
		case c == ')':
			depth--
		}
	}
	return len(s)
}
