// Package fuzz holds Sluice against DuckDB, and against itself, with random
// queries over random tables. Everything follows from a seed: `make fuzz-sql
// SEED=7 QUERIES=10000` and `make fuzz-stream SEED=7 QUERIES=1000`; a short run of
// each is part of `make test`. A report has the seed, both texts of the query, made
// as small as it still fails, and the first rows of its tables.
//
// A query is a tree whose parts write themselves in either dialect (query.go,
// expr.go). The generator (genquery.go, genexpr.go) draws for each group of tables
// which features it does without, so that groups differ in what they stress. It
// tracks how large a number can get, so that nothing overflows and an error in one
// engine alone is a fault.
//
// What is checked:
//
//	F1  a query gives in Sluice the rows that it gives in DuckDB;
//	F2  the same rows whatever the parallelism, the number and format of files, the
//	    memory limit and the rewriting rules (run.go);
//	F3  a condition, its negation and its being NULL cut the rows into three parts
//	    that make the whole;
//	F4  the result that a streaming query has accumulated after each file is the
//	    batch answer over the files so far, in every output mode that it can have,
//	    with a restart at another parallelism in between; append with a watermark
//	    puts out only rows of that answer, and every window that is closed (stream.go);
//	    The tables may be changelogs, whose rows are added, updated and deleted, by whole
//	    rows or by key (changelog.go); the batch answer after each file is held against
//	    DuckDB over the rows that are left. Parts of a query may be views;
//	F5  with rows that come late, the same over the rows that do not (late_test.go).
//
// Differences that are meant, and how the texts get round them:
//
//	whole numbers: `/` gives DOUBLE in both, the whole quotient is `div` and `//`;
//	  by zero it is an error in Sluice and NULL in DuckDB, so divisors are NULLIF(x, 0);
//	  the quotient is BIGINT in Sluice, so DuckDB's is made of BIGINT
//	literals: DuckDB's take the type of the other operand, so they are cast
//	order of NULLs: always spelt NULLS FIRST or LAST
//	DOUBLE: columns hold eighths, whose sums do not depend on order; other sums and
//	  averages are compared to nine digits and never read by another expression;
//	  -0.0 equals 0.0; casts to STRING differ in form and are not made
//	DECIMAL: trailing zeros do not count; casts to whole numbers cut in Sluice and
//	  round in DuckDB, so DuckDB's get TRUNC, as do those of DOUBLE
//	sums of whole numbers: BIGINT, in DuckDB HUGEINT, cast back
//	count_if without rows: 0, in DuckDB NULL
//	functions: see the table in functions.go
//	USING: a column of that name is not used beside a further join, where Sluice (as
//	  Spark) calls it ambiguous and DuckDB does not
//	TUMBLE, HOP: arithmetic over time_bucket; rows without a time are in no window
//	DECIMAL products: DuckDB computes those of 18 digits in 64 bits and refuses what
//	  does not fit, so factors are short
//	text to DATE, DOUBLE and INT: a year alone is its first day, 12D is 12.0 as in
//	  Java, and 57.00 is no INT, in DuckDB all three are otherwise; texts are not
//	  cast to these
//	try_add and others: a TRY_CAST of HUGEINT
//	DISTINCT ON: DuckDB refuses constants
//	window functions: where the order of rows counts it is of all columns
//	levenshtein: counts characters, in DuckDB bytes, and is left out
//
// F1 is meant as a second opinion: where the two differ, Spark's documented meaning
// decides.
package fuzz
