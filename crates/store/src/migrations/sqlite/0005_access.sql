-- API keys: of a key there is a hash, what it begins with and what it ends in.
create table api_keys (
  id blob primary key not null,
  hash blob not null unique,
  prefix text not null,
  last4 text not null,
  name text not null,
  is_live integer not null,
  merchant_id blob,
  role integer not null,
  requests_per_second integer,
  created_at integer not null,
  created_by text not null,
  expires_at integer,
  last_used_at integer,
  revoked_at integer
) strict;
create index api_keys_by_merchant on api_keys (merchant_id, id);

-- Who may sign in to the console. Names are lower-case.
create table operators (
  id blob primary key not null,
  name text not null unique,
  password_hash text not null,
  role integer not null,
  is_active integer not null,
  failures integer not null,
  locked_until integer,
  created_at integer not null,
  changed_at integer not null
) strict;

-- Of a session's token there is a hash.
create table operator_sessions (
  token_hash blob primary key not null,
  operator_id blob not null,
  csrf text not null,
  created_at integer not null,
  seen_at integer not null,
  expires_at integer not null
) strict, without rowid;
create index operator_sessions_by_operator on operator_sessions (operator_id, created_at);

-- What one operator asks for and another one decides.
create table approvals (
  id blob primary key not null,
  kind text not null,
  subject text not null,
  detail text not null,
  requested_by text not null,
  requested_at integer not null,
  reason text not null,
  state integer not null,
  decided_by text,
  decided_at integer
) strict;
create unique index approvals_open on approvals (kind, subject) where state = 1;

-- Filters that an operator has given a name.
create table saved_views (
  operator text not null,
  page text not null,
  name text not null,
  query text not null,
  primary key (operator, page, name)
) strict, without rowid;

alter table audit_log add column request_id text;
create index audit_log_by_actor on audit_log (actor, at, id);
create index audit_log_by_subject on audit_log (subject, at, id);
