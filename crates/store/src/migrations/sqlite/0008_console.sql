-- Payments that were flagged and wait to be decided; few of many.
create table payments_to_review (
  payment_id blob primary key not null
) strict, without rowid;
insert into payments_to_review (payment_id) select id from payments where flag_reason is not null and status = 1;

-- What people have in their hands of a key, and of a request.
create index api_keys_by_prefix on api_keys (prefix, id);
create index audit_log_by_request on audit_log (request_id, at, id) where request_id is not null;
