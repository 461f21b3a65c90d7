-- Wide rows are appended in order of arrival (integer primary key = rowid); what is looked up by a random
-- key lies in indexes of few bytes an entry, because each page that a commit touches is written to the log.

create table lane_heads (
  lane integer primary key,
  sequence integer not null,
  clock integer not null,
  payments_position integer not null,
  payments_hash blob not null,
  withdrawals_position integer not null,
  withdrawals_hash blob not null,
  merchants_position integer not null,
  merchants_hash blob not null
) strict;

-- The event log: append-only.
create table events (
  no integer primary key,
  lane integer not null,
  sequence integer not null,
  stream integer not null,
  position integer not null,
  event_id blob not null,
  command_id blob not null,
  event_type text not null,
  version integer not null,
  occurred_at integer not null,
  merchant_id blob not null,
  subject_id blob not null,
  payload text not null,
  hash blob not null
) strict;
create unique index events_by_sequence on events (lane, sequence);
create unique index events_by_position on events (stream, lane, position);
create index events_by_subject on events (subject_id, sequence);
create index events_by_event_id on events (event_id);

create table merchants (
  no integer primary key,
  id blob not null,
  name text not null,
  email text not null,
  email_key text not null,
  is_active integer not null,
  created_at integer not null
) strict;
create unique index merchants_by_id on merchants (id);
create unique index merchants_by_email on merchants (email_key);
create index merchants_by_time on merchants (created_at, id);

create table payments (
  no integer primary key,
  id blob not null,
  merchant_id blob not null,
  amount integer not null,
  currency text not null,
  status integer not null,
  external_reference text,
  description text,
  created_at integer not null,
  completed_at integer,
  completed_by integer,
  refunded integer not null,
  refunded_at integer,
  refund_reason text,
  flag_reason text
) strict;
create unique index payments_by_id on payments (id);
create index payments_by_merchant on payments (merchant_id, created_at, id);

create table withdrawals (
  no integer primary key,
  id blob not null,
  merchant_id blob not null,
  amount integer not null,
  currency text not null,
  status integer not null,
  bank_account_masked text not null,
  bank_routing_masked text not null,
  bank_details_sealed blob not null,
  external_transaction_id text,
  failure_reason text,
  created_at integer not null,
  processed_at integer,
  completed_at integer
) strict;
create unique index withdrawals_by_id on withdrawals (id);
create index withdrawals_by_merchant on withdrawals (merchant_id, created_at, id);

create table accounts (
  owner blob not null,
  kind integer not null,
  currency text not null,
  balance integer not null,
  entries integer not null,
  updated_at integer not null,
  primary key (owner, kind, currency)
) strict, without rowid;

create table ledger_entries (
  no integer primary key,
  id blob not null,
  transaction_id blob not null,
  owner blob not null,
  kind integer not null,
  currency text not null,
  number integer not null,
  amount integer not null,
  balance_after integer not null,
  entry_type integer not null,
  payment_id blob,
  withdrawal_id blob,
  created_at integer not null
) strict;
create unique index ledger_entries_by_account on ledger_entries (owner, kind, currency, created_at, number);

-- The answer is not stored: it is the fold of the log up to `sequence`.
create table idempotency_keys (
  no integer primary key,
  key_hash blob not null,
  key_prefix integer not null,
  fingerprint blob not null,
  subject_kind integer not null,
  subject_id blob not null,
  lane integer not null,
  sequence integer not null,
  size integer not null,
  created_at integer not null
) strict;
create index idempotency_keys_by_prefix on idempotency_keys (key_prefix);

create table consumer_positions (
  consumer text not null,
  stream integer not null,
  lane integer not null,
  position integer not null,
  updated_at integer not null,
  primary key (consumer, stream, lane)
) strict, without rowid;

create table dead_letters (
  no integer primary key,
  consumer text not null,
  stream integer not null,
  lane integer not null,
  position integer not null,
  event_id blob not null,
  event_type text not null,
  merchant_id blob not null,
  subject_id blob not null,
  payload text not null,
  reason text not null,
  attempts integer not null,
  is_parked integer not null,
  created_at integer not null
) strict;
create unique index dead_letters_by_position on dead_letters (consumer, stream, lane, position);
create index dead_letters_by_subject on dead_letters (consumer, lane, subject_id);
