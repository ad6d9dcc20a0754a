-- Load for wrk: orders of about 340 bytes, each with a reference of its own.
-- BENCH_RUN makes the references of one run differ from those of the others; BENCH_SHAPE=echo speaks the bare
-- echo server's field names instead of /v1's.
local run = os.getenv("BENCH_RUN") or "run"
local note = string.rep("x", 112)
local head, tail
if os.getenv("BENCH_SHAPE") == "echo" then
  head = '{"reference":"'
  tail = '","customer":"c-000042","currency":"EUR","lines":[{"sku":"SKU-0001","qty":2,"price":"19.95"},'
    .. '{"sku":"SKU-0002","qty":1,"price":"83.55"}],"total":"123.45","note":"' .. note .. '"}'
else
  head = '{"reference":"'
  tail = '","customer":"c-000042","currency":"EUR","lines":[{"sku":"SKU-0001","quantity":2,"unit_price":"19.95"},'
    .. '{"sku":"SKU-0002","quantity":1,"unit_price":"83.55"}],"total":"123.45","attributes":{"note":"' .. note .. '"}}'
end
head = head .. run .. "-"

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

local n = 0
request = function()
  n = n + 1
  return wrk.format(nil, nil, nil, head .. n .. tail)
end
