-- The built-in schema registry. An id is never used again, not even when all versions with its schema are deleted:
-- records that were written with it may lie on a topic for ever.
create table schema_registry (
  id integer primary key not null check (id = 1),
  last_schema_id integer not null,
  compatibility text not null
) strict;
insert into schema_registry (id, last_schema_id, compatibility) values (1, 0, 'BACKWARD');

create table schemas (
  id integer primary key not null,
  fingerprint blob not null unique,
  text text not null
) strict;

-- Levels of subjects that have one of their own.
create table schema_levels (
  subject text primary key not null,
  compatibility text not null
) strict, without rowid;

create table schema_versions (
  subject text not null,
  version integer not null,
  schema_id integer not null,
  is_deleted integer not null,
  primary key (subject, version)
) strict, without rowid;
create index schema_versions_by_schema on schema_versions (schema_id);
