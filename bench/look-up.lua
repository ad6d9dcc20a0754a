-- Load for wrk: look-ups of orders by id. BENCH_IDS names a file with one id a line; they are asked for in turn.
local paths = {}
for id in io.lines(os.getenv("BENCH_IDS")) do
  paths[#paths + 1] = "/v1/orders/" .. id
end

local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", paths[n % #paths + 1])
end
