-- What happened to payments on each day (UTC, counted from 1970-01-01), in each currency, by lane: kept by the consumer
-- daily_totals. Amounts are sums in two halves, because a day's sum may be beyond 64 bits.
create table daily_totals (
  day integer not null,
  currency text not null,
  transition integer not null,
  lane integer not null,
  payments integer not null,
  amount_upper integer not null,
  amount_lower integer not null,
  primary key (day, currency, transition, lane)
) strict, without rowid;
