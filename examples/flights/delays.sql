-- Delays of all flights that left New York City in 2013, hour by hour.
--
-- Twelve monthly Parquet files arrive as a stream, one file a trigger. Run it:
--
--     sluice run examples/flights/delays.sql
--
-- Stop it half-way (Ctrl-C, or kill -9) and run it again: it goes on where it
-- was, and every result is in out/flights exactly once.

-- A directory or a pattern is a stream of files; one file is a table.
CREATE TABLE flights (
  flight_id  BIGINT,
  event_time TIMESTAMP_NTZ,          -- scheduled departure + delay, local time
  carrier    STRING,
  origin     STRING,
  dest       STRING,
  dep_delay  INT,                    -- minutes, NULL if cancelled
  cancelled  BOOLEAN,
  WATERMARK FOR event_time AS event_time - INTERVAL '1' HOUR
) WITH (
  'connector' = 'filesystem',
  'path' = 'examples/flights/data/flights-2013-*.parquet',
  'format' = 'parquet',
  'max-files-per-trigger' = '1'
);

CREATE TABLE airports (faa STRING, name STRING)
WITH ('connector' = 'filesystem', 'path' = 'examples/flights/data/airports.csv', 'format' = 'csv');

CREATE TABLE weather (origin STRING, hour_start TIMESTAMP_NTZ, wind_speed DOUBLE, visib DOUBLE, precip DOUBLE)
WITH ('connector' = 'filesystem', 'path' = 'examples/flights/data/weather.csv', 'format' = 'csv');

-- Every hour at every airport, with the weather of that hour.
CREATE TABLE hourly (
  window_start TIMESTAMP_NTZ, window_end TIMESTAMP_NTZ, origin STRING, airport STRING,
  flights BIGINT, avg_delay DOUBLE, p95_delay DOUBLE, cancelled_share DOUBLE,
  wind_speed DOUBLE, visib DOUBLE, precip DOUBLE
) WITH ('connector' = 'filesystem', 'path' = 'out/flights/hourly', 'format' = 'parquet');

CREATE STREAMING QUERY hourly_delays
  TRIGGER AVAILABLE NOW OUTPUT MODE append CHECKPOINT 'ck/flights/hourly' AS
INSERT INTO hourly
SELECT h.window_start, h.window_end, h.origin, a.name, h.flights,
       h.avg_delay, h.p95_delay, h.cancelled_share, w.wind_speed, w.visib, w.precip
FROM (
  SELECT window_start, window_end, origin,
         count(*) AS flights,
         avg(dep_delay) AS avg_delay,
         percentile(dep_delay, 0.95) AS p95_delay,
         avg(CASE WHEN cancelled THEN 1.0D ELSE 0.0D END) AS cancelled_share
  FROM TUMBLE(TABLE flights, DESCRIPTOR(event_time), INTERVAL '1' HOUR)
  GROUP BY window_start, window_end, origin
) h
JOIN airports a ON h.origin = a.faa
LEFT JOIN weather w ON h.origin = w.origin AND h.window_start = w.hour_start;

-- The last three hours, each hour: what a controller wants to see on a screen.
CREATE TABLE alerts (window_start TIMESTAMP_NTZ, origin STRING, flights BIGINT, avg_delay DOUBLE)
WITH ('connector' = 'console');

CREATE STREAMING QUERY rolling_alerts
  TRIGGER AVAILABLE NOW OUTPUT MODE append CHECKPOINT 'ck/flights/rolling' AS
INSERT INTO alerts
SELECT window_start, origin, count(*) AS flights, round(avg(dep_delay), 1) AS avg_delay
FROM HOP(TABLE flights, DESCRIPTOR(event_time), INTERVAL '1' HOUR, INTERVAL '3' HOUR)
GROUP BY window_start, window_end, origin
HAVING count(*) >= 20 AND avg(dep_delay) > 150;
