//! Frames as a hostile account may write them: all of them readable, all of them as large or as many-sided as a frame may be.
//!
//! ```text
//! seed, or the bytes of a fuzzer ─ Draws ─▶ Hostile::frame ─▶ frame: envelope, CAR, record ─▶ whatever reads a relay
//! ```
//!
//! What is drawn decides what an account does next; few accounts and record keys make it likely that a record is edited,
//! deleted or hidden. Nothing is known here of what a reader must make of it: for that there is the naive recount.

mod journey;

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use skytide_core::id::{Cid, Tid};
use skytide_core::time::Timestamp;

use crate::world::{Random, Value};

pub use journey::Journey;

/// Where decisions come from.
pub trait Draws {
    /// A number below `end`, which is not 0; `None` when there is nothing left to draw.
    fn below(&mut self, end: u64) -> Option<u64>;
}

/// From a seed, without an end.
impl Draws for Random {
    fn below(&mut self, end: u64) -> Option<u64> {
        Some(Self::below(self, end))
    }
}

/// From bytes, two for each decision.
impl Draws for &[u8] {
    fn below(&mut self, end: u64) -> Option<u64> {
        let (two, rest) = self.split_first_chunk()?;
        *self = rest;
        Some(u64::from(u16::from_le_bytes(*two)) % end)
    }
}

/// 2026-07-04T14:38:00Z.
const START: u64 = 1_783_175_880_000;
/// Milliseconds from one frame to the next, at most.
const STEP_MAX: u64 = 4_000;

const POST: &str = "app.bsky.feed.post";
const LIKE: &str = "app.bsky.feed.like";

/// Hostile accounts, frame after frame.
#[derive(Debug)]
pub struct Hostile<D> {
    draws: D,
    seq: u64,
    time: u64,
    /// An account that goes on to change its status: who, and how often yet.
    flapping: (u64, u64),
}

type Fields = Vec<(&'static str, Value)>;

/// One operation: its action, collection, record key and record.
type Act = (&'static str, String, String, Option<Value>);

impl<D: Draws> Hostile<D> {
    /// Accounts that have done nothing yet.
    pub fn new(draws: D) -> Self {
        Self {
            draws,
            seq: 0,
            time: START,
            flapping: (0, 0),
        }
    }

    /// The next frame; `None` when there is nothing left to draw.
    pub fn frame(&mut self) -> Option<Bytes> {
        self.seq += 1;
        if self.flapping.1 > 0 {
            self.flapping.1 -= 1;
            let (author, left) = self.flapping;
            return Some(self.announce(author, left % 2 == 0, "deactivated".into()));
        }
        self.time += self.draws.below(STEP_MAX)?;
        let author = self.draws.below(12)?;
        match self.draws.below(14)? {
            0 => self.identity(author),
            1 | 2 => self.status(author),
            3 => self.many(author),
            4 => {
                let act = self.remove()?;
                Some(self.commit(author, vec![act]))
            }
            5 => Some(self.garbage()),
            kind => {
                let act = self.put(kind)?;
                Some(self.commit(author, vec![act]))
            }
        }
    }

    /// A length: mostly small, sometimes as large as `most`.
    fn length(&mut self, most: u64) -> Option<usize> {
        let limit = [3, 12, 80, most][self.draws.below(4)? as usize];
        Some(self.draws.below(limit.min(most) + 1)? as usize)
    }

    fn text(&mut self, most: u64) -> Option<Value> {
        let letters = ["x", "\u{1f600}", "\u{1}", "\u{212a}"];
        let letter = letters[self.draws.below(4)? as usize];
        Some(letter.repeat(self.length(most)?).into())
    }

    /// So many different short texts.
    fn texts(&mut self, most: u64) -> Option<Vec<Value>> {
        let first = self.draws.below(3)? * 7;
        let count = self.length(most)? as u64;
        let text = |number: u64| format!("{}{number:x}", ["t", "en-x"][(number % 2) as usize]);
        let texts = (first..first + count).map(|number| text(number).into());
        Some(texts.collect())
    }

    fn rkey(&mut self) -> Option<String> {
        Some(match self.draws.below(8)? {
            0 => "self".to_owned(),
            1 => "~".repeat(1 + self.draws.below(512)? as usize),
            _ => Tid((START * 1_000 + self.draws.below(40)?) << 10).to_string(),
        })
    }

    fn subject(&mut self) -> Option<Value> {
        let did = did(self.draws.below(12)?);
        let uri = format!("at://{did}/{POST}/{}", self.rkey()?);
        let cid = Cid::dag_cbor([7; 32]).to_string();
        Some(Value::Map(vec![("cid", cid.into()), ("uri", uri.into())]))
    }

    /// A record that is new, or takes the place of one.
    fn put(&mut self, kind: u64) -> Option<Act> {
        let action = ["create", "create", "update"][self.draws.below(3)? as usize];
        let (collection, fields): (String, Fields) = match kind {
            6 => (LIKE.into(), vec![("subject", self.subject()?)]),
            7 => {
                let subject = did(self.draws.below(12)?).into();
                ("app.bsky.graph.follow".into(), vec![("subject", subject)])
            }
            8 => {
                let name = self.text(20_000)?;
                let description = self.text(20_000)?;
                let fields = vec![("displayName", name), ("description", description)];
                ("app.bsky.actor.profile".into(), fields)
            }
            9 => {
                let name = format!("com.example.n{:x}.thing", self.draws.below(4_000)?);
                (name, vec![("junk", self.text(60_000)?)])
            }
            _ => (POST.into(), self.post()?),
        };
        Some((action, collection, self.rkey()?, Some(Value::Map(fields))))
    }

    fn post(&mut self) -> Option<Fields> {
        let mut fields = vec![("text", self.text(3_000)?)];
        if self.draws.below(2)? == 0 {
            fields.push(("langs", Value::List(self.texts(600)?)));
        }
        if self.draws.below(2)? == 0 {
            fields.push(("tags", Value::List(self.texts(600)?)));
        }
        if self.draws.below(2)? == 0 {
            let features: Option<Vec<_>> = (0..self.length(600)?)
                .map(|number| self.feature(number))
                .collect();
            let facet = Value::Map(vec![("features", Value::List(features?))]);
            fields.push(("facets", Value::List(vec![facet])));
        }
        if self.draws.below(4)? == 0 {
            let (parent, root) = (self.subject()?, self.subject()?);
            let reply = vec![("root", root), ("parent", parent)];
            fields.push(("reply", Value::Map(reply)));
        }
        if self.draws.below(8)? == 0 {
            fields.push(("junk", self.text(100_000)?));
        }
        Some(fields)
    }

    fn feature(&mut self, number: usize) -> Option<Value> {
        let (kind, field) = match self.draws.below(3)? {
            0 => ("tag", ("tag", format!("f{number}").into())),
            1 => {
                let link = format!("https://h{number}.example/{}", "p".repeat(number * 7));
                ("link", ("uri", link.into()))
            }
            _ => ("mention", ("did", did(number as u64).into())),
        };
        let kind = format!("app.bsky.richtext.facet#{kind}").into();
        Some(Value::Map(vec![("$type", kind), field]))
    }

    fn remove(&mut self) -> Option<Act> {
        let collection = [POST, LIKE][self.draws.below(2)? as usize];
        Some(("delete", collection.into(), self.rkey()?, None))
    }

    /// As many likes as a commit may have.
    fn many(&mut self, author: u64) -> Option<Bytes> {
        let subject = self.subject()?;
        let first = self.draws.below(1_000)? * 100;
        let like = |number: u64| {
            let rkey = Tid((START * 1_000 + first + number) << 10).to_string();
            let record = Value::Map(vec![("subject", subject.clone())]);
            ("create", LIKE.to_owned(), rkey, Some(record))
        };
        let likes = (0..200).map(like).collect();
        Some(self.commit(author, likes))
    }

    fn identity(&mut self, author: u64) -> Option<Bytes> {
        let handle = match self.draws.below(8)? {
            0 => None,
            1 => Some("handle.invalid".to_owned()),
            2 => Some("Alice.Example.COM".to_owned()),
            3 => Some("\u{212a}ate.example.com".to_owned()),
            4 => Some(format!("{}.example", "h".repeat(self.length(70_000)?))),
            _ => Some(format!("a{}.example.com", self.draws.below(20)?)),
        };
        let mut body = self.about(author);
        body.extend(handle.map(|handle| ("handle", handle.into())));
        Some(frame("#identity", body))
    }

    fn status(&mut self, author: u64) -> Option<Bytes> {
        let active = self.draws.below(2)? == 0;
        let status = match self.draws.below(8)? {
            0 => "deleted".into(),
            1 => self.text(100_000)?,
            2 => {
                self.flapping = (author, self.draws.below(300)?);
                "deactivated".into()
            }
            _ => "deactivated".into(),
        };
        Some(self.announce(author, active, status))
    }

    fn announce(&self, author: u64, active: bool, status: Value) -> Bytes {
        let mut body = self.about(author);
        body.push(("active", Value::Bool(active)));
        if !active {
            body.push(("status", status));
        }
        frame("#account", body)
    }

    /// What all bodies have that are about an account.
    fn about(&self, author: u64) -> Fields {
        vec![
            ("seq", Value::Int(self.seq)),
            ("did", did(author).into()),
            ("time", Timestamp(self.time).rfc3339().into()),
        ]
    }

    /// A frame whose body ends too early.
    fn garbage(&self) -> Bytes {
        let whole = frame("#account", self.about(0));
        whole.slice(..whole.len() - 3)
    }

    fn commit(&mut self, author: u64, acts: Vec<Act>) -> Bytes {
        let rev = Tid((self.time * 1_000 + self.seq % 1_000) << 10);
        let signed = Value::Map(vec![
            ("did", did(author).into()),
            ("rev", rev.to_string().into()),
        ]);
        let signed = signed.to_bytes();
        let root = cid(&signed);
        let header = vec![
            ("version", Value::Int(1)),
            ("roots", Value::List(vec![Value::Link(root)])),
        ];
        let header = Value::Map(header).to_bytes();
        let mut blocks = Vec::new();
        varint(header.len(), &mut blocks);
        blocks.extend_from_slice(&header);
        block(&root, &signed, &mut blocks);
        let mut ops = Vec::new();
        for (action, collection, rkey, record) in acts {
            let record = record.map(|record| record.to_bytes());
            let cid = record.as_ref().map(|bytes| cid(bytes));
            if let Some((cid, bytes)) = cid.as_ref().zip(record) {
                block(cid, &bytes, &mut blocks);
            }
            let path = format!("{collection}/{rkey}");
            ops.push(Value::Map(vec![
                ("cid", cid.map_or(Value::Null, Value::Link)),
                ("path", path.into()),
                ("action", action.into()),
            ]));
        }
        let mut body = self.about(author);
        body[1] = ("repo", did(author).into());
        body.extend([
            ("rev", rev.to_string().into()),
            ("ops", Value::List(ops)),
            ("blocks", Value::Bytes(blocks)),
            ("commit", Value::Link(root)),
            ("tooBig", Value::Bool(false)),
        ]);
        frame("#commit", body)
    }
}

/// The DID of an account.
fn did(number: u64) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    match number {
        11 => format!("did:web:{}.example", "w".repeat(1_900)),
        _ => {
            let id = (0..24).map(|i| char::from(DIGITS[(number >> (5 * (i % 12)) & 31) as usize]));
            format!("did:plc:{}", id.collect::<String>())
        }
    }
}

fn frame(kind: &str, body: Fields) -> Bytes {
    let header = Value::Map(vec![("t", kind.into()), ("op", Value::Int(1))]);
    let mut bytes = header.to_bytes().into_vec();
    bytes.extend_from_slice(&Value::Map(body).to_bytes());
    bytes.into()
}

fn cid(bytes: &[u8]) -> Cid {
    let digest = digest(&SHA256, bytes);
    Cid::dag_cbor(digest.as_ref().try_into().expect("32 bytes"))
}

fn block(cid: &Cid, data: &[u8], to: &mut Vec<u8>) {
    let cid = cid.to_bytes();
    varint(cid.len() + data.len(), to);
    to.extend_from_slice(&cid);
    to.extend_from_slice(data);
}

fn varint(mut number: usize, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}
