// Command sessions cuts the clicks of each user into visits with Go code that keeps
// state: a visit ends when nothing has come for ten minutes of event time, or at once
// with a click on "logout". Clicks are CSV files in the folder in, visits Parquet files
// in the folder out; the program ends when all files are processed, and goes on where
// it was when it is started again, also after it was killed.
//
//	go run ./examples/sessions -dir /tmp/clicks
package main
