-- The ten worst hours of the year, from what delays.sql wrote.
CREATE TABLE hourly WITH ('connector' = 'filesystem', 'path' = 'out/flights/hourly', 'format' = 'parquet');

SELECT window_start, origin, flights,
       round(avg_delay, 1) AS avg_delay, round(p95_delay, 0) AS p95_delay,
       round(100 * cancelled_share, 0) AS cancelled_pct, round(wind_speed, 1) AS wind_speed, visib
FROM hourly
WHERE flights >= 10
ORDER BY avg_delay DESC
LIMIT 10;
