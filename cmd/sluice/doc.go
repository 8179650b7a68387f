// Command sluice is the engine's one binary. It turns flags into options of the
// embedded API and results into text; it decides nothing.
//
// Results go to standard output, progress and logs to standard error. Exit
// codes: 0 done, 1 a query failed, 2 the command line or the SQL is wrong.
package main
