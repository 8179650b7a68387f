-- c0 append
-- A price that falls and rises again, for each auction and bidder.
SELECT * FROM bid MATCH_RECOGNIZE (
  PARTITION BY auction, bidder ORDER BY dateTime
  MEASURES START.dateTime AS start_time, LAST(DOWN.dateTime) AS bottom_time, LAST(DOWN.price) AS bottom, UP.price AS price
  ONE ROW PER MATCH AFTER MATCH SKIP TO LAST UP
  PATTERN (START DOWN+ UP)
  DEFINE
    DOWN AS DOWN.price < PREV(DOWN.price),
    UP AS UP.price > LAST(DOWN.price)
);

-- c1 append
-- The longest runs of bids of a bidder whose average stays below a bound.
SELECT * FROM bid MATCH_RECOGNIZE (
  PARTITION BY bidder ORDER BY dateTime
  MEASURES FIRST(A.dateTime) AS start_time, LAST(A.dateTime) AS end_time, AVG(A.price) AS mean, COUNT(A.*) AS bids
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A+ B)
  DEFINE A AS AVG(A.price) < 10000
);

-- c2 append
-- The same from every bid on.
SELECT * FROM bid MATCH_RECOGNIZE (
  PARTITION BY bidder ORDER BY dateTime
  MEASURES FIRST(A.dateTime) AS start_time, LAST(A.dateTime) AS end_time, AVG(A.price) AS mean, COUNT(A.*) AS bids
  ONE ROW PER MATCH AFTER MATCH SKIP TO NEXT ROW
  PATTERN (A+ B)
  DEFINE A AS AVG(A.price) < 10000
);

-- c3 append
-- A price that drops by 50 within 5 seconds.
SELECT * FROM bid MATCH_RECOGNIZE (
  PARTITION BY auction ORDER BY dateTime
  MEASURES A.dateTime AS drop_time, A.price - C.price AS diff
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B* C) WITHIN INTERVAL '5' SECOND
  DEFINE B AS B.price > A.price - 50, C AS C.price <= A.price - 50
);
