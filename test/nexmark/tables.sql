CREATE TABLE person (
  id BIGINT, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING,
  dateTime TIMESTAMP, extra STRING, WATERMARK FOR dateTime AS dateTime - INTERVAL '4' SECOND
) WITH ('connector'='nexmark', 'event-type'='person', $options);
CREATE TABLE auction (
  id BIGINT, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT,
  dateTime TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra STRING,
  WATERMARK FOR dateTime AS dateTime - INTERVAL '4' SECOND
) WITH ('connector'='nexmark', 'event-type'='auction', $options);
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING,
  dateTime TIMESTAMP, extra STRING, WATERMARK FOR dateTime AS dateTime - INTERVAL '4' SECOND
) WITH ('connector'='nexmark', 'event-type'='bid', $options);
CREATE VIEW side_input AS SELECT id AS key, CAST(id AS STRING) AS value FROM range(10000);
