-- One payment as one transaction, in one statement and one round trip: the rows that `fintech` writes for
-- POST …/payments with an idempotency key (key, payment, sealed event, lane head), in its own tables.
\set lane random(0, 15)
\set merchant random(1, 100)
with head as (
  update lane_heads
  set sequence = sequence + 1,
      clock = greatest(clock, (extract(epoch from clock_timestamp()) * 1000000)::bigint),
      payments_position = payments_position + 1,
      payments_hash = sha256(payments_hash || 'a payload of about four hundred bytes stands for the canonical form of the event that is sealed'::bytea)
  where lane = :lane
  returning sequence, clock, payments_position, payments_hash
), payment as (
  insert into payments (id, merchant_id, amount, currency, status, external_reference, description, created_at, refunded)
  select gen_random_uuid(), md5(:merchant::text)::uuid, 5000, 'USD', 1, 'order-1234567', 'A payment for something nice', clock, 0
  from head
  returning id, merchant_id
), key as (
  insert into idempotency_keys (key_hash, fingerprint, subject_kind, subject_id, lane, sequence, size, created_at)
  select gen_random_uuid(), gen_random_uuid(), 3, payment.id, :lane, sequence, 1, clock
  from head, payment
)
insert into events (lane, sequence, stream, position, event_id, command_id, event_type, version, occurred_at, merchant_id, subject_id, payload, hash)
select :lane, sequence, 1, payments_position, gen_random_uuid(), gen_random_uuid(), 'PaymentCreated', 1, clock, payment.merchant_id, payment.id,
  '{"eventId":"01935a7e-0000-7000-8000-000000000001","occurredAt":"2026-11-23T12:00:00.000000Z","eventType":"PaymentCreated","paymentId":"01935a7e-0000-7000-8000-000000000002","merchantId":"01935a7e-0000-7000-8000-000000000003","amountInMinorUnits":5000,"currency":"USD","externalReference":"order-1234567","description":"A payment for something nice"}',
  payments_hash
from head, payment;
