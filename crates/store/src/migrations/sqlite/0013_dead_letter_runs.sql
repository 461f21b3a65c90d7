-- Runs over many dead letters: what is to be done with which letters, and how far it has come.
create table dead_letter_runs (
  id blob primary key not null,
  action integer not null,
  letters_a_second integer not null,
  begun_at integer not null,
  begun_by text not null,
  reason text not null,
  letters integer not null,
  done integer not null,
  ended_at integer,
  trouble text
) strict, without rowid;
create index dead_letter_runs_by_time on dead_letter_runs (begun_at, id);
-- The letters of a run in its order, and what became of each.
create table dead_letter_run_letters (
  run blob not null,
  number integer not null,
  letter blob not null,
  outcome integer,
  handled integer,
  failure text,
  primary key (run, number)
) strict, without rowid;
-- The one run that is under way, who works on it, and when that one was heard of last.
create table dead_letter_run_held (
  number integer primary key not null check (number = 1),
  run blob,
  holder blob,
  beat_at integer not null
) strict, without rowid;
insert into dead_letter_run_held (number, beat_at) values (1, 0);
