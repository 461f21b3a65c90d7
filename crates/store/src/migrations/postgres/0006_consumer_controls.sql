-- What people want of a consumer, in every process that runs it; no row: that it runs.
create table consumer_controls (
  consumer text primary key,
  is_paused smallint not null,
  changed_at bigint not null,
  changed_by text not null
);
