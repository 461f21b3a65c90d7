-- Each run of a reconciliation. Who works on it raises the beat; who sees it stand still long enough goes on from the
-- checkpoint.
create table reconciliation_runs (
  id blob primary key not null,
  state integer not null,
  holder blob,
  beat integer not null,
  started_at integer not null,
  ended_at integer,
  summary text not null,
  checkpoint text,
  sums blob,
  failure text
) strict;

-- What was found. A break that is found again is the same one until a run does not find it any more.
create table reconciliation_breaks (
  id blob primary key not null,
  known_by blob not null,
  kind integer not null,
  area text not null,
  place text not null,
  expected text not null,
  found text not null,
  first_run blob not null,
  first_seen_at integer not null,
  last_run blob not null,
  last_seen_at integer not null,
  closed_run blob,
  closed_at integer
) strict;
create unique index reconciliation_breaks_open on reconciliation_breaks (known_by) where closed_at is null;
create index reconciliation_breaks_closed on reconciliation_breaks (closed_at) where closed_at is not null;
