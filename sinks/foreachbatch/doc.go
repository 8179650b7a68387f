// Package foreachbatch hands each committed batch to a function of the program,
// as Spark's foreachBatch does.
//
// The function is called at Commit, one batch after the other, with all rows of
// the batch. When it returns an error the batch is handed over again, and after a
// crash of the process the last batch may be too: a function with effects outside
// has to remember the batch ID together with them, which makes them exactly-once.
//
// Example:
//
//	sink, writers := foreachbatch.New(hub, spec, func(ctx context.Context, b foreachbatch.Batch) error {
//		return upsert(ctx, b.ID, b.Records)
//	})
package foreachbatch
