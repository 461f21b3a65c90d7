-- POST …/payments over the merchants whose ids stand in the file named by MERCHANTS, each request with an
-- idempotency key of its own.
local merchants = {}
for line in io.lines(os.getenv("MERCHANTS")) do merchants[#merchants + 1] = line end
local thread_number = 0
function setup(thread)
  thread:set("thread_number", thread_number)
  thread_number = thread_number + 1
end
local sent = 0
local body = '{"amountInMinorUnits":5000,"currency":"USD","externalReference":"order-1234567","description":"A payment for something nice"}'
local run = os.getenv("RUN") or tostring(os.time())
function request()
  sent = sent + 1
  local key = run .. "-" .. thread_number .. "-" .. sent
  return wrk.format("POST", "/api/merchants/" .. merchants[sent % #merchants + 1] .. "/payments",
    { ["Content-Type"] = "application/json", ["Idempotency-Key"] = key }, body)
end
local refused = 0
function response(status)
  if status ~= 201 then refused = refused + 1 end
end
function done(summary, latency)
  io.write(string.format("payments/s %.0f  p50 %.2f ms  p99 %.2f ms  not-2xx %d\n",
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.errors.status))
end
