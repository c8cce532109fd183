//! What the server does in one step, by its own clock.

use ::redis::RedisError;

/// What stands under a key. Something of another type than an entry is as good as a broken one.
macro_rules! get {
    () => {
        "\
local function get()
  local found = redis.pcall('GET', KEYS[1])
  if type(found) ~= 'table' then return found end
  if string.find(found.err, 'WRONGTYPE', 1, true) then return 'of another type' end
  return redis.call('GET', KEYS[1])
end
"
    };
}

/// What stands under a key, and the time of the server that has it.
pub(super) const READ: &str = concat!(get!(), "return {get(), redis.call('TIME')}");

/// A user that may not publish still shares: the others look from time to time.
pub(super) const SWAP: &str = concat!(
    get!(),
    "\
if (get() or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if ARGV[4] == '1' then redis.pcall('PUBLISH', ARGV[5], KEYS[1]) end
return 1"
);

/// Where in gatepass's own script it was tells an operator nothing, nor does what came with a command
/// that the server does not know.
pub(super) fn in_short(error: &RedisError) -> String {
    let error = error.to_string();
    if let Some((what, _)) = error.split_once(", with args beginning with:") {
        return what.into();
    }
    match error.split_once(" script: ") {
        Some((what, place)) if place.contains("@user_script") => what.trim_end_matches('.').into(),
        _ => error,
    }
}
