-- Requests to the API: some of each second, without their bodies and queries. An id begins with the moment at which the
-- request came, so a span of time is a span of ids.
create table api_requests (
  id uuid primary key,
  at bigint not null,
  method text not null,
  route text not null,
  path text not null,
  status smallint not null,
  micros bigint not null,
  caller text not null,
  merchant_id uuid,
  request_id text not null,
  problem text
);
create index api_requests_by_request on api_requests (request_id, id);
-- How many more there were of the second in which an id begins, by process.
create table api_requests_left_out (
  id uuid primary key,
  errors bigint not null,
  changes bigint not null,
  reads bigint not null
);
