//! Frames of HTTP/2 by hand (RFC 9113 §4, RFC 7541 §6), where a library would refuse to send them.

use tokio::io::{AsyncRead, AsyncReadExt};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// RFC 7541 Appendix A: `:status 200` is entry 8 of the static table.
pub const STATUS_200: [u8; 1] = [0x88];

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field with a new name, never indexed and without Huffman coding. Up to 126 bytes each.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0x10];
    for text in [name, value] {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127, "{text:?} is too long for one byte of length");
        field.push(length);
        field.extend(text.as_bytes());
    }
    field
}

/// A frame that has arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Received {
    /// The next one.
    pub async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Self {
        let mut bytes = vec![0; 9];
        stream.read_exact(&mut bytes).await.unwrap();
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        bytes.resize(9 + length as usize, 0);
        stream.read_exact(&mut bytes[9..]).await.unwrap();
        Self::all(&bytes).pop().unwrap()
    }

    /// Those that are there as a whole.
    pub fn all(mut bytes: &[u8]) -> Vec<Self> {
        let mut all = Vec::new();
        while let Some((head, rest)) = bytes.split_at_checked(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some((payload, rest)) = rest.split_at_checked(length) else {
                break;
            };
            all.push(Self {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                payload: payload.to_vec(),
            });
            bytes = rest;
        }
        all
    }

    /// Whether nothing more comes for the first request.
    pub fn ends_first_stream(&self) -> bool {
        let ends = match self.kind {
            RST_STREAM => true,
            DATA | HEADERS => self.flags & END_STREAM != 0,
            _ => false,
        };
        (self.stream == 1 && ends) || self.kind == GOAWAY
    }

    pub fn answers_with_200(&self) -> bool {
        self.kind == HEADERS && self.payload.starts_with(&STATUS_200)
    }
}
