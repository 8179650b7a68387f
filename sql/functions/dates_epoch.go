package functions

import (
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/cast"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// scaled makes an instant of a count of units since 1970.
func scaled(unit int64) func(n int64) (int64, error) {
	return func(n int64) (int64, error) {
		if n > math.MaxInt64/unit || n < math.MinInt64/unit {
			return 0, errTimeRange
		}
		return n * unit, nil
	}
}

func epochs() []*Entry {
	return []*Entry{
		fn("timestamp_seconds", "The timestamp some seconds after 1970.", "timestamp_seconds(1704067200)", "2024-01-01 00:00:00",
			sig("bigint -> timestamp", k1(scaled(civil.Second))),
			sig("double -> timestamp", k1(func(f float64) (int64, error) {
				if f = math.Round(f * 1e6); !(f >= -(1<<63) && f < 1<<63) {
					return 0, errTimeRange
				}
				return int64(f), nil
			}))),
		fn("timestamp_millis|to_timestamp_millis", "The timestamp some milliseconds after 1970.", "timestamp_millis(1704067200123)", "2024-01-01 00:00:00.123", sig("bigint -> timestamp", k1(scaled(1000)))),
		fn("timestamp_micros", "The timestamp some microseconds after 1970.", "timestamp_micros(1704067200000001)", "2024-01-01 00:00:00.000001", sig("bigint -> timestamp", k1(scaled(1)))),
		fn("unix_seconds", "Seconds from 1970 to a timestamp.", "unix_seconds(TIMESTAMP'2024-01-01 00:00:01')", "1704067201", instantSigs("bigint", p1(func(us int64) int64 { return civil.FloorDiv(us, civil.Second) }))...).tight(),
		fn("unix_millis", "Milliseconds from 1970 to a timestamp.", "unix_millis(TIMESTAMP'2024-01-01 00:00:01')", "1704067201000", instantSigs("bigint", p1(func(us int64) int64 { return civil.FloorDiv(us, 1000) }))...).tight(),
		fn("unix_micros", "Microseconds from 1970 to a timestamp.", "unix_micros(TIMESTAMP'2024-01-01 00:00:01')", "1704067201000000", instantSigs("bigint", p1(func(us int64) int64 { return us }))...).tight(),
		fn("unix_date", "Days from 1970 to a date.", "unix_date(DATE'2024-01-01')", "19723", sig("date -> int", p1(func(d int32) int32 { return d }))).tight(),
		fn("date_from_unix_date", "The date some days after 1970-01-01.", "date_from_unix_date(1)", "1970-01-02", sig("int -> date", p1(func(d int32) int32 { return d }))).tight(),
		fn("unix_timestamp|to_unix_timestamp", "Seconds from 1970 to now, to a timestamp, or to a text read with a pattern.", "unix_timestamp('2024-01-01 00:00:00')", "1704067200",
			sig(" -> bigint", constant(func(kc *expr.KernelContext) any { return civil.FloorDiv(kc.Now, civil.Second) })),
			sig("timestamp -> bigint", p1(func(us int64) int64 { return civil.FloorDiv(us, civil.Second) })),
			sig("timestamp_ntz -> bigint", p1(func(us int64) int64 { return civil.FloorDiv(us, civil.Second) })),
			sig("string, string = 'yyyy-MM-dd HH:mm:ss' -> bigint", parseWith(func(us int64) int64 { return civil.FloorDiv(us, civil.Second) }))).stable(),
		fn("from_unixtime", "The text of seconds since 1970 in the session's zone.", "from_unixtime(0, 'yyyy-MM-dd HH:mm')", "1970-01-01 00:00",
			sig("bigint, string = 'yyyy-MM-dd HH:mm:ss' -> string", formatWith(func(s int64) int64 { return s * civil.Second }))),
		fn("date_format", "A timestamp written with a pattern: y M d H h m s S a E D Q z Z X and 'text'.", "date_format(TIMESTAMP'2024-02-29 15:04:05', 'EEE d MMM yyyy, h:mm a')", "Thu 29 Feb 2024, 3:04 PM",
			sig("timestamp, string -> string", formatWith(func(us int64) int64 { return us })),
			sig("time, string -> string", inUTC(formatWith(func(us int64) int64 { return us })))),
		fn("to_timestamp|to_timestamp_ltz", "The timestamp that a text stands for, read with a pattern if one is given.", "to_timestamp('29.02.2024 12:30', 'dd.MM.yyyy HH:mm')", "2024-02-29 12:30:00",
			sig("timestamp -> timestamp", expr.Kernel(passOn)),
			sig("string -> timestamp", castKernel(false)), sig("string, string -> timestamp", parseWith(func(us int64) int64 { return us }))),
		fn("try_to_timestamp", "Like to_timestamp, but NULL where the text cannot be read.", "try_to_timestamp('x')", "NULL", sig("string -> timestamp", castKernel(true)),
			sig("string, string -> timestamp", tryKernel(parseWith(func(us int64) int64 { return us })))),
		fn("to_timestamp_ntz", "The timestamp without zone that a text stands for, read with a pattern if one is given.", "to_timestamp_ntz('2024-02-29 12:30:00')", "2024-02-29 12:30:00",
			sig("timestamp_ntz -> timestamp_ntz", expr.Kernel(passOn)), sig("string -> timestamp_ntz", castKernel(false)),
			sig("string, string -> timestamp_ntz", vec.Map2(func(*expr.KernelContext) (vec.F2[string, string, int64], error) {
				var c patternCache
				return func(s, p string) (int64, error) {
					f, err := c.get(p)
					if err != nil {
						return 0, err
					}
					local, _, err := f.parse(s)
					return local, err
				}, nil
			}))),
		fn("to_date|date", "The date that a text stands for, read with a pattern if one is given, or a timestamp's.", "to_date('2024/02/29', 'yyyy/MM/dd')", "2024-02-29",
			sig("date -> date", expr.Kernel(passOn)), sig("string -> date", castKernel(false)), sig("string, string -> date", patternDate)),
		fn("from_utc_timestamp", "A UTC time shown as the wall clock of a zone.", "from_utc_timestamp('2024-07-01 00:00:00', 'Asia/Seoul')", "2024-07-01 09:00:00",
			sig("timestamp, string -> timestamp", k2(func(us int64, zone string) (int64, error) {
				z, err := civil.Load(zone)
				if err != nil {
					return 0, batch.UserErrorf("%w", err)
				}
				return z.Local(us), nil
			}))),
		fn("to_utc_timestamp", "The wall clock of a zone as a UTC time.", "to_utc_timestamp('2024-07-01 09:00:00', 'Asia/Seoul')", "2024-07-01 00:00:00",
			sig("timestamp, string -> timestamp", k2(func(us int64, zone string) (int64, error) {
				z, err := civil.Load(zone)
				if err != nil {
					return 0, batch.UserErrorf("%w", err)
				}
				return z.Instant(us), nil
			}))),
	}
}

// instantSigs are the signatures of a number read off a timestamp; one without
// zone counts as UTC.
func instantSigs(result string, k expr.Kernel) []Sig {
	return []Sig{sig("timestamp -> "+result, k), sig("timestamp_ntz -> "+result, k)}
}

// inUTC runs a kernel for wall clocks, which no zone moves.
func inUTC(k expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		c := *kc
		c.Zone = "UTC"
		return k(&c, args, n)
	}
}

// castKernel is a cast as a function.
func castKernel(try bool) func(t *Types) (expr.Kernel, error) {
	return func(t *Types) (expr.Kernel, error) { return cast.Kernel(t.Args[0], t.Result, try) }
}

// patternCache keeps the last pattern compiled.
type patternCache struct {
	text string
	f    *timePattern
}

func (c *patternCache) get(p string) (*timePattern, error) {
	if c.f != nil && c.text == p {
		return c.f, nil
	}
	f, err := compilePattern(p)
	if err != nil {
		return nil, err
	}
	c.text, c.f = strings.Clone(p), f
	return f, nil
}

// formatWith writes what toMicros makes an instant of.
func formatWith(toMicros func(int64) int64) expr.Kernel {
	each := vec.Str2(func(kc *expr.KernelContext) (vec.S2[int64, string], error) {
		z, err := civil.Load(kc.Zone)
		s := &stamper{zone: z}
		return func(dst []byte, v int64, p string) ([]byte, error) { return s.append(dst, toMicros(v), p) }, err
	})
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		if out, err := sameStamp(kc, args, n, toMicros); out != nil || err != nil {
			return out, err
		}
		return each(kc, args, n)
	}
}

// parseWith reads texts as instants, of which from makes the result.
func parseWith(from func(us int64) int64) expr.Kernel {
	return vec.Map2(func(kc *expr.KernelContext) (vec.F2[string, string, int64], error) {
		z, err := civil.Load(kc.Zone)
		var c patternCache
		return func(s, p string) (int64, error) {
			f, err := c.get(p)
			if err != nil {
				return 0, err
			}
			local, zone, err := f.parse(s)
			if err != nil {
				return 0, err
			}
			if zone == nil {
				zone = z
			}
			return from(zone.Instant(local)), nil
		}, err
	})
}
