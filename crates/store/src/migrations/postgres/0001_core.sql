-- One row a lane, updated by every batch: room on the page keeps these updates heap-only.
create table lane_heads (
  lane smallint primary key,
  sequence bigint not null,
  clock bigint not null,
  payments_position bigint not null,
  payments_hash bytea not null,
  withdrawals_position bigint not null,
  withdrawals_hash bytea not null,
  merchants_position bigint not null,
  merchants_hash bytea not null
) with (fillfactor = 10);

-- The event log: append-only.
create table events (
  lane smallint not null,
  sequence bigint not null,
  stream smallint not null,
  position bigint not null,
  event_id uuid not null,
  command_id uuid not null,
  event_type text not null,
  version smallint not null,
  occurred_at bigint not null,
  merchant_id uuid not null,
  subject_id uuid not null,
  payload text not null,
  hash bytea not null,
  primary key (lane, sequence)
);
create unique index events_by_position on events (stream, lane, position);
create index events_by_subject on events (subject_id, sequence);
create index events_by_event_id on events (event_id);

create table merchants (
  id uuid primary key,
  name text not null,
  email text not null,
  email_key text not null,
  is_active smallint not null,
  created_at bigint not null
);
create unique index merchants_by_email on merchants (email_key);
create index merchants_by_time on merchants (created_at, id);

create table payments (
  id uuid primary key,
  merchant_id uuid not null,
  amount bigint not null,
  currency text not null,
  status smallint not null,
  external_reference text,
  description text,
  created_at bigint not null,
  completed_at bigint,
  completed_by smallint,
  refunded bigint not null,
  refunded_at bigint,
  refund_reason text,
  flag_reason text
) with (fillfactor = 85);
create index payments_by_merchant on payments (merchant_id, created_at, id);

create table withdrawals (
  id uuid primary key,
  merchant_id uuid not null,
  amount bigint not null,
  currency text not null,
  status smallint not null,
  bank_account_masked text not null,
  bank_routing_masked text not null,
  bank_details_sealed bytea not null,
  external_transaction_id text,
  failure_reason text,
  created_at bigint not null,
  processed_at bigint,
  completed_at bigint
) with (fillfactor = 85);
create index withdrawals_by_merchant on withdrawals (merchant_id, created_at, id);

create table accounts (
  owner uuid not null,
  kind smallint not null,
  currency text not null,
  balance bigint not null,
  entries bigint not null,
  updated_at bigint not null,
  primary key (owner, kind, currency)
) with (fillfactor = 50);

create table ledger_entries (
  id uuid not null,
  transaction_id uuid not null,
  owner uuid not null,
  kind smallint not null,
  currency text not null,
  number bigint not null,
  amount bigint not null,
  balance_after bigint not null,
  entry_type smallint not null,
  payment_id uuid,
  withdrawal_id uuid,
  created_at bigint not null
);
create unique index ledger_entries_by_account on ledger_entries (owner, kind, currency, created_at, number);

-- The answer is not stored: it is the fold of the log up to `sequence`.
create table idempotency_keys (
  key_hash uuid primary key,
  fingerprint uuid not null,
  subject_kind smallint not null,
  subject_id uuid not null,
  lane smallint not null,
  sequence bigint not null,
  size integer not null,
  created_at bigint not null
);
create index idempotency_keys_by_time on idempotency_keys (created_at);

create table consumer_positions (
  consumer text not null,
  stream smallint not null,
  lane smallint not null,
  position bigint not null,
  updated_at bigint not null,
  primary key (consumer, stream, lane)
) with (fillfactor = 10);

create table dead_letters (
  consumer text not null,
  stream smallint not null,
  lane smallint not null,
  position bigint not null,
  event_id uuid not null,
  event_type text not null,
  merchant_id uuid not null,
  subject_id uuid not null,
  payload text not null,
  reason text not null,
  attempts integer not null,
  is_parked smallint not null,
  created_at bigint not null,
  primary key (consumer, stream, lane, position)
);
create index dead_letters_by_subject on dead_letters (consumer, lane, subject_id);
