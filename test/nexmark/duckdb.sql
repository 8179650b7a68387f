-- q5
WITH n AS (
  SELECT auction, COUNT(*) AS num, w AS window_start, w + INTERVAL 10 SECOND AS window_end
  FROM bid, UNNEST([0, 2, 4, 6, 8]) AS u(back), LATERAL (SELECT time_bucket(INTERVAL 2 SECOND, dateTime) - back * INTERVAL 1 SECOND AS w) AS s
  GROUP BY auction, w
)
SELECT * FROM n WHERE num = (SELECT MAX(num) FROM n AS m WHERE m.window_start = n.window_start);

-- q7
SELECT auction, price, bidder, dateTime, extra FROM bid
QUALIFY price = MAX(price) OVER (PARTITION BY time_bucket(INTERVAL 10 SECOND, dateTime));

-- q8
SELECT DISTINCT p.id, p.name, time_bucket(INTERVAL 10 SECOND, p.dateTime)
FROM person AS p JOIN auction AS a ON p.id = a.seller AND time_bucket(INTERVAL 10 SECOND, p.dateTime) = time_bucket(INTERVAL 10 SECOND, a.dateTime);

-- q10
SELECT auction, bidder, price, dateTime, extra, strftime(dateTime, '%Y-%m-%d'), strftime(dateTime, '%H:%M') FROM bid;

-- q12
SELECT bidder, COUNT(*) FROM bid GROUP BY bidder;

-- q11
-- Bids of one instant are one row first: ordered by time alone they would tie.
SELECT bidder, CAST(SUM(n) AS BIGINT), MIN(dateTime), MAX(dateTime) + INTERVAL 10 SECOND
FROM (
  SELECT bidder, dateTime, n, SUM(fresh) OVER (PARTITION BY bidder ORDER BY dateTime ROWS UNBOUNDED PRECEDING) AS session
  FROM (
    SELECT bidder, dateTime, n,
      CASE WHEN dateTime <= LAG(dateTime) OVER (PARTITION BY bidder ORDER BY dateTime) + INTERVAL 10 SECOND THEN 0 ELSE 1 END AS fresh
    FROM (SELECT bidder, dateTime, COUNT(*) AS n FROM bid GROUP BY bidder, dateTime) AS b
  ) AS f
) AS s
GROUP BY bidder, session;

-- q15
SELECT strftime(dateTime, '%Y-%m-%d') AS day, COUNT(*), COUNT(*) FILTER (WHERE price < 10000),
  COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000),
  COUNT(*) FILTER (WHERE price >= 1000000),
  COUNT(DISTINCT bidder),
  COUNT(DISTINCT bidder) FILTER (WHERE price < 10000),
  COUNT(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000),
  COUNT(DISTINCT bidder) FILTER (WHERE price >= 1000000),
  COUNT(DISTINCT auction),
  COUNT(DISTINCT auction) FILTER (WHERE price < 10000),
  COUNT(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000),
  COUNT(DISTINCT auction) FILTER (WHERE price >= 1000000)
FROM bid GROUP BY ALL;

-- q16
SELECT channel, strftime(dateTime, '%Y-%m-%d') AS day, MAX(strftime(dateTime, '%H:%M')), COUNT(*), COUNT(*) FILTER (WHERE price < 10000),
  COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000),
  COUNT(*) FILTER (WHERE price >= 1000000),
  COUNT(DISTINCT bidder),
  COUNT(DISTINCT bidder) FILTER (WHERE price < 10000),
  COUNT(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000),
  COUNT(DISTINCT bidder) FILTER (WHERE price >= 1000000),
  COUNT(DISTINCT auction),
  COUNT(DISTINCT auction) FILTER (WHERE price < 10000),
  COUNT(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000),
  COUNT(DISTINCT auction) FILTER (WHERE price >= 1000000)
FROM bid GROUP BY ALL;

-- q17
SELECT auction, strftime(dateTime, '%Y-%m-%d') AS day, COUNT(*),
  COUNT(*) FILTER (WHERE price < 10000), COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000), COUNT(*) FILTER (WHERE price >= 1000000),
  MIN(price), MAX(price), AVG(price), SUM(price)
FROM bid GROUP BY ALL;
