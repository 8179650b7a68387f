-- q0 append
SELECT auction, bidder, price, dateTime, extra FROM bid;

-- q1 append
SELECT auction, bidder, CAST(0.908 * price AS DECIMAL(23, 3)) AS price, dateTime, extra FROM bid;

-- q2 append
SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0;

-- q3 append
SELECT p.name, p.city, p.state, a.id
FROM auction AS a INNER JOIN person AS p ON a.seller = p.id
WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA');

-- q5 append
SELECT n.auction, n.num, n.w.start AS window_start, n.w.end AS window_end
FROM (SELECT auction, w, COUNT(*) AS num FROM (SELECT auction, window(dateTime, '10 seconds', '2 seconds') AS w FROM bid) GROUP BY auction, w) AS n
JOIN (
  SELECT MAX(num) AS most, w
  FROM (SELECT auction, w, COUNT(*) AS num FROM (SELECT auction, window(dateTime, '10 seconds', '2 seconds') AS w FROM bid) GROUP BY auction, w)
  GROUP BY w
) AS m
ON n.w = m.w AND n.num >= m.most;

-- q7 append
SELECT b.auction, b.price, b.bidder, b.dateTime, b.extra
FROM (SELECT auction, price, bidder, dateTime + INTERVAL '0' SECOND AS dateTime, extra, window(dateTime, '10 seconds') AS w FROM bid) AS b
JOIN (SELECT MAX(price) AS most, w FROM (SELECT price, window(dateTime, '10 seconds') AS w FROM bid) GROUP BY w) AS m
ON b.price = m.most AND b.w = m.w;

-- q8 append
SELECT p.id, p.name, p.w.start AS window_start
FROM (SELECT id, name, w FROM (SELECT id, name, window(dateTime, '10 seconds') AS w FROM person) GROUP BY id, name, w) AS p
JOIN (SELECT seller, w FROM (SELECT seller, window(dateTime, '10 seconds') AS w FROM auction) GROUP BY seller, w) AS a
ON p.id = a.seller AND p.w = a.w;

-- q10 append partitioned
SELECT auction, bidder, price, dateTime, extra, DATE_FORMAT(dateTime, 'yyyy-MM-dd') AS dt, DATE_FORMAT(dateTime, 'HH_mm') AS hm FROM bid;

-- q11 append
SELECT bidder, COUNT(*) AS bid_count, w.start AS window_start, w.end AS window_end
FROM (SELECT bidder, session_window(dateTime, '10 seconds') AS w FROM bid)
GROUP BY bidder, w;

-- q12 update
SELECT bidder, COUNT(*) AS bid_count, w.start AS window_start, w.end AS window_end
FROM (SELECT bidder, window(current_timestamp(), '10 seconds') AS w FROM bid)
GROUP BY bidder, w;

-- q13 append
SELECT b.auction, b.bidder, b.price, b.dateTime, s.value
FROM bid AS b JOIN side_input AS s ON MOD(b.auction, 10000) = s.key;

-- q14 append
SELECT auction, bidder, 0.908 * price AS price,
  CASE WHEN HOUR(dateTime) >= 8 AND HOUR(dateTime) <= 18 THEN 'dayTime'
       WHEN HOUR(dateTime) <= 6 OR HOUR(dateTime) >= 20 THEN 'nightTime'
       ELSE 'otherTime' END AS bidTimeType,
  dateTime, extra, LENGTH(extra) - LENGTH(REPLACE(extra, 'c', '')) AS c_counts
FROM bid
WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000;

-- q17 update
SELECT auction, DATE_FORMAT(dateTime, 'yyyy-MM-dd') AS day,
  COUNT(*) AS total_bids,
  COUNT(*) FILTER (WHERE price < 10000) AS rank1_bids,
  COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
  COUNT(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
  MIN(price) AS min_price, MAX(price) AS max_price, AVG(price) AS avg_price, SUM(price) AS sum_price
FROM bid
GROUP BY auction, DATE_FORMAT(dateTime, 'yyyy-MM-dd');

-- q20 append
SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.dateTime, b.extra,
  a.itemName, a.description, a.initialBid, a.reserve, a.dateTime AS auction_dateTime, a.expires, a.seller, a.category, a.extra AS auction_extra
FROM bid AS b INNER JOIN auction AS a ON b.auction = a.id
WHERE a.category = 10;

-- q21 append
SELECT auction, bidder, price, channel, channel_id
FROM (
  SELECT auction, bidder, price, channel,
    CASE WHEN LOWER(channel) = 'apple' THEN '0'
         WHEN LOWER(channel) = 'google' THEN '1'
         WHEN LOWER(channel) = 'facebook' THEN '2'
         WHEN LOWER(channel) = 'baidu' THEN '3'
         ELSE NULLIF(REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2), '')
    END AS channel_id
  FROM bid
) AS c
WHERE channel_id IS NOT NULL;

-- q22 append
SELECT auction, bidder, price, channel,
  SPLIT_PART(url, '/', 4) AS dir1, SPLIT_PART(url, '/', 5) AS dir2, SPLIT_PART(url, '/', 6) AS dir3
FROM bid;

-- q23 append
SELECT b.auction, b.bidder, b.price, b.dateTime, p.name, p.city, p.state, a.id, a.itemName, a.initialBid
FROM bid AS b
JOIN person AS p ON b.bidder = p.id
JOIN auction AS a ON a.seller = b.bidder;

-- q4 update
SELECT q.category, AVG(q.final) AS final
FROM (
  SELECT a.id, a.category, MAX(b.price) AS final
  FROM auction AS a, bid AS b
  WHERE a.id = b.auction AND b.dateTime BETWEEN a.dateTime AND a.expires
  GROUP BY a.id, a.category
) AS q
GROUP BY q.category;

-- q15 update
SELECT DATE_FORMAT(dateTime, 'yyyy-MM-dd') AS day, COUNT(*) AS total_bids, COUNT(DISTINCT bidder) AS total_bidders
FROM bid
GROUP BY DATE_FORMAT(dateTime, 'yyyy-MM-dd');

-- q18 append
SELECT auction, bidder, price, channel, url, dateTime, extra
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY dateTime DESC, price DESC, extra) AS rank_number
  FROM bid
) AS r
WHERE rank_number <= 1;
