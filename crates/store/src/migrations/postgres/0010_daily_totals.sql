-- What happened to payments on each day (UTC, counted from 1970-01-01), in each currency, by lane: kept by the consumer
-- daily_totals. Amounts are sums in two halves, because a day's sum may be beyond 64 bits.
create table daily_totals (
  day bigint not null,
  currency text not null,
  transition smallint not null,
  lane smallint not null,
  payments bigint not null,
  amount_upper bigint not null,
  amount_lower bigint not null,
  primary key (day, currency, transition, lane)
) with (fillfactor = 50);
