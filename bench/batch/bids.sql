-- b1
SELECT count(*) AS n, sum(price) AS s, avg(price) AS a
FROM bid;
-- b2
SELECT channel, count(*) AS c
FROM bid
GROUP BY channel
ORDER BY c DESC, channel
LIMIT 10;
-- b3
SELECT auction, count(*) AS c, avg(price) AS a
FROM bid
GROUP BY auction
ORDER BY c DESC, auction
LIMIT 10;
-- b4
SELECT bidder, auction, count(*) AS c
FROM bid
GROUP BY bidder, auction
ORDER BY c DESC, bidder, auction
LIMIT 10;
-- b5
SELECT count(DISTINCT bidder) AS c
FROM bid;
-- b6
SELECT url, count(*) AS c
FROM bid
WHERE url LIKE '%9%'
GROUP BY url
ORDER BY c DESC, url
LIMIT 10;
-- b7
SELECT date_trunc('minute', date_time) AS m, count(*) AS c, max(price) AS p
FROM bid
GROUP BY date_trunc('minute', date_time)
ORDER BY m;
-- b8
SELECT extra, count(*) AS c
FROM bid
GROUP BY extra
ORDER BY c DESC, extra
LIMIT 10;
