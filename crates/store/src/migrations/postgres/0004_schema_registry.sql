-- The built-in schema registry. An id is never used again, not even when all versions with its schema are deleted:
-- records that were written with it may lie on a topic for ever.
create table schema_registry (
  id bigint primary key not null check (id = 1),
  last_schema_id bigint not null,
  compatibility text not null
);
insert into schema_registry (id, last_schema_id, compatibility) values (1, 0, 'BACKWARD');

create table schemas (
  id bigint primary key not null,
  fingerprint bytea not null unique,
  text text not null
);

-- Levels of subjects that have one of their own.
create table schema_levels (
  subject text primary key not null,
  compatibility text not null
);

create table schema_versions (
  subject text not null,
  version bigint not null,
  schema_id bigint not null,
  is_deleted bigint not null,
  primary key (subject, version)
);
create index schema_versions_by_schema on schema_versions (schema_id);
