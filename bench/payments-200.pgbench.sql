-- Two hundred payments as one transaction, in one statement and one round trip: the rows that `fintech` writes for
-- POST …/payments/bulk (one key, and for each payment its row and its sealed event; one lane head), in its own tables.
\set lane random(0, 15)
\set merchant random(1, 100)
with head as (
  update lane_heads
  set sequence = sequence + 200,
      clock = greatest(clock, (extract(epoch from clock_timestamp()) * 1000000)::bigint),
      payments_position = payments_position + 200,
      payments_hash = sha256(payments_hash || 'a payload of about four hundred bytes stands for the canonical form of the event that is sealed'::bytea)
  where lane = :lane
  returning sequence - 200 as sequence, clock, payments_position - 200 as position, payments_hash
), payment as materialized (
  select head.sequence + number as sequence, clock, head.position + number as position, gen_random_uuid() as id,
    md5(:merchant::text)::uuid as merchant_id,
    sha256(payments_hash || convert_to('a payload of about four hundred bytes stands for the canonical form of the event that is sealed' || number, 'UTF8')) as hash
  from head, generate_series(1, 200) as number
), rows as (
  insert into payments (id, merchant_id, amount, currency, status, external_reference, description, created_at, refunded)
  select id, merchant_id, 5000, 'USD', 1, 'order-1234567', 'A payment for something nice', clock, 0
  from payment
), key as (
  insert into idempotency_keys (key_hash, fingerprint, subject_kind, subject_id, lane, sequence, size, created_at)
  select gen_random_uuid(), gen_random_uuid(), 3, gen_random_uuid(), :lane, sequence + 200, 200, clock
  from head
)
insert into events (lane, sequence, stream, position, event_id, command_id, event_type, version, occurred_at, merchant_id, subject_id, payload, hash)
select :lane, sequence, 1, position, gen_random_uuid(), gen_random_uuid(), 'PaymentCreated', 1, clock, merchant_id, id,
  '{"eventId":"01935a7e-0000-7000-8000-000000000001","occurredAt":"2026-11-23T12:00:00.000000Z","eventType":"PaymentCreated","paymentId":"01935a7e-0000-7000-8000-000000000002","merchantId":"01935a7e-0000-7000-8000-000000000003","amountInMinorUnits":5000,"currency":"USD","externalReference":"order-1234567","description":"A payment for something nice"}',
  hash
from payment;
