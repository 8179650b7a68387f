// Package parquet reads Parquet files into Arrow batches and writes them.
//
// Columns that are not nested are decoded here, from the bytes of their pages
// straight into Arrow buffers: levels to a bitmap, indexes by words, a dictionary
// converted once for each column chunk to the wanted type, strings as views that
// are copied once when a batch is handed out. Nested columns go through
// arrow-go's typed column chunk readers and are put together from their levels.
// The footer is arrow-go's. Everything runs in the caller's goroutine. Figures of
// the readers that were compared are in docs/DESIGN-NOTES.md.
//
// A reader may be told what is wanted of the rows (formats.Sifter). Row groups
// are then skipped by bounds and Bloom filters, ranges of rows by the page index,
// and single rows by asking the conditions of the columns that they look at
// before any other column is decoded: of a dictionary's values once, else of the
// rows. Pages of which nothing is wanted are not unpacked, and many of them in a row are
// jumped over by the index of pages. Checksums of pages are verified where a file has
// them; those of nested columns are not, which the library reads.
//
// Invariants:
//
//	Q1  Damaged bytes give an error that names file, row group and column,
//	    never a panic: every entry recovers.
//	Q2  Counts and sizes in footer and page headers are checked against the
//	    file's size before anything is allocated for them.
//	Q3  What is left out could not pass: bounds, indexes and filters that are missing,
//	    damaged, of another type or order, or silent about NaN leave nothing out.
//	Q4  Batches never cross a row group, and a row group is read in order.
//
// Example:
//
//	fl, err := parquet.Open(file)
//	rd, err := fl.NewReader(formats.Piece{From: 0, To: 1}, spec)
//	rec, err := rd.Next(ctx)
package parquet
