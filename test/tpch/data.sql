-- r draws a whole number below n for row i of a column: the same everywhere.
CREATE MACRO r(i, col, n) AS CAST(md5_number_lower(concat(i, '/', col)) % n AS BIGINT);

CREATE MACRO choose(i, col, list) AS list[1 + r(i, col, len(list))];

CREATE TABLE region AS SELECT CAST(i AS INTEGER) AS r_regionkey, ['AFRICA', 'AMERICA', 'ASIA', 'EUROPE', 'MIDDLE EAST'][1 + i] AS r_name, 'region' AS r_comment
FROM range(5) AS t(i);

CREATE TABLE nation AS SELECT CAST(i AS INTEGER) AS n_nationkey,
  ['ALGERIA', 'ARGENTINA', 'BRAZIL', 'CANADA', 'EGYPT', 'ETHIOPIA', 'FRANCE', 'GERMANY', 'INDIA', 'INDONESIA', 'IRAN', 'IRAQ', 'JAPAN', 'JORDAN',
   'KENYA', 'MOROCCO', 'MOZAMBIQUE', 'PERU', 'CHINA', 'ROMANIA', 'SAUDI ARABIA', 'VIETNAM', 'RUSSIA', 'UNITED KINGDOM', 'UNITED STATES'][1 + i] AS n_name,
  CAST([0, 1, 1, 1, 4, 0, 3, 3, 2, 2, 4, 4, 2, 4, 0, 0, 0, 1, 2, 3, 4, 2, 3, 3, 1][1 + i] AS INTEGER) AS n_regionkey, 'nation' AS n_comment
FROM range(25) AS t(i);

CREATE TABLE supplier AS SELECT i AS s_suppkey, format('Supplier#{:09d}', i) AS s_name, concat('street ', r(i, 'sa', 1000)) AS s_address,
  CAST(r(i, 'sn', 25) AS INTEGER) AS s_nationkey, concat(10 + r(i, 'sn', 25), '-', 100 + r(i, 'sp', 900)) AS s_phone,
  CAST(r(i, 'sb', 1100000) / 100.0 - 1000 AS DECIMAL(15, 2)) AS s_acctbal,
  CASE WHEN r(i, 'sc', 20) = 0 THEN 'slow Customer and old Complaints' ELSE 'fine' END AS s_comment
FROM range(1, 101) AS t(i);

CREATE TABLE part AS SELECT i AS p_partkey,
  concat(choose(i, 'p1', ['forest', 'green', 'almond', 'navy', 'plum', 'rose']), ' ', choose(i, 'p2', ['green', 'misty', 'pale', 'lime', 'tan', 'sky'])) AS p_name,
  concat('Manufacturer#', 1 + r(i, 'pm', 5)) AS p_mfgr, concat('Brand#', 1 + r(i, 'pm', 5), 1 + r(i, 'pb', 5)) AS p_brand,
  concat(choose(i, 'p3', ['STANDARD', 'SMALL', 'MEDIUM', 'LARGE', 'ECONOMY', 'PROMO']), ' ', choose(i, 'p4', ['ANODIZED', 'BURNISHED', 'PLATED', 'POLISHED', 'BRUSHED']), ' ',
    choose(i, 'p5', ['TIN', 'NICKEL', 'BRASS', 'STEEL', 'COPPER'])) AS p_type,
  CAST(1 + r(i, 'ps', 50) AS INTEGER) AS p_size,
  concat(choose(i, 'p6', ['SM', 'LG', 'MED', 'JUMBO', 'WRAP']), ' ', choose(i, 'p7', ['CASE', 'BOX', 'BAG', 'PACK'])) AS p_container,
  CAST(900 + i / 10.0 AS DECIMAL(15, 2)) AS p_retailprice, 'part' AS p_comment
FROM range(1, 2001) AS t(i);

CREATE TABLE partsupp AS SELECT i AS ps_partkey, 1 + (i + j * 25 + (i - 1) // 100) % 100 AS ps_suppkey,
  CAST(1 + r(i * 4 + j, 'pq', 9999) AS INTEGER) AS ps_availqty, CAST((100 + r(i * 4 + j, 'pc', 99900)) / 100.0 AS DECIMAL(15, 2)) AS ps_supplycost,
  'partsupp' AS ps_comment
FROM range(1, 2001) AS t(i), range(4) AS u(j);

CREATE TABLE customer AS SELECT i AS c_custkey, format('Customer#{:09d}', i) AS c_name, concat('road ', r(i, 'ca', 1000)) AS c_address,
  CAST(r(i, 'cn', 25) AS INTEGER) AS c_nationkey, concat(10 + r(i, 'cn', 25), '-', 100 + r(i, 'cp', 900)) AS c_phone,
  CAST(r(i, 'cb', 1100000) / 100.0 - 1000 AS DECIMAL(15, 2)) AS c_acctbal,
  choose(i, 'cm', ['AUTOMOBILE', 'BUILDING', 'FURNITURE', 'MACHINERY', 'HOUSEHOLD']) AS c_mktsegment, 'customer' AS c_comment
FROM range(1, 1501) AS t(i);

CREATE TABLE lineitem AS
WITH l AS (
  SELECT i AS o, j AS n, i * 8 + j AS k, DATE '1992-01-01' + CAST(r(i, 'od', 2405) AS INTEGER) AS day
  FROM range(1, 15001) AS t(i), range(1, 8) AS u(j) WHERE j <= 1 + r(i, 'lines', 7)),
m AS (
  SELECT *, 1 + r(k, 'lp', 2000) AS part, CAST(1 + r(k, 'lq', 50) AS DECIMAL(15, 2)) AS qty,
    CAST(day + CAST(1 + r(k, 'ls', 121) AS INTEGER) AS DATE) AS ship, CAST(day + CAST(30 + r(k, 'lc', 61) AS INTEGER) AS DATE) AS commits FROM l)
SELECT o AS l_orderkey, part AS l_partkey, 1 + (part + r(k, 'lj', 4) * 25 + (part - 1) // 100) % 100 AS l_suppkey, CAST(n AS INTEGER) AS l_linenumber,
  qty AS l_quantity, CAST(qty * (900 + part / 10.0) AS DECIMAL(15, 2)) AS l_extendedprice,
  CAST(r(k, 'ld', 11) / 100.0 AS DECIMAL(15, 2)) AS l_discount, CAST(r(k, 'lt', 9) / 100.0 AS DECIMAL(15, 2)) AS l_tax,
  CASE WHEN ship > DATE '1995-06-17' THEN 'N' ELSE choose(k, 'lr', ['R', 'A']) END AS l_returnflag,
  CASE WHEN ship > DATE '1995-06-17' THEN 'O' ELSE 'F' END AS l_linestatus,
  ship AS l_shipdate, commits AS l_commitdate, CAST(ship + CAST(1 + r(k, 'le', 30) AS INTEGER) AS DATE) AS l_receiptdate,
  choose(k, 'li', ['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN']) AS l_shipinstruct,
  choose(k, 'lm', ['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB', 'AIR REG']) AS l_shipmode, 'line' AS l_comment
FROM m;

CREATE TABLE orders AS SELECT i AS o_orderkey, 1 + 3 * r(i, 'oc', 500) + r(i, 'oe', 2) AS o_custkey,
  CASE WHEN i NOT IN (SELECT l_orderkey FROM lineitem WHERE l_linestatus = 'O') THEN 'F'
    WHEN i NOT IN (SELECT l_orderkey FROM lineitem WHERE l_linestatus = 'F') THEN 'O' ELSE 'P' END AS o_orderstatus,
  CAST((100000 + r(i, 'ot', 40000000)) / 100.0 AS DECIMAL(15, 2)) AS o_totalprice, CAST(DATE '1992-01-01' + CAST(r(i, 'od', 2405) AS INTEGER) AS DATE) AS o_orderdate,
  choose(i, 'op', ['1-URGENT', '2-HIGH', '3-MEDIUM', '4-NOT SPECIFIED', '5-LOW']) AS o_orderpriority, 'clerk' AS o_clerk, CAST(0 AS INTEGER) AS o_shippriority,
  CASE WHEN r(i, 'ox', 30) = 0 THEN 'some special and odd requests' ELSE 'order' END AS o_comment
FROM range(1, 15001) AS t(i);
