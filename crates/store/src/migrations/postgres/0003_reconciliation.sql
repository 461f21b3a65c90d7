-- Each run of a reconciliation. Who works on it raises the beat; who sees it stand still long enough goes on from the
-- checkpoint.
create table reconciliation_runs (
  id uuid primary key,
  state smallint not null,
  holder uuid,
  beat bigint not null,
  started_at bigint not null,
  ended_at bigint,
  summary text not null,
  checkpoint text,
  sums bytea,
  failure text
);

-- What was found. A break that is found again is the same one until a run does not find it any more.
create table reconciliation_breaks (
  id uuid primary key,
  known_by uuid not null,
  kind smallint not null,
  area text not null,
  place text not null,
  expected text not null,
  found text not null,
  first_run uuid not null,
  first_seen_at bigint not null,
  last_run uuid not null,
  last_seen_at bigint not null,
  closed_run uuid,
  closed_at bigint
);
create unique index reconciliation_breaks_open on reconciliation_breaks (known_by) where closed_at is null;
create index reconciliation_breaks_closed on reconciliation_breaks (closed_at) where closed_at is not null;
