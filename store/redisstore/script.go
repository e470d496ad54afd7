package redisstore

import (
	"crypto/sha1" //nolint:gosec // the name that EVALSHA gives a script, and no defence
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
type script struct{ text, sha string }

// newScript puts what all scripts share in front of one. They are written for
// Redis 7.0 and Valkey 7.2. The first line says whether the script may run when
// the server is out of memory: without the flag it is refused before its first
// command, so that it never stops in the middle.
func newScript(flags, body string) *script {
	text := "#!lua" + flags + "\n" + prelude + body
	sum := sha1.Sum([]byte(text)) //nolint:gosec // see above
	return &script{text: text, sha: hex.EncodeToString(sum[:])}
}

const (
	allowOOM = " flags=allow-oom"
	noWrites = " flags=no-writes"
)

// prelude is the part of the format that scripts know; see [encode].
//
// head reads the beginning of a record. Its second value is an answer that ends
// the script: a number for what is no live record, a table for an error of the
// server. Nothing is a table but an error, and of these only a value of another
// type is an answer.
//
// A key is found from another: the last 45 bytes of a record's name are "s:" and
// its ID. An index is a sorted set of IDs, scored with the time at which the
// entry may be forgotten.
const prelude = `
local sub, number = string.sub, tonumber
local slack = 300000
local function wrongtype(v)
	return type(v) == 'table' and v.err and string.find(v.err, 'WRONGTYPE', 1, true)
end
local function head(key, length)
	local h = redis.pcall('GETRANGE', key, 0, length - 1)
	if type(h) == 'table' then
		if wrongtype(h) then return nil, 5 end
		return nil, h
	end
	if h == '' then return nil, 1 end
	local kind = sub(h, 1, 2)
	if kind == 'R1' and #h >= 119 and number(sub(h, 23, 38)) and number(sub(h, 39, 54)) and number(sub(h, 79, 94)) then
		return h
	end
	if kind == 'T1' then return nil, 2 end
	return nil, 5
end
local function index(key, h)
	local name = sub(h, 95, 116)
	if name ~= '` + nobody + `' then return sub(key, 1, -46) .. 'u:' .. name end
end
local function lost(key, h)
	local list = index(key, h)
	if not list then return false end
	local score = redis.pcall('ZSCORE', list, sub(key, -43))
	if type(score) == 'table' and not wrongtype(score) then return score end
	if type(score) == 'string' then return false end
	redis.call('DEL', key)
	return 1
end
local function at(ms) return string.format('%.0f', math.max(1, ms + slack)) end
`

// createScript stores a new record. The index entry comes first: should the
// server stop the script between its commands, no session is left without one.
//
// KEYS record [, index]; ARGV value, kept until [, ID]
var createScript = newScript("", `
local h, answer = head(KEYS[1], 119)
if h then return 3 end
if answer == 5 then return 5 end
if answer ~= 1 then return answer end
if KEYS[2] then
	local done = redis.pcall('ZADD', KEYS[2], ARGV[3], ARGV[4])
	if wrongtype(done) then
		redis.call('DEL', KEYS[2])
		done = redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
	end
	if type(done) == 'table' then return done end
	if redis.call('PEXPIRETIME', KEYS[2]) < number(ARGV[3]) then redis.call('PEXPIREAT', KEYS[2], ARGV[3]) end
	redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. redis.call('TIME')[1] .. '000')
end
redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
return 0
`)

// updateScript replaces a record of one version. A later Seen or Expires than the
// new ones, which a touch has left, is kept.
//
// KEYS record; ARGV version, what is immutable, value
var updateScript = newScript("", `
local h, answer = head(KEYS[1], 62 + #ARGV[2])
if not h then return answer end
if sub(h, 3, 22) ~= ARGV[1] then return 3 end
if sub(h, 63) ~= ARGV[2] then return 4 end
local gone = lost(KEYS[1], h)
if gone then return gone end
local value = ARGV[3]
local seen, expires = sub(h, 23, 38), sub(h, 39, 54)
local newseen, newexpires = sub(value, 23, 38), sub(value, 39, 54)
local moved = false
if number(newseen) >= number(seen) then seen = newseen else moved = true end
if number(newexpires) >= number(expires) then expires = newexpires else moved = true end
redis.call('SET', KEYS[1], value, 'PXAT', at(number(expires)))
if moved then redis.call('SETRANGE', KEYS[1], 22, seen .. expires) end
return 0
`)

// touchScript moves Seen and Expires forward, in place. It needs no more memory.
//
// KEYS record; ARGV seen, expires
var touchScript = newScript(allowOOM, `
local h, answer = head(KEYS[1], 119)
if not h then return answer end
local gone = lost(KEYS[1], h)
if gone then return gone end
local seen, expires, newexpires = sub(h, 23, 38), sub(h, 39, 54), ARGV[2]
if number(newexpires) > number(sub(h, 79, 94)) then newexpires = sub(h, 79, 94) end
local moved = false
if number(ARGV[1]) > number(seen) then seen, moved = ARGV[1], true end
if number(newexpires) > number(expires) then
	expires, moved = newexpires, true
	redis.call('PEXPIREAT', KEYS[1], at(number(expires)))
end
if moved then redis.call('SETRANGE', KEYS[1], 22, seen .. expires) end
return 0
`)

// endScript makes a tombstone. It runs on a full server: a tombstone is smaller
// than a session, and a sign-out that has to wait for memory is none.
//
// KEYS record; ARGV version or "", tombstone, until
var endScript = newScript(allowOOM, `
local h, answer = head(KEYS[1], 119)
if answer == 2 or type(answer) == 'table' then return answer end
local keep = number(ARGV[3])
if h then
	if ARGV[1] ~= '' and ARGV[1] ~= sub(h, 3, 22) then return 3 end
	keep = math.max(keep, number(sub(h, 79, 94)))
elseif answer == 5 then
	keep = math.max(keep, redis.call('PEXPIRETIME', KEYS[1]) - slack)
end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', at(keep))
if not h then return answer end
local list = index(KEYS[1], h)
if list then redis.pcall('ZREM', list, sub(KEYS[1], -43)) end
return 0
`)

// endUserScript ends up to a number of a user's sessions and takes them off the
// index. It answers how many it ended, whether there may be more, and which it
// could not read.
//
// KEYS index; ARGV record prefix, except, immutable end, tombstone, until, number
var endUserScript = newScript(allowOOM, `
local list = redis.pcall('ZRANGE', KEYS[1], 0, number(ARGV[6]))
if wrongtype(list) then return {0, 0} end
if list.err then return list end
local ended, done, user = 0, 0, ARGV[3]
local answers = {0, 0}
for _, id in ipairs(list) do
	if id ~= ARGV[2] and done < number(ARGV[6]) then
		local key = ARGV[1] .. id
		local h, answer = head(key, 94 + #user)
		if type(answer) == 'table' then return answer end
		if h and sub(h, 95) == user then
			redis.call('SET', key, ARGV[4], 'PXAT', at(math.max(number(ARGV[5]), number(sub(h, 79, 94)))))
			ended = ended + 1
		elseif answer == 5 then
			redis.call('SET', key, ARGV[4], 'PXAT', at(math.max(number(ARGV[5]), redis.call('PEXPIRETIME', key) - slack)))
			answers[#answers + 1] = id
		end
		if not h or sub(h, 95) == user then redis.call('ZREM', KEYS[1], id) end
		done = done + 1
	end
end
answers[1] = ended
if done == number(ARGV[6]) then answers[2] = 1 end
return answers
`)

// listUserScript answers what a user's sessions are but for their data: pairs of
// an ID and a record. Those beyond a number are answered with an empty record,
// to be asked for by their IDs.
//
// KEYS index; ARGV record prefix, number, ID…
var listUserScript = newScript(noWrites, `
local list = {}
if ARGV[3] then
	for i = 3, #ARGV do list[#list + 1] = ARGV[i] end
else
	list = redis.pcall('ZRANGE', KEYS[1], 0, -1)
	if wrongtype(list) then return {} end
	if list.err then return list end
end
local answers = {}
for i, id in ipairs(list) do
	local r = ''
	if i <= number(ARGV[2]) then
		local h, answer = head(ARGV[1] .. id, 119)
		if type(answer) == 'table' then return answer end
		if h then
			local length = 119 + (number(sub(h, 117, 119)) or 0) + (number(sub(h, 55, 62)) or 0)
			r = redis.call('GETRANGE', ARGV[1] .. id, 0, length - 1)
		else
			r = tostring(answer)
		end
	end
	answers[#answers + 1] = id
	answers[#answers + 1] = r
end
return answers
`)
