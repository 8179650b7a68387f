package functions_test

import (
	"strings"
	"testing"
)

// TestOperators pins results, and for errors a part of the text.
func TestOperators(t *testing.T) {
	checkAll(t, []sqlCase{
		{"1 + 2 * 3", "7"},
		{"2147483647 + 1", "error: [ARITHMETIC_OVERFLOW]"},
		{"2147483647L + 1", "2147483648"},
		{"-9223372036854775807L - 2L", "error: [ARITHMETIC_OVERFLOW]"},
		{"3037000500L * 3037000500L", "error: [ARITHMETIC_OVERFLOW]"},
		{"4294967296L * 2147483647L", "9223372032559808512"},
		{"CAST(100 AS TINYINT) + CAST(100 AS TINYINT)", "error: [ARITHMETIC_OVERFLOW]"},
		{"1 / 0", "error: [DIVIDE_BY_ZERO]"},
		{"1.0 / 0", "error: [DIVIDE_BY_ZERO]"},
		{"1 % 0", "error: [DIVIDE_BY_ZERO]"},
		{"10 / 4", "2.5"},
		{"-7 div 2", "-3"},
		{"-7 % 3", "-1"},
		{"7.5 % 2", "1.5"},
		{"1.1 + 2.22", "3.32"},
		{"1.1 * 2.22", "2.442"},
		{"10.0 / 3", "3.333333"},
		{"CAST('12345678901234567890123456789012345678' AS DECIMAL(38,0)) + 1", "12345678901234567890123456789012345679"},
		{"CAST('99999999999999999999999999999999999999' AS DECIMAL(38,0)) + 1", "error: [NUMERIC_VALUE_OUT_OF_RANGE]"},
		{"'2' + 1", "3"},
		{"'2.5' * 2.0", "5.0"},
		{"NULL + 1", "NULL"},
		{"1 < 2.5", "true"},
		{"1 = '1'", "true"},
		{"'10' > 9", "true"},
		{"CAST('NaN' AS DOUBLE) = CAST('NaN' AS DOUBLE)", "true"},
		{"CAST('NaN' AS DOUBLE) > 1e300", "true"},
		{"'b' > 'a' AND NULL", "NULL"},
		{"false AND 1 / 0 = 1", "false"},
		{"true OR 1 / 0 = 1", "true"},
		{"NULL OR true", "true"},
		{"NOT NULL", "NULL"},
		{"1 IN (1, 2)", "true"},
		{"3 IN (1, NULL)", "NULL"},
		{"'a' IN ('b', 'a')", "true"},
		{"1.50 = 1.5", "true"},
		{"CASE WHEN 1 = 0 THEN 1 / 0 ELSE 2 END", "2.0"},
		{"DATE'2024-01-31' + INTERVAL '1' MONTH", "2024-02-29"},
		{"DATE'2024-01-31' + 1", "2024-02-01"},
		{"DATE'2024-03-01' - DATE'2024-02-01'", "INTERVAL '29 00:00:00' DAY TO SECOND"},
		{"TIMESTAMP'2024-01-01 10:00:00' - INTERVAL '90' MINUTE", "2024-01-01 08:30:00"},
		{"TIMESTAMP'2024-01-01 10:00:00' > '2024-01-01'", "true"},
		{"INTERVAL '10' SECOND * 3", "INTERVAL '0 00:00:30' DAY TO SECOND"},
		{"DATE'2024-01-01' = TIMESTAMP'2024-01-01 00:00:00'", "true"},
		{"true + 1", "error: + does not take (BOOLEAN, INT)"},
		{"5 <=> NULL", "false"},
	})
}

// TestCastTexts pins CAST through the binder.
func TestCastTexts(t *testing.T) {
	checkAll(t, []sqlCase{
		{"CAST('abc' AS INT)", "error: [CAST_INVALID_INPUT] the value 'abc' of type STRING cannot be cast to INT"},
		{"TRY_CAST('abc' AS INT)", "NULL"},
		{"CAST(300 AS TINYINT)", "error: [CAST_OVERFLOW]"},
		{"CAST(1e20 AS BIGINT)", "error: [CAST_OVERFLOW]"},
		{"CAST(-1.9 AS INT)", "-1"},
		{"CAST('1.9' AS INT)", "error: [CAST_INVALID_INPUT]"},
		{"CAST(' 12 ' AS INT)", "12"},
		{"CAST('2024-02-30' AS DATE)", "error: [CAST_INVALID_INPUT]"},
		{"CAST('2024-02-29T12:34:56.789Z' AS TIMESTAMP)", "2024-02-29 12:34:56.789"},
		{"CAST('2024-02-29 12:00:00+02:00' AS TIMESTAMP)", "2024-02-29 10:00:00"},
		{"CAST(1e10 AS STRING)", "1.0E10"},
		{"CAST(0.1e0 AS STRING)", "0.1"},
		{"CAST(1.005 AS DECIMAL(5,2))", "1.01"},
		{"CAST(-1.005 AS DECIMAL(5,2))", "-1.01"},
		{"CAST('yes' AS BOOLEAN)", "true"},
		{"CAST(TIMESTAMP'2024-01-01 00:00:00' AS BIGINT)", "1704067200"},
		{"CAST(1704067200 AS TIMESTAMP)", "2024-01-01 00:00:00"},
	})
}

type sqlCase struct{ sql, want string }

func checkAll(t *testing.T, cases []sqlCase) {
	t.Helper()
	for _, c := range cases {
		got := run(t, c.sql)
		if strings.HasPrefix(c.want, "error") && strings.HasPrefix(got, c.want) {
			continue
		}
		if got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.sql, got, c.want)
		}
	}
}
