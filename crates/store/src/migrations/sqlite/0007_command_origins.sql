-- Who asked for a command that took effect, and under which id of a request; written with the command's events, never
-- changed. What it did are the events of its lane from `sequence` on, as many as `events`. Ids of commands begin with
-- the moment of the command, so each index ends with them and is read newest first.
create table command_origins (
  command_id blob primary key not null,
  at integer not null,
  actor text not null,
  request_id text not null,
  merchant_id blob not null,
  lane integer not null,
  sequence integer not null,
  events integer not null
) strict, without rowid;
create index command_origins_by_actor on command_origins (actor, command_id);
create index command_origins_by_request on command_origins (request_id, command_id);
create index command_origins_by_merchant on command_origins (merchant_id, command_id);
