// Package windowed measures windowed aggregation over Parquet files, as a batch
// and as a stream, through the embedded API.
package windowed
