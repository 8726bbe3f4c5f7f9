/**
 * What the server does in one step, as Lua. Whoever reads for a subscriber holds its reader key, whose value is of this one hold
 * only; each step of reading compares it first. So a process that was frozen, or whose commands were late, reads and acknowledges
 * nothing once another one reads, which a command that blocks could not promise.
 */

export interface Script {
  readonly text: string
  readonly keys: number
}

/** Compares the hold and prolongs it. */
const held = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0} end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
`

/**
 * KEYS reader, stream; ARGV hold, leaseMs, group, consumer. Takes the reader key if it is free or this consumer's, and with it what
 * other consumers were brought and have not acknowledged: they are gone, or will find that they do not read any more. DEL comes first
 * because a server that is full refuses what takes room, but not to a script that has written already.
 * Gives {1, entries that were deleted before they were taken}, or {0}.
 */
export const takeOver: Script = {
  keys: 2,
  text: `
local by = redis.call('GET', KEYS[1])
if by and string.sub(by, 1, #ARGV[4] + 1) ~= ARGV[4] .. ':' then return {0} end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local gone, from = 0, '0-0'
repeat
  local claimed = redis.call('XAUTOCLAIM', KEYS[2], ARGV[3], ARGV[4], 0, from, 'COUNT', 100, 'JUSTID')
  from = claimed[1]
  gone = gone + (claimed[3] and #claimed[3] or 0)
until from == '0-0'
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[2], ARGV[3])) do
  local of = {}
  for i = 1, #consumer, 2 do of[consumer[i]] = consumer[i + 1] end
  if of['name'] ~= ARGV[4] and of['pending'] == 0 then redis.call('XGROUP', 'DELCONSUMER', KEYS[2], ARGV[3], of['name']) end
end
return {1, gone}
`,
}

/**
 * KEYS reader, stream; ARGV hold, leaseMs, group, consumer, count. Gives {1, entries}: what this consumer was brought and has not
 * acknowledged, and if there is none of it, what nobody was brought yet. If there is nothing, {1, {}, the id to wait behind}.
 */
export const read: Script = {
  keys: 2,
  text: `${held}
for _, from in ipairs({'0', '>'}) do
  local found = redis.call('XREADGROUP', 'GROUP', ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'STREAMS', KEYS[2], from)
  if found and #found[1][2] > 0 then return {1, found[1][2]} end
end
local about = redis.call('XINFO', 'STREAM', KEYS[2])
for i = 1, #about, 2 do
  if about[i] == 'last-generated-id' then return {1, {}, about[i + 1]} end
end
`,
}

/**
 * KEYS reader, stream, refused; ARGV hold, leaseMs, group, how many to acknowledge, their ids, then id and reason of each that was
 * refused. Those are copied before they are acknowledged. Where there is no room for a copy they are acknowledged all the same: a
 * full server must not keep its readers from making it emptier. Gives {1, copies that failed}.
 */
export const settle: Script = {
  keys: 3,
  text: `${held}
local ids, failed = {}, 0
for i = 1, tonumber(ARGV[4]) do ids[i] = ARGV[4 + i] end
for at = 5 + tonumber(ARGV[4]), #ARGV, 2 do
  local entry = redis.call('XRANGE', KEYS[2], ARGV[at], ARGV[at])[1]
  if entry then
    local copy = redis.pcall('XADD', KEYS[3], '*', 'id', ARGV[at], 'reason', ARGV[at + 1], unpack(entry[2], 1, math.min(#entry[2], 400)))
    if type(copy) == 'table' and copy.err then failed = failed + 1 end
  end
end
redis.call('XACK', KEYS[2], ARGV[3], unpack(ids))
return {1, failed}
`,
}

/** KEYS reader; ARGV hold, leaseMs. */
export const prolong: Script = { keys: 1, text: `${held} return {1}` }

/** KEYS reader; ARGV hold. The next one need not wait for the end of the lease. */
export const release: Script = {
  keys: 1,
  text: `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`,
}

/**
 * KEYS stream; ARGV keepMs. Deletes what every group has acknowledged and what is older than that; nothing where there is no group.
 * By nodes, so some stay for longer; at most so many at once as the server thinks good.
 */
export const trim: Script = {
  keys: 1,
  text: `
local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
if #groups == 0 then return 0 end
local time = redis.call('TIME')
local ms, seq = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - tonumber(ARGV[1]), 0
local function atMost(id)
  local m, s = string.match(id, '^(%d+)-(%d+)$')
  m, s = tonumber(m), tonumber(s)
  if m < ms or (m == ms and s < seq) then ms, seq = m, s end
end
for _, group in ipairs(groups) do
  local of = {}
  for i = 1, #group, 2 do of[group[i]] = group[i + 1] end
  if of['pending'] > 0 then atMost(redis.call('XPENDING', KEYS[1], of['name'])[2]) end
  atMost(of['last-delivered-id'])
end
if ms <= 0 then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f-%.0f', ms, seq))
`,
}

/** KEYS stream. Makes it, empty, where it is not there: only with a group can it be, and a group that stayed would keep all of it. */
export const makeStream: Script = {
  keys: 1,
  text: `
redis.call('XGROUP', 'CREATE', KEYS[1], 'pabal', '0', 'MKSTREAM')
return redis.call('XGROUP', 'DESTROY', KEYS[1], 'pabal')
`,
}
