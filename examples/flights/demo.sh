#!/usr/bin/env bash
# The main job on real events: run from the repository's root after `make build`, or by `make demo`.
set -euo pipefail
cd "$(dirname "$0")/../.."

echo "Flights from New York City in 2013: twelve monthly files as a stream, hourly windows, exactly once."
bin/sluice run examples/flights/delays.sql

echo
echo "The ten worst hours of the year:"
bin/sluice sql -f examples/flights/worst.sql

cat <<'END'

Where things are
  out/flights/hourly     the results, ordinary Parquet files
  ck/flights             the checkpoints: what was read, planned and committed

What to try next
  rm -rf out/flights ck/flights; bin/sluice run examples/flights/delays.sql
                         stop it half-way with Ctrl-C or kill -9 and run it again: nothing is lost or doubled
  bin/sluice checkpoint describe ck/flights/hourly
  bin/sluice explain -f examples/flights/delays.sql
  duckdb -c "SELECT * FROM 'out/flights/hourly/*.parquet' ORDER BY p95_delay DESC LIMIT 10"
END
