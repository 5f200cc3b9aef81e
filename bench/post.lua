-- wrk's script: posts the file named by the environment variable BODY, and counts answers that are not 200.
-- JSON_BYTES says how much of the body is JSON, where raw tensors follow it.
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
if os.getenv("JSON_BYTES") then
  wrk.headers["Content-Type"] = "application/octet-stream"
  wrk.headers["Inference-Header-Content-Length"] = os.getenv("JSON_BYTES")
end
file:close()

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init()
  refused = 0
end

function response(status)
  if status ~= 200 then
    refused = refused + 1
  end
end

function done(summary, latency)
  local refused = 0
  for _, thread in ipairs(threads) do
    refused = refused + thread:get("refused")
  end
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d\n", summary.requests, summary.duration,
    refused, errors.connect + errors.read + errors.write + errors.timeout))
end
