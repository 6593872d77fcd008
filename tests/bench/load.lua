-- What wrk sends: the request in a file, with a new id at each @@@@@@@@@@@@ in it.
--
--   wrk ... -s load.lua URL -- FILE RUN [exact] [among N]
--
-- An id is RUN (one letter), the thread's number (two digits) and a counter (nine), so that every id
-- is as long as the placeholder and the file's Content-Length is right. `among N` comes back to the
-- first id after N. With `exact` and one connection a thread, the last id that was answered 200 says
-- which ids were: all up to it. Prints one line of JSON for tests/bench/load.py.

local threads = {}

function setup(thread)
    table.insert(threads, thread)
    thread:set("number", #threads)
end

function init(args)
    local file = assert(io.open(args[1], "rb"))
    local text = file:read("*a")
    file:close()
    pieces, from = {}, 1
    while true do
        local first, last = text:find("@@@@@@@@@@@@", from, true)
        if not first then break end
        table.insert(pieces, text:sub(from, first - 1))
        from = last + 1
    end
    table.insert(pieces, text:sub(from))
    -- wrk asks the first thread for a request that it only looks at.
    run, sent, answered, among = args[2], number == 1 and -1 or 0, 0, 1e9
    if args[3] == "among" then among = tonumber(args[4]) end
    if args[3] == "exact" then
        response = function(status) if status == 200 then answered = sent end end
    end
end

function request()
    sent = sent + 1
    local id = string.format("%s%02d%09d", run, number, (math.max(sent, 1) - 1) % among + 1)
    return table.concat(pieces, id)
end

function done(summary, latency)
    local of_threads = {}
    for _, thread in ipairs(threads) do
        table.insert(of_threads, string.format("[%d,%d]", thread:get("sent"), thread:get("answered")))
    end
    local errors = summary.errors
    io.write(string.format(
        '\n{"requests":%d,"microseconds":%d,"refused":%d,"broken":%d,"late":%d,'
            .. '"p50":%f,"p99":%f,"threads":[%s]}\n',
        summary.requests, summary.duration, errors.status,
        errors.connect + errors.read + errors.write, errors.timeout,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000,
        table.concat(of_threads, ",")))
end
