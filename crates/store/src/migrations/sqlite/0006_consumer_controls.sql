-- What people want of a consumer, in every process that runs it; no row: that it runs.
create table consumer_controls (
  consumer text primary key not null,
  is_paused integer not null,
  changed_at integer not null,
  changed_by text not null
) strict, without rowid;
