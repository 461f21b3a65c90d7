-- Where the consumer goes on reading its partition; null until it has read from Kafka.
alter table consumer_positions add column kafka_offset bigint;

-- Who publishes. The holder raises the beat; who sees it stand still long enough takes over with the next epoch.
create table relay_lease (
  name text primary key,
  holder uuid,
  epoch bigint not null,
  beat bigint not null
);
insert into relay_lease (name, holder, epoch, beat) values ('relay', null, 0, 0);

-- How far the log was published when the relay last noted it: a hint where to begin reading, never the truth.
create table relay_cursors (
  stream smallint not null,
  lane smallint not null,
  position bigint not null,
  kafka_offset bigint not null,
  updated_at bigint not null,
  primary key (stream, lane)
) with (fillfactor = 10);

-- The same for the dead-letter topic, whose records have no positions.
create table relay_dead_letter_cursors (
  lane smallint primary key,
  kafka_offset bigint not null
);

-- Dead letters keep the bytes that arrived, and stay after they have been redriven or discarded.
alter table dead_letters rename to dead_letters_1;
alter index dead_letters_by_subject rename to dead_letters_1_by_subject;
create table dead_letters (
  id uuid primary key,
  consumer text not null,
  stream smallint not null,
  lane smallint not null,
  position bigint,
  kafka_offset bigint,
  event_id uuid,
  event_type text,
  subject_id uuid,
  key bytea,
  payload bytea,
  headers text,
  kind smallint not null,
  reason text not null,
  attempts integer not null,
  state smallint not null,
  created_at bigint not null,
  ended_at bigint,
  published_at bigint
);
insert into dead_letters (id, consumer, stream, lane, position, event_id, event_type, subject_id, key, payload,
    kind, reason, attempts, state, created_at)
  select gen_random_uuid(), consumer, stream, lane, position, event_id, event_type, subject_id,
    convert_to(merchant_id::text, 'UTF8'), convert_to(payload, 'UTF8'),
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
  stream smallint not null,
  lane smallint not null,
  position bigint not null,
  until_position bigint not null,
  primary key (consumer, stream, lane)
);

-- Who changed what by hand, when and why.
create table audit_log (
  id uuid primary key,
  at bigint not null,
  actor text not null,
  action text not null,
  subject text not null,
  detail text not null,
  reason text not null
);
create index audit_log_by_time on audit_log (at, id);
