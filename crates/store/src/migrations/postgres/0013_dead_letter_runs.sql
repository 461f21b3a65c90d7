-- Runs over many dead letters: what is to be done with which letters, and how far it has come.
create table dead_letter_runs (
  id uuid primary key,
  action smallint not null,
  letters_a_second integer not null,
  begun_at bigint not null,
  begun_by text not null,
  reason text not null,
  letters integer not null,
  done integer not null,
  ended_at bigint,
  trouble text
);
create index dead_letter_runs_by_time on dead_letter_runs (begun_at, id);
-- The letters of a run in its order, and what became of each.
create table dead_letter_run_letters (
  run uuid not null,
  number integer not null,
  letter uuid not null,
  outcome smallint,
  handled bigint,
  failure text,
  primary key (run, number)
);
-- The one run that is under way, who works on it, and when that one was heard of last.
create table dead_letter_run_held (
  number smallint primary key check (number = 1),
  run uuid,
  holder uuid,
  beat_at bigint not null
);
insert into dead_letter_run_held (number, beat_at) values (1, 0);
