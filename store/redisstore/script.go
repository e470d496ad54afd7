package redisstore

import (
	"crypto/sha1" // the name that EVALSHA gives a script, and no defence
	"encoding/hex"
)

// What a script answers.
const (
	answerDone = iota
	answerNotFound
	answerEnded
	answerConflict
	answerImmutable
	answerUnreadable // and so ended
)

// A script is one step that nothing comes between. It is called by its hash; a
// server that does not know it, as after a restart, has run nothing and is sent
// the text.
//
// Scripts know the format that encode writes; Lua counts from 1. A session's key
// ends with "s:" and its ID, 45 bytes. An index is a sorted set of IDs, scored
// with the time at which the entry may be forgotten. A value of another type makes
// a command fail with WRONGTYPE, which write takes for a session that cannot be
// read.
//
// They are written for Redis 7.0 and Valkey 7.2.
type script struct{ text, sha string }

// newScript names a script. The flags say whether it may run when the server is
// out of memory: without allow-oom it is refused before its first command, so that
// it never stops in the middle.
func newScript(flags, body string) *script {
	text := "#!lua" + flags + "\n" + body
	sum := sha1.Sum([]byte(text))
	return &script{text: text, sha: hex.EncodeToString(sum[:])}
}

const (
	allowOOM = " flags=allow-oom"
	noWrites = " flags=no-writes"
)

// createScript stores a new record, and finds nothing there. The index entry comes
// before the record: should a command fail, no session is left without its entry.
//
// An entry is removed only once its time is over, by the server's clock, which has
// forgotten the record by then. A missing record says nothing: in a cluster it may
// be on its way.
//
// KEYS record [, index]; ARGV value, kept until [, entry kept until, ID]
var createScript = newScript("", `
local h = redis.call('GETRANGE', KEYS[1], 0, 1)
if h == 'R1' then return 3 end
if h == 'T1' then return 2 end
if h ~= '' then return 5 end
local list, last = KEYS[2], ARGV[3]
if list then
	local done = redis.pcall('ZADD', list, last, ARGV[4])
	if type(done) == 'table' then -- no index: the user has to be able to sign in
		if not string.find(done.err, 'WRONGTYPE', 1, true) then return done end
		redis.call('DEL', list)
		redis.call('ZADD', list, last, ARGV[4])
	end
	if redis.call('PEXPIRETIME', list) < tonumber(last) then redis.call('PEXPIREAT', list, last) end
	redis.call('ZREMRANGEBYSCORE', list, '-inf', '(' .. redis.call('TIME')[1] .. '000')
end
redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
return 0
`)

// updateScript replaces a record of one version. A later Seen or Expires than the
// new ones, which a touch has left, stays. A session whose index entry is gone
// cannot be listed, and so is gone itself.
//
// KEYS record [, index]; ARGV kind and version, what is immutable, value, kept until
var updateScript = newScript("", `
local sub, key, value = string.sub, KEYS[1], ARGV[3]
local h = redis.call('GETRANGE', key, 0, 61 + #ARGV[2])
if sub(h, 1, 22) ~= ARGV[1] or sub(h, 63) ~= ARGV[2] then
	if h == '' then return 1 end
	local kind = sub(h, 1, 2)
	if kind == 'T1' then return 2 end
	if kind ~= 'R1' or #h < 119 then return 5 end
	if sub(h, 1, 22) ~= ARGV[1] then return 3 end
	return 4
end
if KEYS[2] and not redis.call('ZSCORE', KEYS[2], sub(key, -43)) then
	redis.call('DEL', key)
	return 1
end
local seen, expires = tonumber(sub(h, 23, 38)), tonumber(sub(h, 39, 54))
if not (seen and expires) then return 5 end
local earlier = seen > tonumber(sub(value, 23, 38))
local shorter = expires > tonumber(sub(value, 39, 54))
if shorter then
	redis.call('SET', key, value, 'PXAT', string.format('%.0f', math.max(1, expires + 300000)))
	redis.call('SETRANGE', key, 38, sub(h, 39, 54))
else
	redis.call('SET', key, value, 'PXAT', ARGV[4])
end
if earlier then redis.call('SETRANGE', key, 22, sub(h, 23, 38)) end
return 0
`)

// touchScript moves Seen and Expires forward, in place, which takes no memory.
//
// KEYS record; ARGV seen, expires
var touchScript = newScript(allowOOM, `
local sub, key, new = string.sub, KEYS[1], ARGV[2]
local h = redis.call('GETRANGE', key, 0, 118)
if sub(h, 1, 2) ~= 'R1' or #h < 119 then
	if h == '' then return 1 end
	if sub(h, 1, 2) == 'T1' then return 2 end
	return 5
end
local seen, expires, deadline = tonumber(sub(h, 23, 38)), tonumber(sub(h, 39, 54)), tonumber(sub(h, 79, 94))
if not (seen and expires and deadline) then return 5 end
local name = sub(h, 95, 116)
if name ~= '`+nobody+`' and not redis.call('ZSCORE', sub(key, 1, -46) .. 'u:' .. name, sub(key, -43)) then
	redis.call('DEL', key)
	return 1
end
local ms = tonumber(new)
if ms > deadline then new, ms = sub(h, 79, 94), deadline end
local later = tonumber(ARGV[1]) > seen
if ms > expires then
	redis.call('PEXPIREAT', key, string.format('%.0f', math.max(1, ms + 300000)))
	if not later then redis.call('SETRANGE', key, 38, new) end
else
	new = sub(h, 39, 54)
end
if later then redis.call('SETRANGE', key, 22, ARGV[1] .. new) end
return 0
`)

// rememberScript notes when a key was used last, unless a later time is known.
//
// KEYS registry; ARGV id, time
var rememberScript = newScript("", `
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '')
if not known or known < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 0
`)

// heads is the part that the scripts below share. head reads the beginning of a
// record. Its second value ends the script: a number for what is no live record,
// a table for an error of the server.
const heads = `
local sub, slack = string.sub, 300000
local function wrongtype(v)
	return type(v) == 'table' and v.err and string.find(v.err, 'WRONGTYPE', 1, true)
end
local function head(key, length)
	local h = redis.pcall('GETRANGE', key, 0, length - 1)
	if wrongtype(h) then return nil, 5 end
	if type(h) == 'table' then return nil, h end
	if h == '' then return nil, 1 end
	local kind = sub(h, 1, 2)
	if kind == 'T1' then return nil, 2 end
	if kind == 'R1' and #h >= 119 and tonumber(sub(h, 79, 94)) then return h end
	return nil, 5
end
local function bury(key, h, stone, ms)
	local deadline = h and tonumber(sub(h, 79, 94)) or redis.call('PEXPIRETIME', key) - slack
	local till = math.max(1, math.max(tonumber(ms), deadline) + slack)
	redis.call('SET', key, stone, 'PXAT', string.format('%.0f', till))
end
`

// endScript makes a tombstone. It runs on a full server: a tombstone is smaller
// than a session, and a sign-out that has to wait for memory is none.
//
// KEYS record; ARGV version or "", tombstone, until
var endScript = newScript(allowOOM, heads+`
local key = KEYS[1]
local h, answer = head(key, 119)
if answer == 2 or type(answer) == 'table' then return answer end
if h and ARGV[1] ~= '' and ARGV[1] ~= sub(h, 3, 22) then return 3 end
bury(key, h, ARGV[2], ARGV[3])
if not h then return answer end
local name = sub(h, 95, 116)
if name ~= '`+nobody+`' then redis.pcall('ZREM', sub(key, 1, -46) .. 'u:' .. name, sub(key, -43)) end
return 0
`)

// endUserScript ends up to a number of a user's sessions and takes them off the
// index. It answers how many it ended, whether there may be more, and the IDs of
// those that it could not read.
//
// KEYS index; ARGV record prefix, except, immutable end, tombstone, until, number
var endUserScript = newScript(allowOOM, heads+`
local user, most = ARGV[3], tonumber(ARGV[6])
local list = redis.pcall('ZRANGE', KEYS[1], 0, most)
if list.err then return list end
local answers, done = {0, 0}, 0
for _, id in ipairs(list) do
	if id ~= ARGV[2] and done < most then
		local key = ARGV[1] .. id
		local h, answer = head(key, 94 + #user)
		if type(answer) == 'table' then return answer end
		if h and sub(h, 95) == user then
			bury(key, h, ARGV[4], ARGV[5])
			answers[1] = answers[1] + 1
		elseif answer == 5 then
			bury(key, nil, ARGV[4], ARGV[5])
			answers[#answers + 1] = id
		end
		if not h or sub(h, 95) == user then
			redis.call('ZREM', KEYS[1], id)
			done = done + 1
		end
	end
end
if done == most then answers[2] = 1 end
return answers
`)

// listUserScript answers what a user's sessions are but for their data: pairs of
// an ID and a record. Those beyond a number are answered with an empty record,
// to be asked for by their IDs.
//
// KEYS index; ARGV record prefix, number, ID…
var listUserScript = newScript(noWrites, heads+`
local list = {}
if ARGV[3] then
	for i = 3, #ARGV do list[#list + 1] = ARGV[i] end
else
	list = redis.pcall('ZRANGE', KEYS[1], 0, -1)
	if list.err then return list end
end
local answers = {}
for i, id in ipairs(list) do
	local r, key = '', ARGV[1] .. id
	if i <= tonumber(ARGV[2]) then
		local h, answer = head(key, 119)
		if type(answer) == 'table' then return answer end
		if h then
			local length = 119 + (tonumber(sub(h, 117, 119)) or 0) + (tonumber(sub(h, 55, 62)) or 0)
			r = redis.call('GETRANGE', key, 0, length - 1)
		else
			r = tostring(answer)
		end
	end
	answers[#answers + 1] = id
	answers[#answers + 1] = r
end
return answers
`)
