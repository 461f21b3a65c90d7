-- Where the consumer goes on reading its partition; null until it has read from Kafka.
alter table consumer_positions add column kafka_offset integer;

-- Who publishes. The holder raises the beat; who sees it stand still long enough takes over with the next epoch.
create table relay_lease (
  name text primary key not null,
  holder blob,
  epoch integer not null,
  beat integer not null
) strict;
insert into relay_lease (name, holder, epoch, beat) values ('relay', null, 0, 0);

-- How far the log was published when the relay last noted it: a hint where to begin reading, never the truth.
create table relay_cursors (
  stream integer not null,
  lane integer not null,
  position integer not null,
  kafka_offset integer not null,
  updated_at integer not null,
  primary key (stream, lane)
) strict, without rowid;

-- The same for the dead-letter topic, whose records have no positions.
create table relay_dead_letter_cursors (
  lane integer primary key,
  kafka_offset integer not null
) strict;

-- Dead letters keep the bytes that arrived, and stay after they have been redriven or discarded.
alter table dead_letters rename to dead_letters_1;
drop index dead_letters_by_subject;
drop index dead_letters_by_position;
create table dead_letters (
  id blob primary key not null,
  consumer text not null,
  stream integer not null,
  lane integer not null,
  position integer,
  kafka_offset integer,
  event_id blob,
  event_type text,
  subject_id blob,
  key blob,
  payload blob,
  headers text,
  kind integer not null,
  reason text not null,
  attempts integer not null,
  state integer not null,
  created_at integer not null,
  ended_at integer,
  published_at integer
) strict;
insert into dead_letters (id, consumer, stream, lane, position, event_id, event_type, subject_id, key, payload,
    kind, reason, attempts, state, created_at)
  select randomblob(16), consumer, stream, lane, position, event_id, event_type, subject_id,
    cast(lower(substr(hex(merchant_id), 1, 8) || '-' || substr(hex(merchant_id), 9, 4) || '-' || substr(hex(merchant_id), 13, 4)
      || '-' || substr(hex(merchant_id), 17, 4) || '-' || substr(hex(merchant_id), 21)) as blob),
    cast(payload as blob),
    case is_parked when 1 then 2 else 1 end, reason, attempts, 1, created_at
  from dead_letters_1;
drop table dead_letters_1;
create unique index dead_letters_open on dead_letters (consumer, stream, lane, position) where state = 1;
create index dead_letters_by_subject on dead_letters (consumer, subject_id, position) where state = 1;
create index dead_letters_by_consumer on dead_letters (consumer, id);
create index dead_letters_unpublished on dead_letters (id) where published_at is null;

-- How far a replay beside the live consumer has come.
create table replays (
  consumer text not null,
  stream integer not null,
  lane integer not null,
  position integer not null,
  until_position integer not null,
  primary key (consumer, stream, lane)
) strict;

-- Who changed what by hand, when and why.
create table audit_log (
  id blob primary key not null,
  at integer not null,
  actor text not null,
  action text not null,
  subject text not null,
  detail text not null,
  reason text not null
) strict;
create index audit_log_by_time on audit_log (at, id);
