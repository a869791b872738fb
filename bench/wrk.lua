-- Requests the paths of a file (the first argument after `--`) in turn, as the bearer of a token (the second, unless it
-- is empty), and ends with one line of JSON.
local requests, sent = {}, 0

function init(arguments)
  if arguments[2] and arguments[2] ~= "" then
    wrk.headers["Authorization"] = "Bearer " .. arguments[2]
  end
  for path in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("GET", path)
  end
end

function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"p50":%d,"p95":%d,"p99":%d,"failed":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(95), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
