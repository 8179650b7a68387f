// Package render turns Arrow values into text: the form that Spark SQL shows
// (for tables and terminals), JSON values and CSV fields. Consoles, the command
// line and the sinks for text share it, so that a value looks the same wherever
// it is printed.
//
// Everything is append-style: AppendText, AppendJSON and AppendCSV append one
// value of a column to a byte slice and allocate nothing of their own for the
// types that streams are made of.
//
// What a Formatter decides is the time zone that an instant (a timestamp with a
// zone) is shown in. A timestamp without one is a wall clock and is shown as it is.
//
//	          text                      JSON                         CSV
//	NULL      NULL                      null                         (empty)
//	double    1.0  1.0E10  NaN          1.0  1.0E10  "NaN"           as text
//	time      2024-01-02 03:04:05.6     "2024-01-02T03:04:05.6Z"     as text
//	binary    [01 FF]                   "Af8=" (base64)              base64
//	array     [1, NULL]                 [1,null]                     JSON, quoted
//	map       {k -> v}                  {"k":"v"}                    JSON, quoted
//	struct    {1, x}                    {"a":1,"b":"x"}              JSON, quoted
//
// Example:
//
//	f, err := render.New("Europe/Berlin")
//	line = f.AppendText(line[:0], rec.Column(0), row)
package render
