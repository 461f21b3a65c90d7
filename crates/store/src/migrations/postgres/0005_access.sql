-- API keys: of a key there is a hash, what it begins with and what it ends in.
create table api_keys (
  id uuid primary key,
  hash bytea not null unique,
  prefix text not null,
  last4 text not null,
  name text not null,
  is_live smallint not null,
  merchant_id uuid,
  role smallint not null,
  requests_per_second integer,
  created_at bigint not null,
  created_by text not null,
  expires_at bigint,
  last_used_at bigint,
  revoked_at bigint
);
create index api_keys_by_merchant on api_keys (merchant_id, id);

-- Who may sign in to the console. Names are lower-case.
create table operators (
  id uuid primary key,
  name text not null unique,
  password_hash text not null,
  role smallint not null,
  is_active smallint not null,
  failures integer not null,
  locked_until bigint,
  created_at bigint not null,
  changed_at bigint not null
);

-- Of a session's token there is a hash.
create table operator_sessions (
  token_hash bytea primary key,
  operator_id uuid not null,
  csrf text not null,
  created_at bigint not null,
  seen_at bigint not null,
  expires_at bigint not null
);
create index operator_sessions_by_operator on operator_sessions (operator_id, created_at);

-- What one operator asks for and another one decides.
create table approvals (
  id uuid primary key,
  kind text not null,
  subject text not null,
  detail text not null,
  requested_by text not null,
  requested_at bigint not null,
  reason text not null,
  state smallint not null,
  decided_by text,
  decided_at bigint
);
create unique index approvals_open on approvals (kind, subject) where state = 1;

-- Filters that an operator has given a name.
create table saved_views (
  operator text not null,
  page text not null,
  name text not null,
  query text not null,
  primary key (operator, page, name)
);

alter table audit_log add column request_id text;
create index audit_log_by_actor on audit_log (actor, at, id);
create index audit_log_by_subject on audit_log (subject, at, id);
