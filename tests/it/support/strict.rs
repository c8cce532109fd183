//! HTTP/1.1 as RFC 9112 allows a client to send it, to the letter, and with the token of the tests.
//!
//! The fuzz target `framing` reads what arrives by it as well.

/// A request that is there as a whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// How many bytes it has, head and body.
    pub length: usize,
}

/// The first request in what has arrived; `None` if more has to come.
///
/// # Errors
///
/// What no client may send.
pub fn parse(bytes: &[u8]) -> Result<Option<Request>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = bytes[..end].to_vec();
    // Names, targets and framing are text; values of other fields may hold anything else.
    let head: String = head.into_iter().map(char::from).collect();
    if head.replace("\r\n", "").contains(['\r', '\n', '\0']) {
        return Err("a bare CR, LF or NUL in the head".into());
    }
    let mut lines = head.split("\r\n");
    let start: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = start.as_slice() else {
        return Err("no request line".into());
    };
    let fields = fields(lines)?;
    let all = |wanted: &str| -> Vec<&str> {
        let found = fields.iter().filter(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str()).collect()
    };
    if all("host").len() != 1 || all("authorization") != ["Bearer canary-token-1"] {
        return Err("not exactly one Host and the token".into());
    }
    let body = &bytes[end + 4..];
    let length = match (
        all("content-length").as_slice(),
        all("transfer-encoding").as_slice(),
    ) {
        ([], []) => Some(0),
        ([length], []) if !length.is_empty() && length.chars().all(|c| c.is_ascii_digit()) => {
            Some(length.parse().map_err(|_| "a length beyond measure")?)
        }
        ([], ["chunked"]) => chunked(body)?,
        _ => return Err("framed in two ways".into()),
    };
    let whole = length.filter(|length| body.len() >= *length);
    Ok(whole.map(|length| Request {
        method: (*method).to_owned(),
        target: (*target).to_owned(),
        length: end + 4 + length,
    }))
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<(String, String)>, String> {
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a line without a colon")?;
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_token) {
            return Err("a name that is none".into());
        }
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(fields)
}

/// How long a chunked body is, once it is there as a whole.
fn chunked(body: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let rest = &body[at..];
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&rest[..line]).map_err(|_| "a size that is no text")?;
        if size.is_empty() || !size.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(format!("a chunk of size {size:?}"));
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "a chunk beyond measure")?;
        if size == 0 {
            return Ok(trailers(&rest[line + 2..])?.map(|length| at + line + 2 + length));
        }
        let end = at + line + 2 + size;
        let Some(after) = body.get(end..end + 2) else {
            return Ok(None);
        };
        if after != b"\r\n" {
            return Err("a chunk that does not end".into());
        }
        at = end + 2;
    }
}

/// How long what follows the last chunk is.
fn trailers(rest: &[u8]) -> Result<Option<usize>, String> {
    if rest.starts_with(b"\r\n") {
        return Ok(Some(2));
    }
    let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let lines: String = rest[..end].iter().copied().map(char::from).collect();
    let fields = fields(lines.split("\r\n"))?;
    let framing = [
        "authorization",
        "content-length",
        "host",
        "transfer-encoding",
    ];
    match fields
        .iter()
        .find(|(name, _)| framing.contains(&name.as_str()))
    {
        Some((name, _)) => Err(format!("a trailer {name}")),
        None => Ok(Some(end + 4)),
    }
}
