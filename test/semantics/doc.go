// Package semantics holds what streaming queries mean, batch by batch: files of
// cases in testdata, each a query, the rows that arrive before each micro-batch and,
// for every output mode that the query may have, the watermark in force, the late
// rows, the rows of state left and the rows that come out.
//
//	tables                              declarations for the cases below; $DIR is the run's folder
//	CREATE TABLE ev (..) WITH ('connector'='filesystem', 'path'='$DIR/ev', 'format'='csv')
//
//	case tumble/end-exclusive keys=(s)  a query; keys are those of its result, for the mode update
//	SELECT ..
//	----
//	append, update, complete, changelog the modes that it may have, and why not the others
//
//	batch                               rows of CSV by table; @5 is five seconds after 1970
//	ev: @1,a,1  @9,b,2
//	----
//	append 0 wm=- state=2:              mode, batch, watermark, late=, state=, rows
//	append 1~ wm=@10 state=0: (@0 3)    ~ is a batch without data
//
// What is expected was written from the documented rules (docs/ARCHITECTURE.md,
// Spark's guide): after -rewrite every line of the difference is to be argued for.
// Each case runs with 1, 3 and 7 partitions, each left alone and restarted with
// another number before every batch; all runs must print the same. Besides what is
// printed, as long as no row was late the output accumulated so far must equal the
// answer of the same query over the same files as a batch (append: be part of it),
// and nothing may be taken back that was not put out.
package semantics
