-- One exchange between a process and the ledger of its account and model. The same, in Python and with the reasons, is
-- siliconflow_async/limits/ledger.py: a change here is a change there.
--
-- KEYS: the state, the log of the window, the processes, the turns of those that wait; all of one hash slot.
-- ARGV: one text of lines, as packing and unpacking many costs a client more than all else: the window in milliseconds,
-- how long the keys are kept, then the report; its uses come last. The answer is such a text, too.

local STATE, LOG, PROCESSES, TURNS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local WHOLE, QUANTUM, IDLE, LEAST_TAKEN, STEP, HUNGRY, FEW = 1000000, 20000, 20000, 5, 20000, 500, 8
local LONGEST_PAUSE, LONGEST_ASKED = 60000, 600000
local floor, max, min = math.floor, math.max, math.min

local given = {}
for line in string.gmatch(ARGV[1], '([^\n]*)\n') do given[#given + 1] = line end
local function number(at) return tonumber(given[at]) end
local function ceil_part(count, share) return -floor(-count * share / WHOLE) end
local function text(count) return string.format('%.0f', count) end

local window, kept_for = number(1), number(2)
local name, label, seq, epoch, peers = given[3], given[4], number(5), given[6], number(7)
local alone, given_rpm, given_tpm = given[8] == '1', number(9), number(10)
local held_requests, held_tokens, free_requests, free_tokens = number(11), number(12), number(13), number(14)
local want_requests, want_tokens, head_tokens = number(15), number(16), number(17)
local spare_requests, spare_tokens = number(18), number(19)
local waiting, running, staying, generation = number(20), number(21), given[22] == '1', number(23)
local news, meter, asked = given[24], given[25], number(26)
local USES = 27

-- The state

local s = { epoch = '', pause = '', probe = '', learning = '' }
local stored = redis.call('HGETALL', STATE)
for at = 1, #stored, 2 do
  local value = stored[at + 1]
  s[stored[at]] = s[stored[at]] == nil and tonumber(value) or value
end
local function default(field, value) if s[field] == nil then s[field] = value end end
for _, field in ipairs({
  'rpm', 'tpm', 'learned', 'requests', 'tokens', 'refused', 'leased_requests', 'leased_tokens', 'paused_until', 'now',
  'entries', 'oldest', 'expires', 'least', 'pauses', 'best', 'grow_at', 'was_held', 'born', 'recovering_since',
  'expected',
}) do default(field, 0) end
default('generation', 1)
default('step', STEP)

local time = redis.call('TIME')
local now = max(s.now, tonumber(time[1]) * 1000 + floor(tonumber(time[2]) / 1000))
s.now = now
local grain_length = max(1, floor(window / 200))
local count = redis.call('HLEN', PROCESSES)

local function beat() return min(max(floor(window / 240), 10), 250) * (1 + floor(count / 64)) end
local function ttl() return max(floor(window / 6), 1000, 8 * beat()) end
local function grace() return max(floor(window / 30), 500) end
default('recovering_until', -grace())

-- The processes: requests, tokens, expires, seq, turn, head tokens, until when it waits, running, waiting, label

local function read(row)
  local r, t, e, q, u, h, w = string.match(row, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)')
  return { requests = tonumber(r), tokens = tonumber(t), expires = tonumber(e), seq = tonumber(q), turn = tonumber(u),
    head = tonumber(h), waits_until = tonumber(w) }
end

local function load(of)
  local row = redis.call('HGET', PROCESSES, of)
  return row and read(row) or nil
end

local function lend(process, requests, tokens)
  s.leased_requests = s.leased_requests + requests - process.requests
  s.leased_tokens = s.leased_tokens + tokens - process.tokens
  process.requests, process.tokens = requests, tokens
end

-- The log of the window: requests, tokens and refused requests of each grain

local function add(at, requests, tokens, refused)
  local grain = floor(at / grain_length)
  if s.entries == 0 or grain < s.oldest then s.oldest = grain end
  local field, r, t, x = text(grain), 0, 0, 0
  local entry = redis.call('HGET', LOG, field)
  if entry then
    r, t, x = string.match(entry, '^(%d+) (%d+) (%d+)$')
  else
    s.entries = s.entries + 1
  end
  redis.call('HSET', LOG, field, text(r + requests) .. ' ' .. text(t + tokens) .. ' ' .. text(x + refused))
  s.requests, s.tokens, s.refused = s.requests + requests, s.tokens + tokens, s.refused + refused
end

local function pass_time()
  local last = floor((now - window) / grain_length) - 1
  if s.entries > 0 and s.oldest <= last then
    local entries, oldest = redis.call('HGETALL', LOG), nil
    for at = 1, #entries, 2 do
      local grain = tonumber(entries[at])
      if grain <= last then
        local r, t, x = string.match(entries[at + 1], '^(%d+) (%d+) (%d+)$')
        s.requests, s.tokens, s.refused = s.requests - r, s.tokens - t, s.refused - x
        s.entries = s.entries - 1
        redis.call('HDEL', LOG, entries[at])
      else
        oldest = min(oldest or grain, grain)
      end
    end
    s.oldest = oldest or last + 1
  end
  if s.expires > 0 and now >= s.expires then
    local rows, next_expires = redis.call('HGETALL', PROCESSES), nil
    for at = 1, #rows, 2 do
      local process = read(rows[at + 1])
      if process.expires <= now then
        redis.call('HDEL', PROCESSES, rows[at])
        count = count - 1
        add(now, process.requests, process.tokens, 0)
        lend(process, 0, 0)
        if s.probe == rows[at] then s.probe = '' end
      else
        next_expires = min(next_expires or process.expires, process.expires)
      end
    end
    s.expires = next_expires or 0
  end
  if s.grow_at > 0 and now >= s.grow_at then
    s.grow_at = now + window
    if s.was_held == 1 then
      s.was_held = 0
      s.rpm, s.tpm = s.rpm + ceil_part(s.rpm, s.step), s.tpm + ceil_part(s.tpm, s.step)
      s.step = min(WHOLE, 2 * s.step)
    end
  end
end

-- What is reported

local function take_limits()
  if s.learning == '' or now >= s.paused_until then return end
  local taken = s.requests - s.refused
  if taken <= s.best then return end
  s.best = taken
  if s.learning == 'rpm' and given_rpm == 0 then
    s.rpm = taken
  elseif s.learning == 'tpm' and given_tpm == 0 then
    s.tpm = s.tokens
  end
  s.learned = (s.rpm > 0 or s.tpm > 0) and 1 or 0
end

local function begin_pause(kind)
  local pause = min(asked, LONGEST_ASKED)
  if pause <= 0 then pause = min(floor(window / 60) * 2 ^ s.pauses, window, LONGEST_PAUSE) end
  s.pauses = min(s.pauses + 1, 16)
  s.pause, s.probe = kind, ''
  s.paused_until = max(s.paused_until, now + max(pause, 2 * beat()))
  s.generation = s.generation + 1
  if kind == 'rate_limit' then
    s.learning, s.best, s.step, s.was_held = meter, LEAST_TAKEN - 1, STEP, 0
    s.grow_at = s.paused_until + window
    take_limits()
  end
end

local function take_news()
  if news == 'limited' or news == 'away' then
    if generation == s.generation then
      begin_pause(news == 'limited' and 'rate_limit' or 'outage')
    elseif news == 'limited' and asked > 0 and s.pause ~= '' then
      s.paused_until = max(s.paused_until, now + min(asked, LONGEST_ASKED))
    end
  elseif news == 'there' and s.pause ~= '' and generation == s.generation then
    if s.probe == name then
      s.pause, s.probe, s.pauses, s.learning = '', '', 0, ''
    elseif s.pause == 'outage' then
      s.paused_until = now
    end
  end
  if s.probe == name and waiting == 0 and running == 0 then s.probe = '' end
end

local function all_have_said(mine)
  local said, rows = mine.seq > 0 and 1 or 0, redis.call('HGETALL', PROCESSES)
  for at = 1, #rows, 2 do
    local process = read(rows[at + 1])
    if rows[at] ~= name and process.seq > 0 and process.expires >= s.recovering_since + ttl() then said = said + 1 end
  end
  return said >= s.expected
end

-- Who gets what

local function first_of_others()
  redis.call('ZREM', TURNS, name)
  while true do
    local entry = redis.call('ZRANGE', TURNS, 0, 0)[1]
    if not entry then return nil end
    local other = load(entry)
    if other and other.waits_until >= now then return other end
    redis.call('ZREM', TURNS, entry)
  end
end

local function part(want, limit, taken, process, first, reserved)
  if limit == 0 then return want end
  local room = limit - taken
  if first then
    if first.turn < process.turn then room = room - reserved end
    local ahead = first.turn + floor(QUANTUM * FEW / max(FEW, count)) - process.turn
    want = min(want, floor(limit * ahead / WHOLE))
  end
  return max(0, min(want, room))
end

local function wanted(process, rpm, tpm, first)
  local requests = part(want_requests, rpm, s.requests + s.leased_requests, process, first, 1)
  local tokens = part(want_tokens, tpm, s.tokens + s.leased_tokens, process, first, first and first.head or 0)
  local need_requests, need_tokens = max(0, 1 - free_requests), max(0, head_tokens - free_tokens)
  if not first or process.turn <= first.turn then
    if rpm == 0 or s.requests + s.leased_requests + need_requests <= rpm then
      requests = max(requests, need_requests)
    end
    if tpm == 0 or s.tokens + s.leased_tokens + need_tokens <= tpm then
      tokens = max(tokens, need_tokens)
    elseif head_tokens > tpm and s.tokens + s.leased_tokens - free_tokens == 0 then
      tokens = need_tokens
    end
  end
  if requests < need_requests or tokens < need_tokens then return 0, 0 end
  if rpm > 0 and tpm > 0 and want_requests > 0 and want_tokens > 0 then
    local share = min(floor(requests * WHOLE / want_requests), floor(tokens * WHOLE / want_tokens), WHOLE)
    requests = min(requests, max(need_requests, ceil_part(want_requests, share)))
    tokens = min(tokens, max(need_tokens, ceil_part(want_tokens, share)))
  end
  return requests, tokens
end

local function spare(want, limit, taken)
  if limit == 0 then return 0 end
  return max(0, min(want, floor(floor(limit * IDLE / WHOLE) / count), limit - taken))
end

local function grant(process)
  local first = first_of_others()
  process.turn = max(process.turn, s.least)
  s.least = first and min(process.turn, first.turn) or process.turn
  if now < s.recovering_until then return 0, 0, 0 end
  local probe = 0
  if s.pause ~= '' then
    if now < s.paused_until or not (waiting > 0 or s.probe == name) then return 0, 0, 0 end
    if s.probe ~= '' and s.probe ~= name then return 0, 0, 0 end
    s.probe, probe, first = name, 1, nil
  end
  local rpm, tpm = given_rpm > 0 and given_rpm or s.rpm, given_tpm > 0 and given_tpm or s.tpm
  local requests, tokens = 0, 0
  if waiting > 0 then requests, tokens = wanted(process, rpm, tpm, first) end
  if probe == 1 then
    requests, tokens = min(requests, 1), min(tokens, max(0, head_tokens - free_tokens))
  elseif not first and requests >= want_requests and tokens >= want_tokens then
    requests = requests + spare(spare_requests, rpm, s.requests + s.leased_requests + requests)
    tokens = tokens + spare(spare_tokens, tpm, s.tokens + s.leased_tokens + tokens)
  end
  process.turn = process.turn + max(
    rpm > 0 and floor(requests * WHOLE / rpm) or 0, tpm > 0 and floor(tokens * WHOLE / tpm) or 0)
  return requests, tokens, probe
end

-- The exchange

if s.epoch == '' then
  s.epoch = name .. '-' .. given[5] .. '-' .. text(now)
  s.born = now
end
local accepted = epoch == '' or epoch == s.epoch
local lost = not accepted and now < s.born + grace()
if (lost or alone) and now >= s.recovering_until + grace() then
  s.expected = peers
  s.recovering_since, s.recovering_until = now, now + grace()
end
pass_time()
local process = load(name)
if not process then
  process = { requests = 0, tokens = 0, expires = 0, seq = 0, turn = 0, head = 0, waits_until = 0 }
  count = count + 1
end
process.expires = now + ttl()
s.expires = s.expires == 0 and process.expires or min(s.expires, process.expires)
if accepted and seq > process.seq then
  process.seq = seq
  for at = USES, #given, 4 do add(now - number(at), number(at + 1), number(at + 2), number(at + 3)) end
end
lend(process, held_requests + free_requests, held_tokens + free_tokens)
take_limits()
take_news()
if now < s.recovering_until and all_have_said(process) then s.recovering_until = now end
local requests, tokens, probe = 0, 0, 0
if accepted then requests, tokens, probe = grant(process) end
lend(process, process.requests + requests, process.tokens + tokens)
local hungry = waiting > 0 and (requests < want_requests or tokens < want_tokens)
if hungry and s.pause == '' then s.was_held = 1 end
local leaves = s.entries > 0 and (s.oldest + 1) * grain_length + window - now or beat()
local wait = (s.pause ~= '' and now < s.paused_until) and s.paused_until - now or leaves
local retry = min(max(wait, 1), beat())
process.head, process.waits_until = head_tokens, hungry and now + HUNGRY + 2 * retry or 0
if hungry then redis.call('ZADD', TURNS, text(process.turn), name) end
if staying then
  redis.call('HSET', PROCESSES, name, table.concat({
    text(process.requests), text(process.tokens), text(process.expires), text(process.seq), text(process.turn),
    text(process.head), text(process.waits_until), text(running), text(waiting), label,
  }, ' '))
else
  lend(process, 0, 0)
  redis.call('HDEL', PROCESSES, name)
  count = count - 1
end

local changed = {}
for field, value in pairs(s) do
  changed[#changed + 1] = field
  changed[#changed + 1] = type(value) == 'number' and text(value) or value
end
redis.call('HSET', STATE, unpack(changed))
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, kept_for) end

local reply = {
  requests, tokens,
  given_rpm > 0 and given_rpm or s.rpm, given_tpm > 0 and given_tpm or s.tpm, s.learned,
  s.requests, s.tokens, s.leased_requests, s.leased_tokens, max(1, count), s.generation,
}
for at, value in ipairs(reply) do reply[at] = text(value) end
local left = s.pause ~= '' and max(0, s.paused_until - now) or 0
return table.concat({
  s.epoch, accepted and '1' or '0', table.concat(reply, '\n'), s.pause, text(left), text(probe),
  text(retry), text(beat()), text(ttl()),
}, '\n')
